"""Recurrent models of OpenNMT-py 3: one checkpoint with weights, options and vocabularies."""

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from ..model.modeling_rnnattn import RnnAttnForConditionalGeneration
from ..model.tokenization_rnnattn import RnnAttnTokenizer
from .checkpoint_folder import write_checkpoint
from .opennmt_checkpoint import (
    SOURCE_POSITIONS,
    SOURCE_WORDS,
    TARGET_POSITIONS,
    TARGET_WORDS,
    OpenNmtCheckpoint,
    read_opennmt,
)
from .recurrent_table import (
    DECODER,
    ENCODER,
    PLAIN,
    SOURCE_TABLE,
    STACK,
    TARGET_TABLE,
    decoder_fields,
    embedding_sizes,
    encoder_cells,
    encoder_fields,
    generation_config,
    stack_cells,
    widened,
)
from .toolkit_options import Rule, agree, check_options, flag, number, option
from .weight_table import Weight, linear, model_from_table
from .word_vocabulary import tokenizer_from_words

# Where inference says nothing: a target is at most so many times as long as its source, and so many words more.
LENGTH_FACTOR, LENGTH_OFFSET, MAX_LENGTH = 1.25, 5, 250
SCORES = {"dot": "dot", "general": "general", "mlp": "additive"}
CELLS = {"GRU": "gru", "LSTM": "lstm"}
READERS = {
    SOURCE_WORDS: ("encoder.rnn.weight_ih_l0", "encoder.rnn.weight_ih_l0_reverse"),
    TARGET_WORDS: ("decoder.rnn.weight_ih_l0", "decoder.rnn.layers.0.weight_ih"),
}
# What each of these options makes one weight.
TIES = {
    "share_embeddings": (TARGET_WORDS, SOURCE_WORDS),
    "share_decoder_embeddings": ("generator.weight", TARGET_WORDS),
}
SEGMENTED = "split texts yourself, and train without this transform or leave it out of the options"
# Transforms that only add noise to training, or leave examples out of it.
HARMLESS_TRANSFORMS = ("filtertoolong", "switchout", "tokendrop", "tokenmask", "clean")
RULES = (
    Rule("model_task", "seq2seq", ("seq2seq",), "only models with an encoder are read"),
    Rule("model_type", "text", ("text",), "only texts are read"),
    Rule("encoder_type", "rnn", ("rnn", "brnn"), "only recurrent models are read"),
    Rule("decoder_type", "rnn", ("rnn",), "only recurrent models are read"),
    Rule("rnn_type", "LSTM", tuple(CELLS), f"only {', '.join(CELLS)} are read"),
    Rule("global_attention", "general", tuple(SCORES), f"only {', '.join(SCORES)} are read"),
    Rule("global_attention_function", "softmax", ("softmax",), "only softmax is read"),
    Rule("generator_function", "softmax", ("softmax",), "only softmax is read"),
    Rule("bridge", False, (False,), "the decoder must start from the states of the encoder as they are"),
    Rule("context_gate", None, (None,), "context gates are not supported"),
    Rule("coverage_attn", False, (False,), "coverage is not supported"),
    Rule("copy_attn", False, (False,), "copying is not supported"),
    Rule("position_encoding", False, (False,), "OpenNMT-py itself decodes as if each word were the first"),
    Rule("n_src_feats", 0, (0,), "features of words are not supported"),
    Rule("lora_layers", None, (None,), "merge low-rank adapters first"),
    Rule("lora_embedding", False, (False,), "merge low-rank adapters first"),
    Rule("quant_layers", None, (None,), "only floating-point weights are read"),
)


def convert_opennmt(
    model: str | PathLike[str],
    vocab: str | PathLike[str] | None = None,
    target_vocab: str | PathLike[str] | None = None,
    *,
    output: str | PathLike[str],
) -> None:
    """Writes a checkpoint folder of a recurrent model of OpenNMT-py: model, generation config and tokenizer.

    Args:
        model: a checkpoint, ``…_step_N.pt``; where the weights were saved as safetensors, they lie beside it.
        vocab, target_vocab: none, since the checkpoint has its words.
        output: the folder that is written, all of it or nothing.

    Raises:
        OSError: a file is not there or too large, or the folder cannot be written.
        ValueError: a file is not what it should be, or has no counterpart in this family.
    """
    if vocab is not None or target_vocab is not None:
        raise ValueError(f"{model} has its own words: give no {vocab or target_vocab}")
    checkpoint = read_opennmt(model)
    write_checkpoint(model_from_opennmt(checkpoint), tokenizer_from_opennmt(checkpoint), output)


def model_from_opennmt(checkpoint: OpenNmtCheckpoint) -> RnnAttnForConditionalGeneration:
    """The model that computes what the toolkit computes with a checkpoint's weights, in evaluation mode.

    Its generation config decodes greedily: targets of at most 1.25 times the words of their source and 5 more.

    Raises:
        ValueError: an option has no counterpart here; a weight is missing, left over or of another shape.
    """
    options, path = checkpoint.options, checkpoint.path
    check_options(options, RULES, path)
    _check_transforms(options, path)
    checkpoint = _without_tied(checkpoint)
    fields = _fields(checkpoint)
    tensors = widened(checkpoint.tensors, READERS, _embedding_sizes(checkpoint), path)
    model = model_from_table(fields, _table(checkpoint), tensors, path)
    model.generation_config = generation_config(
        model.config, max_length_factor=LENGTH_FACTOR, max_length_offset=LENGTH_OFFSET, max_new_tokens=MAX_LENGTH
    )
    return model


def tokenizer_from_opennmt(checkpoint: OpenNmtCheckpoint) -> RnnAttnTokenizer:
    """Words between spaces; sources have no end token."""
    shared = checkpoint.source == checkpoint.target
    return tokenizer_from_words(
        checkpoint.source,
        None if shared else checkpoint.target,
        **checkpoint.specials,
        source_ends_with_eos=False,
        source_split="spaces",
        target_split="spaces",
    )


def _check_transforms(options: Mapping[str, Any], path: str) -> None:
    """Refuses models whose texts pass through something between the spaces and the model."""
    corpora = option(options, "data")
    places = [options, *(corpora.values() if isinstance(corpora, dict) else [])]
    found = [option(place, "transforms") or [] for place in places]
    for name in (name for names in found for name in (names if isinstance(names, list) else [names])):
        if name not in HARMLESS_TRANSFORMS:
            raise ValueError(f"transforms has {name!r} in {path}: {SEGMENTED}")


def _without_tied(checkpoint: OpenNmtCheckpoint) -> OpenNmtCheckpoint:
    """Each weight once: those that are one may be saved under both names."""
    options, tensors, path = checkpoint.options, dict(checkpoint.tensors), checkpoint.path
    for key, (copy, kept) in reversed(TIES.items()):
        if flag(options, key, False, path) and copy in tensors:
            if kept in tensors and not torch.equal(tensors[copy], tensors[kept]):
                raise ValueError(f"{key} is true in {path}, but {copy} is not {kept}")
            tensors.setdefault(kept, tensors[copy])
            del tensors[copy]
    return replace(checkpoint, tensors=tensors)


def _layers(checkpoint: OpenNmtCheckpoint) -> int:
    why = "the decoder must have as many layers as the encoder, in whose states it starts"
    keys = ("enc_layers", "dec_layers")
    agree(checkpoint.options, keys, 2, checkpoint.path, why)
    return number(checkpoint.options, keys[0], 2, checkpoint.path)


def _fields(checkpoint: OpenNmtCheckpoint) -> dict[str, Any]:
    options, path = checkpoint.options, checkpoint.path
    cell_type, layers = CELLS[option(options, "rnn_type", "LSTM")], _layers(checkpoint)
    width = agree(options, ("enc_hid_size", "dec_hid_size"), 500, path, "encoder and decoder must have one width")
    attention = option(options, "global_attention", "general")
    ids = {name: _index(checkpoint, token) for name, token in checkpoint.specials.items()}
    dropout = option(options, "dropout", 0.0)
    return {
        **PLAIN,
        **(_position_fields(checkpoint) if checkpoint.positions else {}),
        **encoder_fields(cell_type, layers, width, bidirectional=_both(checkpoint)),
        **decoder_fields(
            cell_type,
            layers,
            width,
            score=SCORES[attention],
            input_feeding=flag(options, "input_feed", True, path),
        ),
        "attentional_activation": "none" if attention == "mlp" else "tanh",
        "embedding_size": max(_embedding_sizes(checkpoint)),
        "encoder_vocab_size": len(checkpoint.source),
        "vocab_size": len(checkpoint.target),
        "share_encoder_decoder_embeddings": flag(options, "share_embeddings", False, path),
        "tie_word_embeddings": flag(options, "share_decoder_embeddings", False, path),
        "output_bias": True,
        "decoder_init": "encoder_state",
        "dropout": dropout[0] if isinstance(dropout, list) and dropout else dropout,
        **{f"{name}_token_id": ids[name] for name in ("pad", "bos", "eos")},
        "decoder_start_token_id": _index(checkpoint, checkpoint.start),
    }


def _embedding_sizes(checkpoint: OpenNmtCheckpoint) -> list[int]:
    """Those of source and target: different ones go neither with positions nor with ties."""
    tied = [flag(checkpoint.options, key, False, checkpoint.path) for key in TIES]
    one = "where they have positions" if checkpoint.positions else "where they are tied" if any(tied) else ""
    keys = ("src_word_vec_size", "tgt_word_vec_size")
    return embedding_sizes(checkpoint.options, keys, 500, checkpoint.path, one=one)


def _position_fields(checkpoint: OpenNmtCheckpoint) -> dict[str, Any]:
    """The vectors are in the checkpoint: read as a table, they may be sines of any kind."""
    vectors = checkpoint.tensors.get(SOURCE_POSITIONS)
    if vectors is None or vectors.ndim != 3:
        raise ValueError(f"{SOURCE_POSITIONS} must be in {checkpoint.path}, with 3 dimensions")
    kinds = {f"{side}_position_embedding": "learned" for side in ("encoder", "decoder")}
    return {**kinds, "max_position_embeddings": len(vectors), "scale_embedding": True}


def _index(checkpoint: OpenNmtCheckpoint, token: str) -> int:
    if token not in checkpoint.target:
        raise ValueError(f"{token!r} is no word of the target in {checkpoint.path}")
    return checkpoint.target.index(token)


def _both(checkpoint: OpenNmtCheckpoint) -> bool:
    return bool(option(checkpoint.options, "encoder_type", "rnn") == "brnn")


def one_batch(vectors: Tensor) -> Tensor:
    """(positions, 1, width) -> (positions, width)."""
    return vectors.squeeze(1)


def _table(checkpoint: OpenNmtCheckpoint) -> list[Weight]:
    options, path = checkpoint.options, checkpoint.path
    attention, layers = option(options, "global_attention", "general"), _layers(checkpoint)
    shared = flag(options, "share_embeddings", False, path)
    table = [
        Weight(TARGET_TABLE, (SOURCE_WORDS if shared else TARGET_WORDS,)),
        *encoder_cells(layers, bidirectional=_both(checkpoint)),
        *stack_cells(layers, modules=flag(options, "input_feed", True, path)),
        *linear(f"{STACK}.attentional_proj", "decoder.attn.linear_out", bias=attention == "mlp"),
        Weight("lm_head.bias", ("generator.bias",)),
    ]
    if attention == "general":
        table.append(Weight(f"{STACK}.score.query_proj.weight", ("decoder.attn.linear_in.weight",)))
    if attention == "mlp":
        table += [  # the toolkit adds the bias to the query: to their sum, it is the same
            Weight(f"{STACK}.score.query_proj.weight", ("decoder.attn.linear_query.weight",)),
            Weight(f"{STACK}.score.key_proj.bias", ("decoder.attn.linear_query.bias",)),
            Weight(f"{STACK}.score.key_proj.weight", ("decoder.attn.linear_context.weight",)),
            Weight(f"{STACK}.score.score_proj.weight", ("decoder.attn.v.weight",)),
        ]
    if checkpoint.positions:
        table += [
            Weight(f"{side}.embeddings.position_embeddings.weight", (source,), one_batch)
            for side, source in ((ENCODER, SOURCE_POSITIONS), (DECODER, TARGET_POSITIONS))
        ]
    if not shared:
        table.append(Weight(SOURCE_TABLE, (SOURCE_WORDS,)))
    if not flag(options, "share_decoder_embeddings", False, path):
        table.append(Weight("lm_head.weight", ("generator.weight",)))
    return table
