"""Saving and loading: bitwise the same model, tied weights tied, and nothing left uninitialised."""

import hashlib
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration, RnnAttnModel
from model_zoo import RECURRENT, VOCABULARY, ZOO, batch, build, realigned, tiny_config, tiny_model

TYING = list(product([True, False], [True, False]))  # tie_word_embeddings, share_encoder_decoder_embeddings
TYING_NAMES = [f"{'tied' if tied else 'untied'}-{'shared' if shared else 'separate'}" for tied, shared in TYING]


INPUTS = batch(tiny_config())


def logits_of(model: Any, **inputs: Any) -> Tensor:
    """Logits of the same source and target for every model that knows their ids."""
    with torch.no_grad():
        logits: Tensor = realigned(model)(**(inputs or INPUTS)).logits
    return logits


def weights(model: RnnAttnForConditionalGeneration) -> tuple[Tensor, Tensor, Tensor]:
    """The three tables: source, target, output."""
    inner = model.model
    return (
        inner.encoder.get_input_embeddings().weight,
        inner.decoder.get_input_embeddings().weight,
        model.lm_head.weight,
    )


def check_ties(model: RnnAttnForConditionalGeneration, tied: bool, shared: bool) -> None:
    """Asserts that exactly the tables that the config ties are one tensor."""
    source, target, output = weights(model)
    assert (output is target) == tied
    assert (source is target) == shared


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


# --- the same model comes back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_loaded_model_is_bitwise_the_saved_one(tmp_path: Path, name: str) -> None:
    model = build(tiny_config(**ZOO[name]))
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is RnnAttnForConditionalGeneration
    assert not any(report.values())
    inputs = batch(model.config)
    assert torch.equal(logits_of(loaded, **inputs), logits_of(model, **inputs))
    state, again = model.state_dict(), loaded.state_dict()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[key], again[key]) for key in state)


def test_every_auto_class_loads_a_checkpoint(tmp_path: Path) -> None:
    model = tiny_model(tie_word_embeddings=False)
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is RnnAttnConfig
    inner = AutoModel.from_pretrained(tmp_path)
    assert type(inner) is RnnAttnModel
    assert type(AutoModelForSeq2SeqLM.from_pretrained(tmp_path)) is RnnAttnForConditionalGeneration
    want = model.model(**INPUTS).last_hidden_state
    assert torch.equal(realigned(inner)(**INPUTS).last_hidden_state, want)


def test_a_model_without_its_output_matrix_is_saved_and_gets_one_when_loaded(tmp_path: Path) -> None:
    model = tiny_model()
    model.model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    check_ties(loaded, True, True)
    assert torch.equal(logits_of(loaded), logits_of(model))


def test_saving_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    model = tiny_model(**ZOO["composites"])
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "two")
    AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "three")
    one, two, three = (digests(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two == three
    assert sorted(one) == ["config.json", "generation_config.json", "model.safetensors"]


def test_one_seed_gives_one_checkpoint(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        build(tiny_config(**ZOO["composites"]), seed=seed).save_pretrained(tmp_path / name)
    one, two, other = (digests(tmp_path / name)["model.safetensors"] for name in ("one", "two", "other"))
    assert one == two
    assert one != other


def test_a_checkpoint_in_shards_loads_as_one_in_a_single_file(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert torch.equal(logits_of(AutoModelForSeq2SeqLM.from_pretrained(tmp_path)), logits_of(model))


def test_the_weights_are_in_a_safe_file_and_in_no_other(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    assert not [path.name for path in tmp_path.iterdir() if path.suffix in {".bin", ".pt", ".pkl", ".pth"}]
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_folder_with_pickled_weights_only_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.config.save_pretrained(tmp_path)
    torch.save({"payload": print}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"Weights only load failed|no file named model\.safetensors"):
        AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        AutoModelForSeq2SeqLM.from_pretrained(tmp_path, use_safetensors=True)


# --- tied weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tied", "shared"), TYING, ids=TYING_NAMES)
def test_ties_survive_everything_that_moves_weights(tmp_path: Path, tied: bool, shared: bool) -> None:
    model = tiny_model(tie_word_embeddings=tied, share_encoder_decoder_embeddings=shared)
    check_ties(model, tied, shared)
    want = logits_of(model)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    check_ties(loaded, tied, shared)
    check_ties(loaded.to(torch.float64), tied, shared)
    check_ties(loaded.to(torch.float32), tied, shared)
    assert torch.equal(logits_of(loaded), want)
    loaded.resize_token_embeddings(VOCABULARY + 5)
    check_ties(loaded, tied, shared)
    loaded.save_pretrained(tmp_path / "resized")
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "resized")
    check_ties(again, tied, shared)
    assert torch.equal(logits_of(again)[..., :VOCABULARY], want[..., :VOCABULARY])


@pytest.mark.parametrize(("tied", "shared"), TYING, ids=TYING_NAMES)
def test_a_tied_table_is_written_once(tmp_path: Path, tied: bool, shared: bool) -> None:
    tiny_model(tie_word_embeddings=tied, share_encoder_decoder_embeddings=shared).save_pretrained(tmp_path)
    tables = [key for key in load_file(tmp_path / "model.safetensors") if "word_embeddings" in key or "lm_head" in key]
    assert len(tables) == 3 - tied - shared


@pytest.mark.parametrize(("tied", "shared"), TYING, ids=TYING_NAMES)
def test_training_moves_tied_tables_together_and_others_apart(tied: bool, shared: bool) -> None:
    model = tiny_model(tie_word_embeddings=tied, share_encoder_decoder_embeddings=shared).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs = batch(model.config)
    model(**inputs, labels=inputs["decoder_input_ids"]).loss.backward()
    optimizer.step()
    source, target, output = weights(model)
    assert torch.equal(output, target) == tied
    assert torch.equal(source, target) == shared


# --- other vocabularies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [False, True], ids=["with output", "base model"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("tied", "shared"), TYING, ids=TYING_NAMES)
def test_a_resized_vocabulary_keeps_what_the_old_tokens_did(tied: bool, shared: bool, bias: bool, base: bool) -> None:
    model = tiny_model(tie_word_embeddings=tied, share_encoder_decoder_embeddings=shared, output_bias=bias)
    want, config = logits_of(model), model.config
    resized = model.model if base else model
    for size in (VOCABULARY + 7, VOCABULARY):
        table = resized.resize_token_embeddings(size)
        assert table.num_embeddings == config.vocab_size == size
        assert config.encoder_vocab_size == (size if shared else VOCABULARY)
        assert model.get_encoder().get_input_embeddings().num_embeddings == config.encoder_vocab_size
        config.validate()
        if not base:
            assert torch.equal(logits_of(model)[..., :VOCABULARY], want)
            assert model.lm_head.out_features == size


def test_a_resized_vocabulary_may_be_rounded_up() -> None:
    model = tiny_model(encoder_vocab_size=19)
    model.resize_token_embeddings(pad_to_multiple_of=8)
    model.resize_encoder_token_embeddings(20, pad_to_multiple_of=16)
    assert (model.config.vocab_size, model.config.encoder_vocab_size) == (24, 32)
    assert model.resize_token_embeddings() is model.get_decoder().get_input_embeddings()
    assert model.config.vocab_size == 24


def test_the_source_vocabulary_is_resized_by_itself(tmp_path: Path) -> None:
    model = tiny_model(encoder_vocab_size=19)
    inputs = batch(model.config)
    want = logits_of(model, **inputs)
    assert model.resize_encoder_token_embeddings(40).num_embeddings == model.config.encoder_vocab_size == 40
    assert model.config.vocab_size == VOCABULARY
    assert torch.equal(logits_of(model, **inputs), want)
    model(input_ids=torch.tensor([[39]]), decoder_input_ids=torch.tensor([[1]]))
    model.save_pretrained(tmp_path)
    assert torch.equal(logits_of(AutoModelForSeq2SeqLM.from_pretrained(tmp_path), **inputs), want)
    with pytest.raises(ValueError, match="share_encoder_decoder_embeddings is True"):
        tiny_model().resize_encoder_token_embeddings(40)


@pytest.mark.parametrize("mean_resizing", [True, False])
def test_added_tokens_are_finite_and_of_the_scale_of_the_others(mean_resizing: bool) -> None:
    model = tiny_model(tie_word_embeddings=False, init_std=0.02)
    model.resize_token_embeddings(2000, mean_resizing=mean_resizing)
    for table in weights(model):
        assert table.isfinite().all()
        assert table[VOCABULARY:].std() < 0.03
    if not mean_resizing:
        assert weights(model)[0][VOCABULARY:].std() > 0.015


def test_frozen_tables_stay_frozen_when_resized() -> None:
    model = tiny_model(tie_word_embeddings=False)
    for table in weights(model):
        table.requires_grad_(False)
    model.resize_token_embeddings(VOCABULARY + 1)
    assert not any(table.requires_grad for table in weights(model))


# --- initialisation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*(f"decoder_{name}" for name in RECURRENT), "composites", "additive", "sinusoidal"])
def test_weights_that_a_checkpoint_lacks_are_initialised(tmp_path: Path, name: str) -> None:
    """A model is built without memory behind its tensors and then filled: what nobody fills would be garbage."""
    config = tiny_config(**{**ZOO[name], "init_std": 0.02})
    built = build(config)
    built.save_pretrained(tmp_path)
    kept = {key: value for key, value in load_file(tmp_path / "model.safetensors").items() if "fc1" in key}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    torch.manual_seed(1)
    loaded = RnnAttnForConditionalGeneration.from_pretrained(tmp_path)
    wanted = dict(built.named_parameters())
    for key, parameter in loaded.named_parameters():
        assert parameter.isfinite().all(), key
        if key in kept:
            assert torch.equal(parameter, kept[key]), key
        elif (parameter.dim() > 1 and wanted[key].std() > 0) or key.endswith("decay"):  # drawn at random
            assert 0.2 < parameter.std() / wanted[key].std() < 5, key
            assert not torch.equal(parameter, wanted[key]), key
        else:  # a constant: a bias, the scale of a norm
            assert torch.equal(parameter, wanted[key]), key


def test_recurrent_matrices_start_orthogonal_and_forget_gates_open() -> None:
    model = tiny_model(decoder_mixers=["lstm", "gru"])
    lstm, gru = (layer.mixers[0] for layer in model.model.decoder.layers)
    for block in (*lstm.state_to_gates.weight.chunk(4), *gru.state_to_gates.weight.chunk(3)):
        torch.testing.assert_close(block @ block.T, torch.eye(16), rtol=0.0, atol=1e-5)
    assert lstm.input_to_gates.bias.chunk(4)[1].tolist() == [1.0] * 16
    assert lstm.input_to_gates.bias.sum() == 16


def test_linear_layers_and_embeddings_start_at_the_configs_scale() -> None:
    model = build(tiny_config(init_std=0.05, hidden_size=128, vocab_size=500))
    decoder = model.model.decoder
    for weight in (decoder.get_input_embeddings().weight, decoder.layers[0].cross_attention.q_proj.weight):
        assert 0.045 < weight.std() < 0.055


# --- precision and placement -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["loaded", "moved"])
def test_half_precision_keeps_its_states_in_float32(tmp_path: Path, dtype: torch.dtype, how: str) -> None:
    fields = {
        "encoder_mixers": ["lstm+full_attention", "elman"],
        "decoder_mixers": ["ssru+full_attention", "bahdanau_gru", "lstm", "gru+mingru"],
        "decoder_init": "mean",
        "encoder_position_embedding": "sinusoidal",
    }
    model = tiny_model(**fields)
    want = logits_of(model)
    if how == "loaded":
        model.save_pretrained(tmp_path)
        halved = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=dtype)
    else:
        halved = model.to(dtype)
    assert {parameter.dtype for parameter in halved.parameters()} == {dtype}
    outputs = halved(**batch(halved.config), use_cache=True)
    assert outputs.logits.dtype == dtype
    assert (outputs.logits.float() - want).norm() / want.norm() < 0.02
    states = [layer.states for layer in outputs.cache.self_attention_cache.layers]
    assert {state.dtype for layer in states for state in layer.values()} == {torch.float32}
    assert all(states)


def test_the_saved_precision_is_the_loaded_one(tmp_path: Path) -> None:
    tiny_model().to(torch.bfloat16).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path).dtype == torch.bfloat16
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float32).dtype == torch.float32


def test_a_device_map_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="device maps are accelerate's")
    model = tiny_model(encoder_position_embedding="sinusoidal")
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, device_map="cpu")
    assert torch.equal(logits_of(loaded), logits_of(model))
