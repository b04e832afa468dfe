"""Recurrent models of eole: a folder with weights, ``config.json`` and ``vocab.json``, read as OpenNMT-py's are."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoint_folder import write_checkpoint
from .opennmt import RULES, model_from_opennmt, tokenizer_from_opennmt
from .opennmt_checkpoint import (
    SOURCE_POSITIONS,
    SOURCE_WORDS,
    SPECIALS,
    TARGET_POSITIONS,
    TARGET_WORDS,
    OpenNmtCheckpoint,
    read_shards,
)
from .toolkit_options import Rule, agree, check_options, option

MAX_JSON = 2**27
NAMES = {
    "src_emb.embeddings.weight": SOURCE_WORDS,
    "tgt_emb.embeddings.weight": TARGET_WORDS,
    "src_emb.pe.pe": SOURCE_POSITIONS,
    "tgt_emb.pe.pe": TARGET_POSITIONS,
}
# Where eole keeps what OpenNMT-py calls so, and what it takes where it is absent: it saves only what was set.
OPTIONS: dict[str, tuple[str, Any]] = {
    "encoder_type": ("model.encoder.encoder_type", "rnn"),
    "decoder_type": ("model.decoder.decoder_type", "rnn"),
    "enc_layers": ("model.encoder.layers", 2),
    "dec_layers": ("model.decoder.layers", 2),
    "enc_hid_size": ("model.encoder.hidden_size", 512),
    "dec_hid_size": ("model.decoder.hidden_size", 512),
    "src_word_vec_size": ("model.embeddings.src_word_vec_size", 512),
    "tgt_word_vec_size": ("model.embeddings.tgt_word_vec_size", 512),
    "bridge": ("model.encoder.bridge", False),
    "input_feed": ("model.input_feed", 1),
    "global_attention": ("model.decoder.global_attention", "general"),
    "global_attention_function": ("model.decoder.global_attention_function", "softmax"),
    "generator_function": ("model.generator_function", "softmax"),
    "context_gate": ("model.decoder.context_gate", None),
    "coverage_attn": ("model.decoder.coverage_attn", False),
    "share_embeddings": ("model.share_embeddings", False),
    "share_decoder_embeddings": ("model.share_decoder_embeddings", False),
    "lora_layers": ("training.lora_layers", None),
    "lora_embedding": ("training.lora_embedding", False),
    "quant_layers": ("training.quant_layers", None),
    "dropout": ("training.dropout", 0.0),
    "transforms": ("transforms", None),
    "data": ("data", None),
}
CELL_TYPES = ("model.encoder.rnn_type", "model.decoder.rnn_type")
POSITIONS = "model.embeddings.position_encoding_type"
# The first is eole's default, also for recurrent models.
POSITION_TYPES = ("SinusoidalInterleaved", "SinusoidalConcat", None)
EOLE_RULES = (
    *(rule._replace(key=OPTIONS[rule.key][0]) for rule in RULES if rule.key in OPTIONS),
    Rule(POSITIONS, POSITION_TYPES[0], POSITION_TYPES, "only sines and cosines, or none, are read"),
    Rule("model.embeddings.position_shift", 0, (0, None), "positions must not be shifted"),
    Rule("model.embeddings.normalize", False, (False, None), "embeddings must not be scaled"),
    Rule("model.embeddings.embedding_type", "standard", ("standard",), "only standard embeddings are read"),
    Rule("model.generator_bias", True, (True,), "the output must have a bias"),
    Rule("model.add_estimator", False, (False,), "estimators are not supported"),
    Rule("model.left_pad", False, (False,), "only padding on the right is read"),
)


def convert_eole(
    model: str | PathLike[str],
    vocab: str | PathLike[str] | None = None,
    target_vocab: str | PathLike[str] | None = None,
    *,
    output: str | PathLike[str],
) -> None:
    """Writes a checkpoint folder of a recurrent model of eole: model, generation config and tokenizer.

    Args:
        model: the folder of a model.
        vocab, target_vocab: none, since the folder has its words.
        output: the folder that is written, all of it or nothing.

    Raises:
        OSError: a file is not there or too large, or the folder cannot be written.
        ValueError: a file is not what it should be, or has no counterpart in this family.
    """
    if vocab is not None or target_vocab is not None:
        raise ValueError(f"{model} has its own words: give no {vocab or target_vocab}")
    checkpoint = read_eole(model)
    write_checkpoint(model_from_opennmt(checkpoint), tokenizer_from_opennmt(checkpoint), output)


def read_eole(model: str | PathLike[str]) -> OpenNmtCheckpoint:
    """Reads what ``convert_eole`` converts, by OpenNMT-py's names; nothing of it is executed.

    Raises:
        ValueError: an option has no counterpart here.
    """
    folder = Path(model)
    config, vocab = _read_json(folder / "config.json"), _read_json(folder / "vocab.json")
    if "model" not in config:
        raise ValueError(f"{folder / 'config.json'} says nothing of a model")
    source = str(folder)
    check_options(config, EOLE_RULES, source)
    words, target_words = vocab.get("src"), vocab.get("tgt")
    if not isinstance(words, list) or not isinstance(target_words, list):
        raise ValueError(f"{folder / 'vocab.json'} has no lists of words, src and tgt")
    specials = {name: option(vocab, f"specials.{name}_token", token) for name, token in SPECIALS.items()}
    options = {name: option(config, key, default) for name, (key, default) in OPTIONS.items()}
    options["rnn_type"] = agree(config, CELL_TYPES, "LSTM", source, "encoder and decoder must have one kind of cell")
    return OpenNmtCheckpoint(
        options,
        _renamed(read_shards(folder, "model.*.safetensors")),
        words,
        target_words,
        specials,
        vocab.get("decoder_start_token", specials["bos"]),
        source,
        positions=option(config, POSITIONS, POSITION_TYPES[0]) is not None,
    )


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {NAMES.get(name, name): tensor for name, tensor in tensors.items()}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise OSError(f"no file {path}: a model of eole is a folder with config.json, vocab.json and weights")
    if path.stat().st_size > MAX_JSON:
        raise OSError(f"{path} has {path.stat().st_size} bytes, at most {MAX_JSON} are read")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must be a JSON object, got {type(content).__name__}")
    return content
