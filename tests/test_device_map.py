"""A model whose weights are spread over memory and disk computes what the whole model computes."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, dispatch_model, infer_auto_device_map
from torch import nn
from transformers import AutoModelForSeq2SeqLM

from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.model import plain_linear
from lively_models import DECODERS, EXACT, assert_varied, generate, make_lively, run, sources, targets

TIED = {"tie_word_embeddings": True, "share_encoder_decoder_embeddings": True}
UNTIED = {"tie_word_embeddings": False, "share_encoder_decoder_embeddings": False}
# No token twice: what is generated then depends on the order of many logits, also for models that like one token.
SEARCHES = ({"no_repeat_ngram_size": 1}, {"no_repeat_ngram_size": 1, "num_beams": 3})


def endless(**fields: Any) -> RnnAttnForConditionalGeneration:
    """A float64 model whose sequences have the length asked for."""
    return make_lively(eos_token_id=None, **fields)


def kept_and_moved(model: RnnAttnForConditionalGeneration, moved: str) -> dict[str, str]:
    """A device map: ``moved`` (encoder, decoder or all) on the disk, the rest in memory.

    The token tables of both sides stay together, as BART needs it too: transformers 5.23 finds a tied weight on the
    disk only if all of its names are there.
    """
    if moved == "all":
        return {"": "disk"}
    other = {"encoder": "decoder", "decoder": "encoder"}[moved]
    names = [name for name, _ in model.get_submodule(f"model.{moved}").named_children()]
    places = {f"model.{moved}.{name}": "disk" if name == "layers" else "cpu" for name in names}
    return {**places, f"model.{other}": "cpu", "readout": "cpu", "lm_head": "cpu", "distribution": "cpu"}


def load(folder: Path, device_map: Any, **options: Any) -> RnnAttnForConditionalGeneration:
    return AutoModelForSeq2SeqLM.from_pretrained(
        folder, dtype="auto", device_map=device_map, offload_folder=folder / "offloaded", **options
    )


def is_offloaded(module: nn.Module) -> bool:
    return all(parameter.device.type == "meta" for parameter in module.parameters())


def assert_same(spread: Any, model: Any) -> None:
    """The same logits and the same generated tokens."""
    source, target = sources(model), targets(model)
    expected = run(model, **source, decoder_input_ids=target).logits
    torch.testing.assert_close(run(spread, **source, decoder_input_ids=target).logits, expected, **EXACT)
    for search in SEARCHES:
        tokens = generate(model, max_new_tokens=6, **source, **search)
        assert_varied(tokens)
        assert torch.equal(generate(spread, max_new_tokens=6, **source, **search), tokens)


@pytest.mark.parametrize("name", DECODERS)
def test_decoder_layers_on_the_disk_compute_the_same(name, tmp_path):
    model = endless(**DECODERS[name])
    model.save_pretrained(tmp_path)
    spread = load(tmp_path, kept_and_moved(model, "decoder"))
    assert is_offloaded(spread.model.decoder.layers)
    assert not is_offloaded(spread.model.encoder)
    assert_same(spread, model)


@pytest.mark.parametrize("moved", ["encoder", "all"])
@pytest.mark.parametrize("tied", [TIED, UNTIED], ids=["tied", "untied"])
def test_encoders_and_whole_models_on_the_disk_compute_the_same(moved, tied, tmp_path):
    encoder = ["elman", "lstm", "gru+full_attention", "ssru", "mingru"]
    model = endless(**{**DECODERS["mixed"], **tied, "encoder_mixers": encoder})
    model.save_pretrained(tmp_path)
    spread = load(tmp_path, kept_and_moved(model, moved))
    assert is_offloaded(spread.model.encoder.layers)
    assert is_offloaded(spread) == (moved == "all")
    assert_same(spread, model)


@pytest.mark.parametrize("tied", [TIED, UNTIED], ids=["tied", "untied"])
def test_too_little_memory_moves_whole_layers_to_the_disk(tied, tmp_path):
    model = endless(**{**DECODERS["mixed"], **tied})
    model.save_pretrained(tmp_path)
    spread = load(tmp_path, "auto", max_memory={"cpu": three_quarters_of(model)})
    assert set(spread.hf_device_map.values()) == {"cpu", "disk"}
    assert_no_layer_is_split(spread.hf_device_map)
    assert_same(spread, model)


def three_quarters_of(model: nn.Module) -> int:
    """Too few bytes for the whole model, enough for a part and one more layer at a time."""
    return sum(parameter.nbytes for parameter in model.parameters()) * 3 // 4


def assert_no_layer_is_split(device_map: dict[str, Any]) -> None:
    """The parts of a layer exchange more than the layers do, so none of them has a place of its own."""
    inside = [name for name in device_map if re.search(r"\.layers\.\d+\.", name)]
    assert inside == []
    assert any(re.search(r"\.layers\.\d+$", name) for name in device_map)


def test_a_model_in_memory_can_be_dispatched(tmp_path):
    model = endless(**DECODERS["mixed"])
    limits = {"cpu": three_quarters_of(model), "disk": 10**9}
    places = infer_auto_device_map(model, max_memory=limits, no_split_module_classes=model._no_split_modules)
    assert_no_layer_is_split(places)
    spread = dispatch_model(copy.deepcopy(model), places, main_device="cpu", offload_dir=tmp_path)
    assert set(places.values()) == {"cpu", "disk"}
    assert_same(spread, model)


def test_a_spread_model_saves_all_of_its_weights(tmp_path):
    model = endless(**{**DECODERS["mixed"], **TIED})
    model.save_pretrained(tmp_path / "whole")
    load(tmp_path / "whole", kept_and_moved(model, "decoder")).save_pretrained(tmp_path / "again")
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "again", dtype="auto")
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name


@pytest.fixture
def kernel_calls(monkeypatch):
    """How often oneDNN's kernel is called, which here is used for layers of any size."""
    calls = []
    real = plain_linear._ONEDNN
    assert real is not None, "this torch was built without oneDNN"

    def counted(*arguments):
        calls.append(arguments[0].shape)
        return real(*arguments)

    monkeypatch.setattr(plain_linear, "_ONEDNN", counted)
    monkeypatch.setattr(plain_linear, "SMALLEST", 0)
    return calls


@pytest.mark.parametrize("name", DECODERS)
def test_layers_with_hooks_are_called_and_their_weights_not_read(name, kernel_calls):
    """accelerate brings a weight only while its layer is called: between calls there is nothing to read."""
    model = endless(**DECODERS[name]).float()
    source, target = sources(model), targets(model)
    expected = run(model, **source, decoder_input_ids=target).logits
    assert kernel_calls
    kernel_calls.clear()
    spread = cpu_offload(copy.deepcopy(model), execution_device=torch.device("cpu"))
    assert is_offloaded(spread)
    actual = run(spread, **source, decoder_input_ids=target).logits
    assert not kernel_calls
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("name", DECODERS)
def test_a_model_on_a_gpu_computes_the_same(name, tmp_path):
    model = endless(**DECODERS[name])
    model.save_pretrained(tmp_path)
    spread = load(tmp_path, "auto")
    assert {parameter.device.type for parameter in spread.parameters()} == {"cuda"}
    assert_same_on_gpu(spread, model)


@pytest.mark.gpu
@pytest.mark.parametrize("name", DECODERS)
def test_a_model_on_gpu_memory_and_disk_computes_the_same(name, tmp_path):
    model = endless(**DECODERS[name])
    model.save_pretrained(tmp_path)
    whole = sum(parameter.nbytes for parameter in model.parameters())
    # what lies elsewhere is brought for each use, so a GPU that is nearly full keeps room for the largest part
    spread = load(tmp_path, "auto", max_memory={0: 3 * whole // 4, "cpu": whole // 4})
    assert len(set(spread.hf_device_map.values())) > 1
    assert_same_on_gpu(spread, model)


def assert_same_on_gpu(spread: Any, model: Any) -> None:
    source, target = sources(model), targets(model)
    moved = {name: value.cuda() for name, value in source.items()}
    expected = run(model, **source, decoder_input_ids=target).logits
    actual = run(spread, **moved, decoder_input_ids=target.cuda()).logits.cpu()
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=1e-9)
    for search in SEARCHES:
        tokens = generate(spread, max_new_tokens=6, **moved, **search).cpu()
        assert torch.equal(tokens, generate(model, max_new_tokens=6, **source, **search))
