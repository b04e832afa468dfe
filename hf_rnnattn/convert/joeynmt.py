"""Recurrent models of JoeyNMT 2."""

from os import PathLike
from typing import Any

import torch
from torch import Tensor

from ..model.modeling_rnnattn import RnnAttnForConditionalGeneration
from ..model.tokenization_rnnattn import RnnAttnTokenizer
from .checkpoint_folder import write_checkpoint
from .joeynmt_checkpoint import JoeyCheckpoint, read_joeynmt
from .recurrent_table import (
    INITIAL_STATE,
    PLAIN,
    SOURCE_TABLE,
    STACK,
    TARGET_TABLE,
    decoder_fields,
    embedding_sizes,
    encoder_cells,
    encoder_fields,
    generation_config,
    query_last,
    stack_cells,
    transposed,
    widened,
)
from .toolkit_options import Rule, agree, check_options, flag, number, option
from .weight_table import Weight, linear, model_from_table
from .word_vocabulary import tokenizer_from_words

LENGTH_FACTOR = 1.5  # a target is at most so many times as long as its source, where the config says nothing
SCORES = {"bahdanau": "additive", "luong": "general"}
STARTS = {"bridge": "last", "last": "last_linear", "zero": "zeros", "zeros": "zeros"}
SPLITS = {"word": "spaces", "char": "characters"}
ENCODER, DECODER = "model.encoder", "model.decoder"
# What each of these options makes one weight.
TIES = {
    "model.tied_embeddings": ("trg_embed.lut.weight", "src_embed.lut.weight"),
    "model.tied_softmax": ("decoder.output_layer.weight", "trg_embed.lut.weight"),
}
READERS = {
    "src_embed.lut.weight": ("encoder.rnn.weight_ih_l0", "encoder.rnn.weight_ih_l0_reverse"),
    "trg_embed.lut.weight": ("decoder.rnn.weight_ih_l0",),
}
WORDS = "only words and characters are read: split texts into subwords yourself, and say level: word"
RULES = (
    Rule(f"{ENCODER}.type", "recurrent", ("recurrent",), "only recurrent models are read"),
    Rule(f"{DECODER}.type", "transformer", ("recurrent",), "only recurrent models are read"),
    Rule(f"{ENCODER}.rnn_type", "gru", ("gru", "lstm"), "only gru and lstm are read"),
    Rule(f"{DECODER}.rnn_type", "gru", ("gru", "lstm"), "only gru and lstm are read"),
    Rule(f"{ENCODER}.bidirectional", True, (True,), "JoeyNMT itself cannot run an encoder of one direction"),
    Rule(f"{DECODER}.attention", "bahdanau", tuple(SCORES), f"only {', '.join(SCORES)} are read"),
    Rule(f"{DECODER}.init_hidden", "bridge", tuple(STARTS), f"only {', '.join(STARTS)} are read"),
    Rule(f"{DECODER}.activation", "tanh", ("tanh",), "only tanh is read"),
    *(
        Rule(f"data.{side}.{key}", default, values, why)
        for side in ("src", "trg")
        for key, default, values, why in (
            ("level", "word", tuple(SPLITS), WORDS),
            ("normalize", False, (False,), "normalise texts before they are tokenised"),
            ("tokenizer_cfg.pretokenizer", "none", ("none",), "texts must come tokenised"),
            ("has_prompt", False, (False,), "prompts are not supported"),
        )
    ),
    Rule("data.special_symbols.sep_token", None, (None,), "prompts are not supported"),
    Rule("data.special_symbols.lang_tags", None, (None,), "tags of languages are not supported"),
)


def convert_joeynmt(
    model: str | PathLike[str],
    vocab: str | PathLike[str] | None = None,
    target_vocab: str | PathLike[str] | None = None,
    *,
    output: str | PathLike[str],
) -> None:
    """Writes a checkpoint folder of a recurrent model of JoeyNMT: model, generation config and tokenizer.

    Args:
        model: the folder of a model, whose ``best.ckpt`` is read, or a checkpoint in it; ``config.yaml`` lies beside.
        vocab, target_vocab: the words of each side, one a line; ``src_vocab.txt`` and ``trg_vocab.txt`` beside the
            checkpoint if not given.
        output: the folder that is written, all of it or nothing.

    Raises:
        OSError: a file is not there or too large, or the folder cannot be written.
        ValueError: a file is not what it should be, or has no counterpart in this family.
    """
    checkpoint = read_joeynmt(model, vocab, target_vocab)
    write_checkpoint(model_from_joeynmt(checkpoint), tokenizer_from_joeynmt(checkpoint), output)


def model_from_joeynmt(checkpoint: JoeyCheckpoint) -> RnnAttnForConditionalGeneration:
    """The model that computes what JoeyNMT computes with a checkpoint's weights, in evaluation mode.

    Its generation config decodes greedily as JoeyNMT does: never an empty target, nor the start or padding; targets at
    most as long as ``testing.max_output_length`` says, else 1.5 times as long as their source with its end.

    Raises:
        ValueError: an option has no counterpart here; a weight is missing, left over or of another shape.
    """
    options, path = checkpoint.options, checkpoint.path
    check_options(options, RULES, path)
    fields = _fields(checkpoint)
    tensors = widened(_without_tied(checkpoint), READERS, _embedding_sizes(checkpoint), path)
    model = model_from_table(fields, _table(checkpoint), tensors, path)
    ids = _ids(checkpoint)
    silent = [ids["bos"], ids["pad"], *([] if flag(options, "testing.generate_unk", True, path) else [ids["unk"]])]
    longest = option(options, "testing.max_output_length", -1)
    fixed = isinstance(longest, int) and longest > 0
    limit: dict[str, Any] = {"max_new_tokens": longest} if fixed else {"max_length_factor": LENGTH_FACTOR}
    model.generation_config = generation_config(model.config, suppress_tokens=silent, min_new_tokens=1, **limit)
    return model


def tokenizer_from_joeynmt(checkpoint: JoeyCheckpoint) -> RnnAttnTokenizer:
    """Words or characters, as the config says; both sides end with the end token."""
    options, path = checkpoint.options, checkpoint.path
    check_options(options, RULES, path)
    return tokenizer_from_words(
        checkpoint.source,
        checkpoint.target,
        **checkpoint.specials,
        source_ends_with_eos=True,
        source_split=SPLITS[option(options, "data.src.level", "word")],
        target_split=SPLITS[option(options, "data.trg.level", "word")],
        source_lowercase=flag(options, "data.src.lowercase", False, path),
        target_lowercase=flag(options, "data.trg.lowercase", False, path),
    )


def _ids(checkpoint: JoeyCheckpoint) -> dict[str, int]:
    """Ids of the special tokens, the same on both sides."""
    ids = {name: checkpoint.target.index(token) for name, token in checkpoint.specials.items()}
    for name, number_ in ids.items():
        given = option(checkpoint.options, f"data.special_symbols.{name}_id", number_)
        if given != number_:
            raise ValueError(f"{name}_id is {given!r} in {checkpoint.path}, but its words have it at {number_}")
    return ids


def _without_tied(checkpoint: JoeyCheckpoint) -> dict[str, Tensor]:
    """The weights, each once: JoeyNMT saves those that are one under both names."""
    options, tensors, path = checkpoint.options, dict(checkpoint.tensors), checkpoint.path
    for key, names in reversed(TIES.items()):
        if flag(options, key, False, path):
            first, second = (tensors.get(name) for name in names)
            if first is None or second is None or not torch.equal(first, second):
                raise ValueError(f"{key} is true in {path}, but {names[0]} is not {names[1]}")
            del tensors[names[0]]
    return tensors


def _embedding_sizes(checkpoint: JoeyCheckpoint) -> list[int]:
    """Those of source and target: different ones go neither with a scale nor with ties."""
    options, path = checkpoint.options, checkpoint.path
    scaled = option(options, f"{DECODER}.embeddings.scale", False)
    tied = [flag(options, key, False, path) for key in TIES]
    one = "where they are scaled" if scaled else "where they are tied" if any(tied) else ""
    keys = [f"{side}.embeddings.embedding_dim" for side in (ENCODER, DECODER)]
    return embedding_sizes(options, keys, 64, path, one=one)


def _fields(checkpoint: JoeyCheckpoint) -> dict[str, Any]:
    options, path = checkpoint.options, checkpoint.path
    ids = _ids(checkpoint)
    both = (f"{ENCODER}.embeddings", f"{DECODER}.embeddings")
    scale = agree(options, [f"{side}.scale" for side in both], False, path, "both embeddings must be scaled or none")
    score = SCORES[option(options, f"{DECODER}.attention", "bahdanau")]
    return {
        **PLAIN,
        **encoder_fields(
            option(options, f"{ENCODER}.rnn_type", "gru"),
            number(options, f"{ENCODER}.num_layers", 1, path),
            2 * number(options, f"{ENCODER}.hidden_size", 1, path),
            bidirectional=True,
        ),
        **decoder_fields(
            option(options, f"{DECODER}.rnn_type", "gru"),
            number(options, f"{DECODER}.num_layers", 1, path),
            number(options, f"{DECODER}.hidden_size", 0, path),
            score=score,
            input_feeding=flag(options, f"{DECODER}.input_feeding", True, path),
        ),
        "embedding_size": max(_embedding_sizes(checkpoint)),
        "scale_embedding": bool(scale),
        "encoder_vocab_size": len(checkpoint.source),
        "vocab_size": len(checkpoint.target),
        "share_encoder_decoder_embeddings": flag(options, "model.tied_embeddings", False, path),
        "tie_word_embeddings": flag(options, "model.tied_softmax", False, path),
        "decoder_init": STARTS[option(options, f"{DECODER}.init_hidden", "bridge")],
        "decoder_init_cell": True,
        "dropout": option(options, f"{DECODER}.dropout", 0.0),
        **{f"{name}_token_id": ids[name] for name in ("pad", "bos", "eos")},
        "decoder_start_token_id": ids["bos"],
    }


def forward_half(attention: Tensor) -> Tensor:
    """What leaves the first D of the encoder's C numbers as they are: JoeyNMT has no weights for it, only the widths.

    They are those of a layer (D, D + C).
    """
    width = attention.shape[0]
    return torch.eye(width, attention.shape[1] - width)


def _table(checkpoint: JoeyCheckpoint) -> list[Weight]:
    options, path = checkpoint.options, checkpoint.path
    shared = flag(options, "model.tied_embeddings", False, path)
    tied = flag(options, "model.tied_softmax", False, path)
    start = option(options, f"{DECODER}.init_hidden", "bridge")
    table = [
        Weight(TARGET_TABLE, ("src_embed.lut.weight" if shared else "trg_embed.lut.weight",)),
        *encoder_cells(number(options, f"{ENCODER}.num_layers", 1, path), bidirectional=True),
        *stack_cells(number(options, f"{DECODER}.num_layers", 1, path), modules=False),
        Weight(f"{STACK}.attentional_proj.weight", ("decoder.att_vector_layer.weight",), query_last),
        Weight(f"{STACK}.attentional_proj.bias", ("decoder.att_vector_layer.bias",)),
    ]
    if option(options, f"{DECODER}.attention", "bahdanau") == "luong":
        table.append(Weight(f"{STACK}.score.query_proj.weight", ("decoder.attention.key_layer.weight",), transposed))
    else:
        table += [
            Weight(f"{STACK}.score.query_proj.weight", ("decoder.attention.query_layer.weight",)),
            Weight(f"{STACK}.score.score_proj.weight", ("decoder.attention.energy_layer.weight",)),
            *linear(f"{STACK}.score.key_proj", "decoder.attention.key_layer", bias=False),
        ]
    if start == "bridge":
        table += linear(INITIAL_STATE, "decoder.bridge_layer")
    if start == "last":
        table += [
            Weight(f"{INITIAL_STATE}.weight", ("decoder.att_vector_layer.weight",), forward_half),
            Weight(f"{INITIAL_STATE}.bias", ()),
        ]
    if not shared:
        table.append(Weight(SOURCE_TABLE, ("src_embed.lut.weight",)))
    if not tied:
        table.append(Weight("lm_head.weight", ("decoder.output_layer.weight",)))
    return table
