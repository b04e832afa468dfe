"""What a valid config is: plain functions that raise ValueError with the field, the value and the bound.

They read ``vars(config)``, so that they see what is stored and not what transformers' attribute map shows, and they
run twice: when a config is built or saved, and again when a model is built from it, because values that
``from_pretrained`` overrides are not validated by transformers.
"""

import math
from typing import Any

from transformers.activations import ACT2FN

from .attention_hops import HOP_TYINGS
from .attention_scores import SCORES
from .config_checks_context import check_context, check_source_order
from .config_checks_reading import check_choosing, check_copying, check_pooling
from .context_vector import CONTEXT_VECTORS
from .embeddings import POSITION_EMBEDDINGS
from .hard_attention import HARD_ATTENTIONS
from .initial_state import STARTS
from .mixer_directions import DIRECTIONS, MERGES
from .mixer_luong import ACTIVATIONS
from .mixers import MIXERS, cell_depth, divides_width, encoder_states, reads_memory, reads_with_heads, split_mixer
from .norms import CELL_NORMS, NORM_POSITIONS, NORMS
from .pooling import POOLINGS
from .readout import READOUTS
from .segment_pooling import ENCODER_POOLINGS
from .source_order import SOURCE_ORDERS

MAX_SIZE = 65536
MAX_VOCABULARY = 2**24
MAX_LAYERS = 1024

CHOICES = {
    "encoder_merge": MERGES,
    "cross_attention": ("multi_head", *SCORES, "hops", "none"),
    "hop_tying": HOP_TYINGS,
    "hard_attention": HARD_ATTENTIONS,
    "encoder_pooling": ENCODER_POOLINGS,
    "cell_norm": CELL_NORMS,
    "classifier_pooling": POOLINGS,
    "context_vector": CONTEXT_VECTORS,
    "decoder_init": tuple(STARTS),
    "source_order": tuple(SOURCE_ORDERS),
    "readout": READOUTS,
    "attentional_activation": tuple(ACTIVATIONS),
    "norm_position": NORM_POSITIONS,
    "norm_type": tuple(NORMS),
    "encoder_position_embedding": POSITION_EMBEDDINGS,
    "decoder_position_embedding": POSITION_EMBEDDINGS,
}

# field -> (smallest, largest) value
BOUNDS = {
    "vocab_size": (1, MAX_VOCABULARY),
    "encoder_vocab_size": (1, MAX_VOCABULARY),
    "hidden_size": (1, MAX_SIZE),
    "encoder_hidden_size": (1, MAX_SIZE),
    "embedding_size": (1, MAX_SIZE),
    "attention_size": (1, MAX_SIZE),
    "memory_slots": (1, MAX_SIZE),
    "memory_slot_size": (1, MAX_SIZE),
    "memory_heads": (1, MAX_SIZE),
    "encoder_layers": (0, MAX_LAYERS),
    "decoder_layers": (1, MAX_LAYERS),
    "encoder_attention_heads": (1, MAX_SIZE),
    "decoder_attention_heads": (1, MAX_SIZE),
    "attention_window": (1, MAX_VOCABULARY),
    "encoder_ffn_dim": (0, 2 * MAX_SIZE),
    "decoder_ffn_dim": (0, 2 * MAX_SIZE),
    "max_position_embeddings": (1, MAX_VOCABULARY),
    "type_vocab_size": (0, MAX_SIZE),
    "residual_start": (0, MAX_LAYERS),
    "attention_hops": (1, MAX_LAYERS),
}
DROPOUTS = ("dropout", "attention_dropout", "activation_dropout")
POSITIVE = ("layer_norm_eps", "init_std")


def check_config(config: Any) -> None:
    """Checks every field of an ``RnnAttnConfig`` alone and against the others.

    A copy made by ``get_text_config(decoder=True)`` has its ``decoder_`` fields renamed and is left alone.

    Raises:
        ValueError: names the field, its value and the bound.
    """
    fields = vars(config)
    if "decoder_layers" not in fields or "encoder_layers" not in fields:
        return
    _check_numbers(fields)
    _check_choices(fields)
    _check_layers(fields)
    _check_widths(fields)
    _check_reading(fields)
    check_copying(fields)
    check_choosing(fields)
    check_pooling(fields)
    check_source_order(config)
    _check_encoder_states(fields)
    _check_tokens(fields)


def _check_numbers(fields: dict[str, Any]) -> None:
    for name, (low, high) in BOUNDS.items():
        value = fields[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{name} must be in [{low}, {high}], got {value}")
    width = fields["cross_attention_hidden_size"]
    if width is not None and not 1 <= width <= MAX_SIZE:
        raise ValueError(f"cross_attention_hidden_size must be in [1, {MAX_SIZE}], got {width}")
    written = fields["written_vocab_size"]
    if written is not None and not 1 <= written <= fields["vocab_size"]:
        raise ValueError(f"written_vocab_size must be in [1, vocab_size ({fields['vocab_size']})], got {written}")
    for name in DROPOUTS:
        if not 0 <= fields[name] < 1:  # False for NaN
            raise ValueError(f"{name} must be in [0, 1), got {fields[name]}")
    for name in POSITIVE:
        if not 0 < fields[name] < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {fields[name]}")


def _check_choices(fields: dict[str, Any]) -> None:
    for name, choices in CHOICES.items():
        if fields[name] not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {fields[name]!r}")
    if fields["activation_function"] not in ACT2FN:
        raise ValueError(f"activation_function {fields['activation_function']!r} is not one of transformers' ACT2FN")


def _check_layers(fields: dict[str, Any]) -> None:
    for name in ("encoder_mixers", "decoder_mixers", "encoder_directions"):
        if not isinstance(fields[name], list):  # a single string stands for every layer only where a config is built
            raise ValueError(f"{name} must be a list with one entry a layer, got {fields[name]!r}")
    for side in ("encoder", "decoder"):
        for entry in fields[f"{side}_mixers"]:
            split_mixer(entry)
        _check_one_a_layer(fields, f"{side}_mixers", f"{side}_layers")
        _check_depths(fields, side)
    for entry in fields["encoder_mixers"]:
        if reads_memory(entry):
            raise ValueError(f"encoder_mixers has {entry!r}, which reads an encoder: only decoder_mixers may have it")
    for direction in fields["encoder_directions"]:
        if direction not in DIRECTIONS:
            raise ValueError(f"encoder_directions must be among {', '.join(DIRECTIONS)}, got {direction!r}")
    _check_one_a_layer(fields, "encoder_directions", "encoder_layers")


def _check_one_a_layer(fields: dict[str, Any], name: str, layers: str) -> None:
    if len(fields[name]) != fields[layers]:
        raise ValueError(f"{name} has {len(fields[name])} entries, {layers} is {fields[layers]}")


def _check_depths(fields: dict[str, Any], side: str) -> None:
    """How many cells the layers have: a list may speak only of layers that can have more than one."""
    name, mixers = f"{side}_cell_depths", fields[f"{side}_mixers"]
    depths = fields[name]
    if isinstance(depths, list):
        _check_one_a_layer(fields, name, f"{side}_layers")
    for i, entry in enumerate(mixers):
        depth = cell_depth(depths, entry, i)
        least = cell_depth(None, entry, i)
        if isinstance(depth, bool) or not least <= depth <= MAX_LAYERS:
            raise ValueError(f"{name} must be in [{least}, {MAX_LAYERS}] for {entry!r}, got {depth}")
        if isinstance(depths, list) and depth > 1 and not any(MIXERS[part].takes_depth for part in split_mixer(entry)):
            raise ValueError(f"{name} must be 1 for {entry!r}, which has one cell, got {depth}")


def _check_reading(fields: dict[str, Any]) -> None:
    """What reads the encoder must be able to, and what is made of its reading must be there."""
    kind = fields["cross_attention"]
    readers = [entry for entry in fields["decoder_mixers"] if reads_memory(entry)]
    scored = [entry for entry in readers if any(MIXERS[part].takes_score for part in split_mixer(entry))]
    if scored and kind not in SCORES:
        raise ValueError(f"cross_attention must be one of {', '.join(SCORES)} for {scored[0]!r}, got {kind!r}")
    attends = scored or (kind != "none" and len(readers) < len(fields["decoder_mixers"]))
    if kind == "dot" and attends and fields["hidden_size"] != fields["encoder_hidden_size"]:
        raise ValueError(
            f"cross_attention 'dot' needs one width, got hidden_size {fields['hidden_size']} and encoder_hidden_size "
            f"{fields['encoder_hidden_size']}"
        )
    check_context(fields)


def _check_encoder_states(fields: dict[str, Any]) -> None:
    """With decoder_init 'encoder_state', the cells of the encoder and of the decoder must be alike."""
    if fields["decoder_init"] != "encoder_state":
        return
    merge = fields["encoder_merge"]
    if merge not in ("concat", "separate") and any(way.startswith("both") for way in fields["encoder_directions"]):
        raise ValueError(f"decoder_init 'encoder_state' needs encoder_merge 'concat' or 'separate', got {merge!r}")
    sides = [
        [
            kind
            for i, entry in enumerate(fields[f"{side}_mixers"])
            for kind in encoder_states(entry, cell_depth(fields[f"{side}_cell_depths"], entry, i))
        ]
        for side in ("encoder", "decoder")
    ]
    if sides[0] != sides[1]:
        raise ValueError(
            f"decoder_init 'encoder_state' needs the same states on both sides, got {'+'.join(sides[0]) or 'none'} in "
            f"the encoder and {'+'.join(sides[1]) or 'none'} in the decoder"
        )


def _check_widths(fields: dict[str, Any]) -> None:
    """Widths that must divide one another or agree."""
    if any(map(divides_width, fields["encoder_mixers"])):
        _check_divisible(fields, "encoder_hidden_size", "encoder_attention_heads")
    crosses = fields["cross_attention"] == "multi_head" and not all(map(reads_memory, fields["decoder_mixers"]))
    if crosses or any(map(divides_width, fields["decoder_mixers"])):
        _check_divisible(fields, "hidden_size", "decoder_attention_heads")
    if any(map(reads_with_heads, fields["decoder_mixers"])):
        _check_divisible(fields, "attention_size", "decoder_attention_heads")
    merge, size = fields["encoder_merge"], fields["encoder_hidden_size"]
    halved = merge in ("concat", "separate") and any(way.startswith("both") for way in fields["encoder_directions"])
    if halved and size % 2:
        raise ValueError(f"encoder_hidden_size must be even for encoder_merge {merge!r}, got {size}")
    heads = 2 * fields["encoder_attention_heads"]
    if halved and size % heads and any(map(_divides_half_a_width, fields["encoder_mixers"])):
        raise ValueError(
            f"encoder_hidden_size ({size}) must be divisible by twice encoder_attention_heads ({heads}) for 'fused' "
            f"or 'rglru' cells in two directions with encoder_merge {merge!r}"
        )
    if fields["encoder_layers"] == 0 and fields["encoder_hidden_size"] != fields["embedding_size"]:
        raise ValueError(
            f"without encoder layers, encoder_hidden_size ({fields['encoder_hidden_size']}) must be embedding_size "
            f"({fields['embedding_size']})"
        )
    for side in ("encoder", "decoder"):
        if fields[f"{side}_position_embedding"] == "sinusoidal" and fields["embedding_size"] % 2:
            raise ValueError(f"embedding_size must be even for sinusoidal positions, got {fields['embedding_size']}")
    if fields["share_encoder_decoder_embeddings"] and fields["encoder_vocab_size"] != fields["vocab_size"]:
        raise ValueError(
            f"share_encoder_decoder_embeddings needs one vocabulary, got encoder_vocab_size "
            f"{fields['encoder_vocab_size']} and vocab_size {fields['vocab_size']}"
        )


def _divides_half_a_width(entry: str) -> bool:
    return any(divides_width(name) and MIXERS[name].kind == "recurrent" for name in split_mixer(entry))


def _check_divisible(fields: dict[str, Any], size: str, heads: str) -> None:
    if fields[size] % fields[heads]:
        raise ValueError(f"{size} ({fields[size]}) must be divisible by {heads} ({fields[heads]})")


def _check_tokens(fields: dict[str, Any]) -> None:
    """Special ids may be None where no head needs them; else they must be in the vocabularies that use them."""
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
        ids = fields[name] if isinstance(fields[name], list) else [fields[name]]
        bounds = {"vocab_size": fields["vocab_size"]}
        if name == "pad_token_id":  # the one id that pads both sides
            bounds["encoder_vocab_size"] = fields["encoder_vocab_size"]
        for value in ids:
            for bound, size in bounds.items():
                if value is not None and not 0 <= value < size:
                    raise ValueError(f"{name} must be in [0, {bound}), got {value} with {bound} {size}")
