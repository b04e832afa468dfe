"""The config: every faulty value is named, every valid config survives a round trip and builds a model."""

import copy
import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError
from hypothesis import given, settings
from transformers import AutoConfig, AutoModelForSeq2SeqLM, DynamicCache, PreTrainedConfig, StaticCache

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnnattn.model.config_checks import BOUNDS, CHOICES
from model_zoo import ZOO, batch, build, realigned, tiny_config, tiny_model
from random_configs import valid_fields

OWN_FIELDS = {field.name for field in dataclasses.fields(RnnAttnConfig)} - {
    field.name for field in dataclasses.fields(PreTrainedConfig)
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny model."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_model().save_pretrained(folder)
    return folder


def write_config(folder: Path, **changes: Any) -> None:
    """A config.json of a tiny config with some keys changed."""
    fields = {**tiny_config().to_dict(), **changes}
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ['{"hidden_size": 5', "", "\ufeff{}"], ids=["truncated", "empty", "byte order mark"])
def test_a_config_file_that_is_not_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(OSError, match=r"config\.json.* is not a valid JSON file"):
        RnnAttnConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(("text", "kind"), [("[1, 2]", "list"), ("null", "NoneType"), ("3", "int")])
def test_a_config_file_that_is_no_object_is_named(tmp_path: Path, text: str, kind: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"config.json must be a JSON object, got {kind}"):
        RnnAttnConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("value", ["512", True, 1.5, None])
def test_a_value_of_the_wrong_type_in_a_file_names_its_field(tmp_path: Path, value: Any) -> None:
    write_config(tmp_path, hidden_size=value)
    with pytest.raises(StrictDataclassFieldValidationError, match="hidden_size"):
        RnnAttnConfig.from_pretrained(tmp_path)


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": "512"}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"encoder_layers": "3"}, "encoder_layers"),
        ({"num_hidden_layers": "3"}, "encoder_layers"),
        ({"dropout": "0.1"}, "dropout"),
        ({"encoder_mixers": [1, 2]}, "encoder_mixers"),
        ({"encoder_directions": 3}, "encoder_directions"),
        ({"residual": 1}, "residual"),
    ],
)
def test_a_value_of_the_wrong_type_names_its_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StrictDataclassFieldValidationError, match=message):
        tiny_config(**fields)


# What is wrong with the values, and what the error says of it.
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"hidden_size": 0}, "hidden_size must be in [1, 65536], got 0"),
    ({"hidden_size": -1}, "hidden_size must be in [1, 65536], got -1"),
    ({"hidden_size": 2**70}, f"hidden_size must be in [1, 65536], got {2**70}"),
    ({"vocab_size": 2**40}, f"vocab_size must be in [1, 16777216], got {2**40}"),
    ({"encoder_layers": 2**40}, f"encoder_layers must be in [0, 1024], got {2**40}"),
    ({"decoder_layers": -1}, "decoder_layers must be in [1, 1024], got -1"),
    ({"dropout": float("nan")}, "dropout must be in [0, 1), got nan"),
    ({"attention_dropout": -0.1}, "attention_dropout must be in [0, 1), got -0.1"),
    ({"activation_dropout": 1.0}, "activation_dropout must be in [0, 1), got 1.0"),
    ({"layer_norm_eps": 0.0}, "layer_norm_eps must be positive and finite, got 0.0"),
    ({"init_std": float("inf")}, "init_std must be positive and finite, got inf"),
    (
        {"encoder_hidden_size": 10, "encoder_attention_heads": 4},
        "encoder_hidden_size (10) must be divisible by encoder_attention_heads (4)",
    ),
    (
        {"hidden_size": 10, "encoder_hidden_size": 16, "decoder_attention_heads": 4},
        "hidden_size (10) must be divisible by decoder_attention_heads (4)",
    ),
    ({"encoder_mixers": ["lstmm", "gru"]}, "unknown mixer 'lstmm'; choose from bahdanau_gru, conditional_gru, cond"),
    ({"decoder_mixers": ["gru+", "gru"]}, "unknown mixer ''; choose from"),
    ({"encoder_mixers": ["bahdanau_gru", "gru"]}, "encoder_mixers has 'bahdanau_gru', which reads an encoder"),
    ({"decoder_mixers": ["fused+full_attention", "gru"]}, "joins 2 mixers that keep keys and values, at most 1 may"),
    ({"encoder_mixers": ["fused"], "encoder_attention_heads": 16}, "divisible by twice encoder_attention_heads (32)"),
    ({"decoder_mixers": ["luong_gru+bahdanau_gru", "gru"]}, "joins 2 mixers that read the encoder, at most 1 may"),
    ({"encoder_layers": 2, "encoder_mixers": ["gru"] * 3}, "encoder_mixers has 3 entries, encoder_layers is 2"),
    ({"decoder_layers": 3, "decoder_mixers": ["gru"] * 2}, "decoder_mixers has 2 entries, decoder_layers is 3"),
    ({"encoder_directions": ["both"]}, "encoder_directions has 1 entries, encoder_layers is 2"),
    (
        {"encoder_directions": ["both", "up"]},
        "encoder_directions must be among forward, backward, both, both_swapped, got 'up'",
    ),
    (
        {"encoder_hidden_size": 9, "encoder_mixers": ["gru"]},
        "encoder_hidden_size must be even for encoder_merge 'concat'",
    ),
    ({"cross_attention": "sine"}, "cross_attention must be one of multi_head, additive, dot, general, cosine, euclid"),
    (
        {"decoder_mixers": ["luong_gru", "gru"], "cross_attention": "multi_head"},
        "cross_attention must be one of additive, dot, general, cosine, euclidean for 'luong_gru', got 'multi_head'",
    ),
    (
        {"cross_attention": "dot", "encoder_hidden_size": 8},
        "cross_attention 'dot' needs one width, got hidden_size 16 and encoder_hidden_size 8",
    ),
    ({"cross_attention": "none", "readout": "deep"}, "readout 'deep' needs what the decoder reads of the encoder"),
    (
        {"decoder_mixers": ["rnmt_lstm", "gru"], "attention_size": 7},
        "attention_size (7) must be divisible by decoder_attention_heads (2)",
    ),
    (
        {"source_order": "doubled", "decoder_init": "last", "encoder_mixers": ["gru"]},
        "decoder_init 'last' needs the output where the encoder ended, which source_order 'doubled' gives of",
    ),
    ({"decoder_init": "context"}, "decoder_init 'context' needs a context_vector, got 'none'"),
    (
        {"context_vector": "sum"},
        "context_vector 'sum' is read by nothing: decoder_init must be 'context', feed_contex",
    ),
    (
        {"feed_context": True, "decoder_mixers": ["gru", "conditional_gru"], "cross_attention": "none"},
        "feed_context needs a context_vector, or a layer below the last that reads the encoder, got context_vector 'n",
    ),
    (
        {"decoder_mixers": ["conditional_gru", "gru"], "decoder_cell_depths": 1},
        "decoder_cell_depths must be in [2, 1024] for 'conditional_gru', got 1",
    ),
    ({"decoder_cell_depths": [1, 0]}, "decoder_cell_depths must be in [1, 1024] for 'full_attention', got 0"),
    ({"encoder_cell_depths": [1, 2]}, "encoder_cell_depths must be 1 for 'full_attention', which has one cell, got 2"),
    ({"encoder_cell_depths": [1]}, "encoder_cell_depths has 1 entries, encoder_layers is 2"),
    (
        {"decoder_init": "encoder_state", "encoder_mixers": ["lstm", "gru"], "decoder_mixers": ["gru", "lstm"]},
        "needs the same states on both sides, got h+c+h in the encoder and h+h+c in the decoder",
    ),
    (
        {"decoder_init": "encoder_state", "encoder_merge": "sum"},
        "decoder_init 'encoder_state' needs encoder_merge 'concat' or 'separate', got 'sum'",
    ),
    ({"activation_function": "gelou"}, "activation_function 'gelou' is not one of transformers' ACT2FN"),
    ({"embedding_size": 9, "decoder_position_embedding": "sinusoidal"}, "embedding_size must be even for sinusoidal"),
    ({"encoder_mixers": [], "encoder_hidden_size": 8}, "without encoder layers, encoder_hidden_size (8) must be"),
    (
        {"encoder_vocab_size": 19, "share_encoder_decoder_embeddings": True},
        "share_encoder_decoder_embeddings needs one vocabulary, got encoder_vocab_size 19 and vocab_size 23",
    ),
    ({"pad_token_id": 23}, "pad_token_id must be in [0, vocab_size), got 23 with vocab_size 23"),
    ({"pad_token_id": 20, "encoder_vocab_size": 19}, "pad_token_id must be in [0, encoder_vocab_size), got 20"),
    ({"bos_token_id": -1}, "bos_token_id must be in [0, vocab_size), got -1 with vocab_size 23"),
    ({"eos_token_id": [2, 23]}, "eos_token_id must be in [0, vocab_size), got 23 with vocab_size 23"),
    ({"decoder_start_token_id": 99}, "decoder_start_token_id must be in [0, vocab_size), got 99 with vocab_size 23"),
]


@pytest.mark.parametrize(("fields", "message"), FAULTS, ids=[" ".join(fields) for fields, _ in FAULTS])
def test_a_faulty_value_is_refused_with_field_value_and_bound(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StrictDataclassClassValidationError, match=re.escape(message)):
        tiny_config(**fields)


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_every_bound_is_kept_on_both_ends(name: str) -> None:
    low, high = BOUNDS[name]
    for value in (low - 1, high + 1):
        with pytest.raises(StrictDataclassClassValidationError, match=re.escape(f"{name} must be in [{low}, {high}]")):
            tiny_config(**{name: value})


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_a_choice_that_does_not_exist_lists_those_that_do(name: str) -> None:
    with pytest.raises(StrictDataclassClassValidationError, match=f"{name} must be one of {', '.join(CHOICES[name])}"):
        tiny_config(**{name: "sideways"})


def test_integers_are_accepted_as_probabilities() -> None:
    assert tiny_config(dropout=0, attention_dropout=0, activation_dropout=0).dropout == 0


def test_special_ids_may_be_none_and_padding_may_be_the_end() -> None:
    config = tiny_config(pad_token_id=None, bos_token_id=None, eos_token_id=None)
    assert config.decoder_start_token_id is None
    assert build(config)(**batch(config)).logits.isfinite().all()
    assert tiny_config(pad_token_id=2, eos_token_id=2).pad_token_id == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"decoder_layers": 5}, "decoder_mixers has 2 entries, decoder_layers is 5"),
        ({"num_hidden_layers": 5}, "encoder_mixers has 2 entries, encoder_layers is 5"),
        ({"decoder_mixers": ["lstmm", "gru"]}, "unknown mixer 'lstmm'"),
        ({"decoder_mixers": "lstm"}, "decoder_mixers must be a list with one entry a layer, got 'lstm'"),
        ({"encoder_mixers": None}, "encoder_mixers must be a list with one entry a layer, got None"),
        ({"encoder_directions": "both"}, "encoder_directions must be a list with one entry a layer, got 'both'"),
        ({"dropout": 1.5}, "dropout must be in [0, 1), got 1.5"),
        ({"pad_token_id": 99}, "pad_token_id must be in [0, vocab_size), got 99 with vocab_size 23"),
        ({"encoder_hidden_size": None}, "encoder_hidden_size must be in [1, 65536], got None"),
        ({"encoder_attention_heads": 3}, "encoder_hidden_size (16) must be divisible by encoder_attention_heads (3)"),
    ],
)
def test_faulty_overrides_are_refused_when_the_model_is_built(
    checkpoint: Path, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        RnnAttnForConditionalGeneration.from_pretrained(checkpoint, **overrides)


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_misspelt_key_is_named_once_when_a_model_is_loaded(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fields = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    fields.update(hiden_size=3, vocabsize=4)
    (tmp_path / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    with caplog.at_level(logging.WARNING):
        AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    warnings = [record.getMessage() for record in caplog.records if "unused" in record.getMessage()]
    assert warnings == ["unused config keys: hiden_size, vocabsize"]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"architectures": ["X"], "id2label": {"0": "a"}, "label2id": {"a": 0}, "transformers_version": "5.0.0"},
        {"model_type": "rnnattn", "auto_map": {"AutoConfig": "x--y.Z"}, "custom_pipelines": {}},
        {"quantization_config": {"quant_method": "none"}, "cross_attention_hidden_size": 8},
        {"torch_dtype": "float32", "num_labels": 3, "output_attentions": False, "attn_implementation": "eager"},
        {"is_decoder": True, "add_cross_attention": True},
        {"num_hidden_layers": 2, "num_attention_heads": 2, "mixers": ["gru", "ssru"], "layer_types": ["rnnattn"] * 2},
        {"num_beams": 4, "max_length": 7},
    ],
    ids=lambda keys: ",".join(keys) or "none",
)
def test_keys_that_transformers_uses_do_not_warn(keys: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tiny_config(**keys)
    assert not [record for record in caplog.records if "unused" in record.getMessage()]


def test_aliases_of_transformers_reach_the_fields() -> None:
    config = RnnAttnConfig(num_hidden_layers=3, num_attention_heads=4, mixers=["gru", "lstm"])
    assert (config.encoder_layers, config.encoder_attention_heads) == (3, 4)
    assert config.decoder_mixers == ["gru", "lstm"]
    assert (config.num_hidden_layers, config.num_attention_heads) == (3, 4)
    config.num_attention_heads = 2
    assert config.encoder_attention_heads == 2


# --- what is filled in -----------------------------------------------------------------------------------------------


def test_what_is_not_given_follows_what_is() -> None:
    config = RnnAttnConfig(vocab_size=50, hidden_size=24, decoder_mixers=["gru"] * 3, encoder_layers=2, bos_token_id=5)
    assert (config.encoder_vocab_size, config.encoder_hidden_size, config.embedding_size) == (50, 24, 24)
    assert config.attention_size == 24
    assert (config.encoder_layers, config.decoder_layers) == (2, 3)
    assert config.encoder_mixers == ["gru+full_attention"] * 2
    assert config.encoder_directions == ["both"] * 2
    assert config.decoder_start_token_id == 5
    assert config.share_encoder_decoder_embeddings is True
    assert RnnAttnConfig(encoder_vocab_size=7).share_encoder_decoder_embeddings is False


def test_one_mixer_stands_for_every_layer() -> None:
    config = RnnAttnConfig(decoder_mixers="gru", decoder_layers=3, encoder_mixers="lstm", encoder_directions="forward")
    assert config.decoder_mixers == ["gru"] * 3
    assert config.encoder_mixers == ["lstm"] * 6
    assert config.encoder_directions == ["forward"] * 6


def test_configs_do_not_share_their_lists() -> None:
    one, other = RnnAttnConfig(), RnnAttnConfig()
    one.decoder_mixers[0] = "gru"
    assert other.decoder_mixers[0] == "ssru"


# --- the decoder's view ----------------------------------------------------------------------------------------------


def test_the_decoders_view_keeps_the_kinds_of_cache_layers() -> None:
    config = tiny_config(encoder_mixers=["gru"], decoder_mixers=["ssru", "full_attention", "lstm+full_attention"])
    view = config.get_text_config(decoder=True)
    assert view.num_hidden_layers == 3
    for seen in (view, copy.deepcopy(view), view.get_text_config(decoder=True)):
        assert seen.layer_types == ["rnnattn"] * 3
        assert seen.mixers == config.decoder_mixers
    assert config.decoder_layer_types == ["rnnattn"] * 3, "the view must not change the config itself"


def test_the_kinds_of_cache_layers_follow_overridden_mixers(tmp_path: Path) -> None:
    tiny_config().save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, decoder_mixers=["gru", "lstm", "ssru"], decoder_layers=3)
    for layers in (
        DynamicCache(config=config.get_text_config(decoder=True)).layers,
        DynamicCache(config=config).layers,
        StaticCache(config=config, max_cache_len=8).layers,
    ):
        assert len(layers) == 3
        assert all(hasattr(layer, "read_states") for layer in layers)


# --- documentation ---------------------------------------------------------------------------------------------------


def documented_fields() -> list[str]:
    """The names that the docstring's Args explain, as often as they appear."""
    arguments = re.search(r"\n    Args:\n(.*?)\n\n    Raises:", RnnAttnConfig.__doc__, re.DOTALL)
    heads = re.findall(r"^ {8}(\w[\w, ]*): ", arguments[1], re.MULTILINE)
    return [name for head in heads for name in head.split(", ")]


def test_every_field_is_documented_once_and_nothing_else_is() -> None:
    overridden = {"is_encoder_decoder"}  # of transformers' own class, which documents it
    assert sorted(documented_fields()) == sorted(OWN_FIELDS - overridden)


# --- round trips and every combination -------------------------------------------------------------------------------


@settings(max_examples=60)
@given(valid_fields())
def test_every_valid_config_survives_json(fields: dict[str, Any]) -> None:
    config = RnnAttnConfig(**fields)
    text = config.to_json_string(use_diff=False)
    again = RnnAttnConfig.from_dict(json.loads(text))
    assert again.to_json_string(use_diff=False) == text
    assert {name: getattr(again, name) for name in OWN_FIELDS} == {name: getattr(config, name) for name in OWN_FIELDS}
    short = RnnAttnConfig.from_dict(json.loads(config.to_json_string()))
    assert short.to_json_string(use_diff=False) == text


@settings(max_examples=40)
@given(valid_fields())
def test_every_valid_config_builds_runs_generates_and_saves(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Any]
) -> None:
    config = RnnAttnConfig(**fields)
    model = build(config)
    inputs = batch(config, rows=2, source=4, target=3)
    with torch.no_grad():
        logits = model(**inputs).logits
    assert logits.shape == (2, 3, config.vocab_size)
    assert logits.isfinite().all()
    folder = tmp_path_factory.mktemp("random")
    model.save_pretrained(folder)
    with torch.no_grad():
        loaded = realigned(RnnAttnForConditionalGeneration.from_pretrained(folder))
        assert torch.equal(loaded(**inputs).logits, logits)
    generated = model.generate(
        inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=3, decoder_start_token_id=1
    )
    assert generated.shape[0] == 2


@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_config_of_the_zoo_survives_files_and_copies(tmp_path: Path, name: str) -> None:
    config = tiny_config(**ZOO[name])
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.to_json_string() == config.to_json_string()
    assert copy.deepcopy(config).to_dict() == config.to_dict()
