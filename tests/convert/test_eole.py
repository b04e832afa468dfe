"""Recurrent models of eole: what is read, and what is refused by its name."""

import json

import pytest
import torch

from hf_rnnattn.convert.eole import convert_eole, read_eole
from hf_rnnattn.convert.opennmt import model_from_opennmt, tokenizer_from_opennmt
from toolkit_models import assembled


def changed(folder, keys=(), value=None, tensors=lambda held: None, name="lstm"):
    """A model with another value for an option, or with other weights."""

    def change(options, held):
        tensors(held)
        place = options
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        if keys:
            place[keys[-1]] = value

    return assembled("eole", name, folder, change)


def test_positions_that_eole_adds_are_a_table_here(tmp_path):
    """Recurrent models of eole have them unless they are told not to."""
    model = model_from_opennmt(read_eole(changed(tmp_path / "theirs")))
    table = model.get_decoder().embeddings.position_embeddings.weight
    assert table.shape == (5000, 12)
    assert torch.equal(table[0], torch.tensor([0.0, 1.0] * 6))
    assert model.config.scale_embedding
    without = model_from_opennmt(read_eole(changed(tmp_path / "without", name="gru")))
    assert without.get_decoder().embeddings.position_embeddings is None
    assert not without.config.scale_embedding


def test_special_tokens_are_those_of_the_vocabulary(tmp_path):
    path = changed(tmp_path / "theirs")
    vocab = json.loads((path / "vocab.json").read_text(encoding="utf-8"))
    vocab["src"][1] = vocab["tgt"][1] = vocab["specials"]["pad_token"] = "<padding>"
    vocab["decoder_start_token"] = "</s>"
    (path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    checkpoint = read_eole(path)
    assert tokenizer_from_opennmt(checkpoint).pad_token == "<padding>"
    model = model_from_opennmt(checkpoint)
    assert model.config.pad_token_id == 1
    assert model.generation_config.decoder_start_token_id == model.config.eos_token_id == 3


def test_options_that_eole_left_out_have_its_defaults(tmp_path):
    """It saves only what somebody set."""

    def forget(options, held):
        for side in ("encoder", "decoder"):
            del options["model"][side]["rnn_type"], options["model"][side]["layers"]
        del options["model"]["decoder"]["global_attention"], options["model"]["input_feed"]

    whole, sparse = changed(tmp_path / "whole"), assembled("eole", "lstm", tmp_path / "sparse", forget)
    configs = [model_from_opennmt(read_eole(path)).config.to_dict() for path in (whole, sparse)]
    assert configs[0] == configs[1]


ENCODER, DECODER, EMBEDDINGS = ("model", "encoder"), ("model", "decoder"), ("model", "embeddings")
REFUSED = [
    ((*ENCODER, "encoder_type"), "transformer", "model.encoder.encoder_type is 'transformer' in"),
    ((*DECODER, "decoder_type"), "transformer", "model.decoder.decoder_type is 'transformer' in"),
    ((*ENCODER, "rnn_type"), "GRU", "must have one kind of cell, got model.encoder.rnn_type 'GRU'"),
    ((*DECODER, "global_attention"), None, "model.decoder.global_attention is None"),
    ((*DECODER, "global_attention_function"), "sparsemax", "model.decoder.global_attention_function is 'sparsemax'"),
    ((*DECODER, "context_gate"), "source", "model.decoder.context_gate is 'source'"),
    ((*DECODER, "coverage_attn"), True, "model.decoder.coverage_attn is True"),
    ((*ENCODER, "bridge"), True, "model.encoder.bridge is True"),
    (("model", "generator_function"), "sparsemax", "model.generator_function is 'sparsemax'"),
    (("model", "generator_bias"), False, "model.generator_bias is False"),
    (("model", "add_estimator"), True, "model.add_estimator is True"),
    (("model", "left_pad"), True, "model.left_pad is True"),
    ((*EMBEDDINGS, "normalize"), True, "model.embeddings.normalize is True"),
    ((*EMBEDDINGS, "embedding_type"), "roberta", "model.embeddings.embedding_type is 'roberta'"),
    ((*EMBEDDINGS, "position_shift"), 2, "model.embeddings.position_shift is 2"),
    ((*EMBEDDINGS, "position_encoding_type"), "Learned", "model.embeddings.position_encoding_type is 'Learned'"),
    (("training", "lora_layers"), ["linear_in"], r"training.lora_layers is \['linear_in'\]"),
    (("transforms",), ["bpe"], "transforms has 'bpe'"),
    (("data", "corpus_1", "transforms"), ["prefix"], "transforms has 'prefix'"),
]


@pytest.mark.parametrize(("keys", "value", "message"), REFUSED)
def test_what_has_no_counterpart_is_refused(keys, value, message, tmp_path):
    path = changed(tmp_path / "theirs", keys, value)
    with pytest.raises(ValueError, match=message):
        convert_eole(path, output=tmp_path / "ours")
    assert {file.name for file in tmp_path.iterdir()} == {"theirs"}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (lambda held: held.pop("src_emb.pe.pe"), "must be in .*, with 3 dimensions"),
        (lambda held: held.pop("tgt_emb.pe.pe"), r"missing: decoder\.embeddings\.make_embedding\.pe\.pe"),
        (lambda held: held.update(extra=torch.zeros(1)), "not understood: extra"),
    ],
)
def test_weights_must_be_all_of_them(tensors, message, tmp_path):
    path = changed(tmp_path / "theirs", tensors=tensors)
    with pytest.raises(ValueError, match=message):
        convert_eole(path, output=tmp_path / "ours")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "{", r"config\.json is no JSON"),
        ("config.json", "[]", r"config\.json must be a JSON object, got list"),
        ("config.json", "{}", r"config\.json says nothing of a model"),
        ("vocab.json", '{"src": {}}', r"vocab\.json has no lists of words, src and tgt"),
    ],
)
def test_files_that_are_none_are_refused(name, text, message, tmp_path):
    path = changed(tmp_path / "theirs")
    (path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        convert_eole(path, output=tmp_path / "ours")


def test_a_model_is_a_folder_with_its_own_words(tmp_path):
    path = changed(tmp_path / "theirs")
    with pytest.raises(ValueError, match="has its own words: give no words"):
        convert_eole(path, target_vocab="words", output=tmp_path / "ours")
    with pytest.raises(OSError, match=r"no file .*config\.json: a model of eole is a folder"):
        convert_eole(tmp_path, output=tmp_path / "ours")
    (path / "model.00.safetensors").unlink()
    with pytest.raises(OSError, match="no weights in"):
        convert_eole(path, output=tmp_path / "ours")
