"""8-bit weights reach every linear layer of every cell, are really used, and survive saving."""

import copy
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from torch import Tensor, nn
from torch.ao.quantization import quantize_dynamic
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8Tensor, Int8WeightOnlyConfig, quantize_
from transformers import AutoModelForSeq2SeqLM, BitsAndBytesConfig, TorchAoConfig

from hf_rnnattn.model import plain_linear
from hf_rnnattn.model.fused_kernel import fusible_weights
from hf_rnnattn.model.mixer_stepping import SteppingMixer
from lively_models import DECODERS, assert_varied, generate, make_lively, run, sources, targets
from model_zoo import DECODER_MIXERS

KINDS = {"weights": Int8WeightOnlyConfig, "weights and activations": Int8DynamicActivationInt8WeightConfig}
SEARCHES = ({}, {"num_beams": 3})


def lively(name: str, **fields: Any) -> Any:
    """A float32 model whose sequences have the length asked for."""
    return make_lively(eos_token_id=None, **{**DECODERS[name], **fields}).float()


def load(folder: Path, config: Any = None) -> Any:
    options = {} if config is None else {"quantization_config": config}
    return AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32, **options)


def quantised(model: nn.Module, kind: str) -> Any:
    """A copy with every linear layer quantised."""
    converted = copy.deepcopy(model)
    quantize_(converted, KINDS[kind]())
    return converted


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def logits(model: Any) -> Tensor:
    return run(model, **sources(model), decoder_input_ids=targets(model)).logits


def tokens(model: Any, **options: Any) -> Tensor:
    return generate(model, no_repeat_ngram_size=2, **sources(model), **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DECODERS)
def test_loading_quantises_every_linear_layer_but_the_output_matrix(name, kind, tmp_path):
    model = lively(name)
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path, TorchAoConfig(KINDS[kind]()))
    layers = linear_layers(loaded)
    assert layers.keys() == linear_layers(model).keys()
    left = {layer for layer, module in layers.items() if not isinstance(module.weight, Int8Tensor)}
    assert left == {"lm_head"}  # transformers leaves the output matrix alone
    for layer, module in layers.items():
        if layer != "lm_head":
            assert module.weight.qdata.dtype == torch.int8
    for name_of_other, weight in loaded.named_parameters():
        if name_of_other.rpartition(".")[0] not in layers:
            assert type(weight) is nn.Parameter
            assert torch.equal(weight, model.get_parameter(name_of_other))
    by_hand = copy.deepcopy(model)
    quantize_(by_hand, KINDS[kind](), filter_fn=lambda module, at: isinstance(module, nn.Linear) and at != "lm_head")
    torch.testing.assert_close(logits(loaded), logits(by_hand), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_tied_weights_stay_tied_and_are_not_quantised_by_loading(kind, tmp_path):
    tied = {"tie_word_embeddings": True, "share_encoder_decoder_embeddings": True}
    lively("mixed", **tied).save_pretrained(tmp_path)
    loaded = load(tmp_path, TorchAoConfig(KINDS[kind]()))
    table = loaded.model.decoder.embeddings.word_embeddings.weight
    assert loaded.lm_head.weight is table
    assert loaded.model.encoder.embeddings.word_embeddings.weight is table
    assert type(table) is nn.Parameter


@pytest.mark.parametrize("kind", KINDS)
def test_quantising_a_model_in_memory_unties_the_output_matrix(kind):
    model = lively("mixed", tie_word_embeddings=True)
    converted = quantised(model, kind)
    table = converted.model.decoder.embeddings.word_embeddings.weight
    assert isinstance(converted.lm_head.weight, Int8Tensor)
    assert torch.equal(table, model.model.decoder.embeddings.word_embeddings.weight)
    assert_near(logits(converted), logits(model))


def assert_near(actual: Tensor, exact: Tensor, share: float = 0.15) -> None:
    """Rounding is seen, and is small beside how much logits differ from each other."""
    error = (actual - exact).float().square().mean().sqrt()
    assert 0 < error < share * exact.float().std()


@pytest.fixture
def onednn_for_all_sizes(monkeypatch):
    """oneDNN's kernel takes layers of any size, so that a quantised one which it took would be noticed."""
    assert plain_linear._ONEDNN is not None, "this torch was built without oneDNN"
    monkeypatch.setattr(plain_linear, "SMALLEST", 0)


@pytest.mark.usefixtures("onednn_for_all_sizes")
@pytest.mark.parametrize("name", DECODERS)
def test_quantised_weights_compute_what_their_values_say(name):
    """In float64, with the rounded weights written out."""
    converted = quantised(lively(name), "weights")
    written_out = lively(name).double()
    with torch.no_grad():
        for layer, module in linear_layers(converted).items():
            written_out.get_parameter(f"{layer}.weight").copy_(module.weight.dequantize())
    torch.testing.assert_close(logits(converted).double(), logits(written_out), rtol=1e-3, atol=1e-3)
    assert_near(logits(converted), logits(lively(name)))
    for options in SEARCHES:
        found = tokens(converted, **options)
        assert_varied(found, least=3)
        assert torch.equal(found, tokens(written_out, **options))


@pytest.mark.usefixtures("onednn_for_all_sizes")
@pytest.mark.parametrize("name", DECODERS)
def test_models_with_quantised_activations_compute_and_generate(name):
    """No exact reference: where an activation lies between two steps, the last bit of a float decides."""
    model = lively(name)
    converted = quantised(model, "weights and activations")
    assert_near(logits(converted), logits(model), share=0.3)
    for options in SEARCHES:
        assert_varied(tokens(converted, **options), least=3)


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_layers_are_still_linear_layers_but_no_kernel_may_read_their_weights(kind):
    """That they are ``nn.Linear`` is the trap: only their weights are of another kind."""
    converted = quantised(lively("mixed"), kind)
    cells = [module for module in converted.modules() if isinstance(module, SteppingMixer)]
    assert cells
    for cell in cells:
        assert type(cell.input_to_gates) is nn.Linear
        assert fusible_weights(cell, torch.float32) is None
    with torch.no_grad():
        assert not any(
            plain_linear._may_use_onednn(layer, torch.zeros(1, 1)) for layer in linear_layers(converted).values()
        )


# Sums over the position that is read: every position is a decoder of its own, beside the batch.
@pytest.mark.parametrize("name", [name for name in DECODERS if name != "hard_marginal"])
def test_linear_layers_are_given_three_dimensions_at_most(name):
    """More are refused by the 8-bit layers of bitsandbytes."""
    model = lively(name)
    dimensions = []
    for layer in linear_layers(model).values():
        layer.register_forward_pre_hook(lambda _, inputs: dimensions.append(inputs[0].dim()))
    logits(model)
    generate(model, max_new_tokens=2, **sources(model))
    assert dimensions
    assert max(dimensions) <= 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mixed", "additive", "gru+full_attention"])
def test_quantised_models_are_saved_and_loaded_as_they_are(name, kind, tmp_path):
    lively(name).save_pretrained(tmp_path / "float")
    converted = load(tmp_path / "float", TorchAoConfig(KINDS[kind]()))
    converted.save_pretrained(tmp_path / "int8")
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "int8")
    assert isinstance(linear_layers(again)["model.decoder.layers.0.feed_forward.fc1"].weight, Int8Tensor)
    assert torch.equal(logits(again), logits(converted))
    assert not list((tmp_path / "int8").glob("*.bin"))


def test_a_quantised_file_is_about_a_quarter_as_large(tmp_path):
    sizes = {"hidden_size": 192, "encoder_ffn_dim": 768, "decoder_ffn_dim": 768}
    lively("mixed", **sizes).save_pretrained(tmp_path / "float")
    load(tmp_path / "float", TorchAoConfig(Int8WeightOnlyConfig())).save_pretrained(tmp_path / "int8")
    large, small = ((tmp_path / kind / "model.safetensors").stat().st_size for kind in ("float", "int8"))
    assert 0.2 * large < small < 0.35 * large


def assert_adapters_learn(converted: Any) -> None:
    """The adapters of every layer get a gradient, and nothing else does."""
    wanted = LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules="all-linear", r=2, init_lora_weights=False)
    inputs = sources(converted) | {"labels": targets(converted)}
    with_adapters = get_peft_model(converted, wanted).train()
    with_adapters(**{key: value.to(converted.device) for key, value in inputs.items()}).loss.backward()
    learning = {weight for weight, value in with_adapters.named_parameters() if value.grad is not None}
    assert learning == {weight for weight, _ in with_adapters.named_parameters() if "lora_" in weight}
    for weight in learning:
        assert with_adapters.get_parameter(weight).grad.abs().max() > 0, weight


@pytest.mark.parametrize("name", DECODER_MIXERS)
def test_adapters_learn_on_quantised_weights(name):
    assert_adapters_learn(quantised(lively(name), "weights"))


@pytest.mark.usefixtures("onednn_for_all_sizes")
@pytest.mark.parametrize("name", DECODERS)
def test_torchs_own_dynamic_quantisation_converts_every_layer(name):
    model = lively(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        converted = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert not linear_layers(converted)
    assert_near(logits(converted), logits(model), share=0.3)
    for options in SEARCHES:
        assert_varied(tokens(converted, **options), least=3)


SKIPPED = ["lm_head", "score_proj"]  # one output: the 4-bit kernels for CPUs take multiples of 32
BITSANDBYTES = {
    "int8": BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["lm_head"]),
    "nf4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=SKIPPED),
}


def values_of(layer: Any, bitsandbytes: Any) -> Tensor:
    """What the weights of a layer of bitsandbytes stand for."""
    weight = layer.weight
    if isinstance(layer, bitsandbytes.nn.Linear8bitLt):
        return weight.data * weight.SCB[:, None] / 127
    return bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)


# Each direction of the encoder has half the width, and blocks of 4-bit numbers are 64 long.
BLOCKS = {"hidden_size": 128, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "attention_size": 64}


def load_with_bitsandbytes(model: nn.Module, kind: str, folder: Path, device: str) -> Any:
    model.save_pretrained(folder)
    config = copy.deepcopy(BITSANDBYTES[kind])
    return AutoModelForSeq2SeqLM.from_pretrained(
        folder, quantization_config=config, dtype=torch.float32, device_map=device
    )


def assert_bitsandbytes_works(name: str, kind: str, folder: Path, device: str) -> None:
    """Every layer but the skipped ones is converted and used, generation runs, saving keeps them."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model = lively(name, **BLOCKS)
    loaded = load_with_bitsandbytes(model, kind, folder / "float", device)
    written_out, skipped = model.double(), set(BITSANDBYTES[kind].llm_int8_skip_modules)
    for layer, module in linear_layers(loaded).items():
        assert (type(module) is nn.Linear) == (layer.rpartition(".")[2] in skipped), layer
        if type(module) is not nn.Linear:
            with torch.no_grad():
                written_out.get_parameter(f"{layer}.weight").copy_(values_of(module, bitsandbytes))
    loaded.save_pretrained(folder / "small")  # now: on a CPU the first product of 4-bit weights rounds their scales
    source = {key: value.to(loaded.device) for key, value in sources(model).items()}
    target = targets(model).to(loaded.device)
    found = run(loaded, **source, decoder_input_ids=target).logits
    assert_near(found.cpu(), logits(written_out), share=0.2)  # the products are of half precision
    for options in SEARCHES:
        assert_varied(generate(loaded, no_repeat_ngram_size=2, **source, **options), least=3)
    again = AutoModelForSeq2SeqLM.from_pretrained(folder / "small", dtype=torch.float32, device_map=device)
    torch.testing.assert_close(run(again, **source, decoder_input_ids=target).logits, found)


@pytest.mark.parametrize("kind", BITSANDBYTES)
@pytest.mark.parametrize("name", ["mixed", "additive", *DECODER_MIXERS])
def test_bitsandbytes_works_on_a_cpu(name, kind, tmp_path):
    assert_bitsandbytes_works(name, kind, tmp_path, "cpu")


@pytest.mark.parametrize("kind", BITSANDBYTES)
@pytest.mark.parametrize("name", ["mixed", "additive"])
def test_adapters_learn_on_weights_of_bitsandbytes(name, kind, tmp_path):
    pytest.importorskip("bitsandbytes")
    loaded = load_with_bitsandbytes(lively(name, **BLOCKS), kind, tmp_path, "cpu")
    assert_adapters_learn(prepare_model_for_kbit_training(loaded))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", BITSANDBYTES)
@pytest.mark.parametrize("name", ["mixed", "additive", *DECODER_MIXERS])
def test_bitsandbytes_works_on_a_gpu(name, kind, tmp_path):
    assert_bitsandbytes_works(name, kind, tmp_path, "cuda")


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
@pytest.mark.parametrize("kind", BITSANDBYTES)
def test_without_bitsandbytes_the_error_names_it(kind, tmp_path):
    lively("mixed").save_pretrained(tmp_path)
    with pytest.raises(ImportError, match="bitsandbytes"):
        load(tmp_path, BITSANDBYTES[kind])
