"""Tiny models that between them use every mixer and every choice of the config, for the tests of whole models."""

from typing import Any

import torch

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnnattn.model.mixers import MIXERS

VOCABULARY = 23
SOURCE_VOCABULARY = 19

# Mixers by what they may be used for.
ENCODER_MIXERS = sorted(name for name, mixer in MIXERS.items() if not mixer.reads_memory)
DECODER_MIXERS = sorted(MIXERS)
RECURRENT = sorted(name for name, mixer in MIXERS.items() if mixer.kind == "recurrent")
MEMORY_READERS = sorted(name for name, mixer in MIXERS.items() if mixer.reads_memory)


# What a decoder of these mixers cannot do without.
NEEDS: dict[str, dict[str, Any]] = {
    "luong_gru": {"cross_attention": "dot"},
    "luong_lstm": {"cross_attention": "general"},
}


def tiny_config(**overrides: Any) -> RnnAttnConfig:
    """Two layers a side, width 16, two heads, no dropout, special ids pad 0, begin 1, end 2; fields as overridden."""
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "encoder_mixers": ["gru", "full_attention"],
        "decoder_mixers": ["ssru", "full_attention"],
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "attention_size": 12,
        "attention_window": 3,  # smaller than sources and targets
        "memory_slots": 5,
        "memory_slot_size": 4,
        "memory_heads": 2,
        "dropout": 0.0,
        "max_position_embeddings": 64,
        "init_std": 0.3,  # large, so that differences show
    }
    mixers = overrides.get("decoder_mixers") or []
    for name in (name for entry in mixers for name in entry.split("+") if name in NEEDS):
        fields |= NEEDS[name]
    return RnnAttnConfig(**{**fields, **overrides})


def tiny_model(**overrides: Any) -> RnnAttnForConditionalGeneration:
    """A seeded model of ``tiny_config(**overrides)``, in evaluation mode."""
    return build(tiny_config(**overrides))


def build(config: RnnAttnConfig, seed: int = 0) -> RnnAttnForConditionalGeneration:
    """The model of a config with seeded weights, in evaluation mode."""
    torch.manual_seed(seed)
    return RnnAttnForConditionalGeneration(config).eval()


def realigned(model: Any) -> Any:
    """The model with its weights copied to new memory.

    The tensors of a file lie at odd addresses, where matrix products may round differently in the last bit. After this
    the outputs of a loaded model can be compared bitwise.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


def batch(config: RnnAttnConfig, rows: int = 3, source: int = 7, target: int = 5, seed: int = 0) -> dict[str, Any]:
    """Random sources with padding on the right, in the middle and on the left, and targets without padding."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(3, config.encoder_vocab_size, (rows, source), generator=generator)
    mask = torch.ones(rows, source, dtype=torch.long)
    for row, holes in zip(range(1, rows), (slice(-2, None), slice(2, 4), slice(0, 2)), strict=False):
        mask[row, holes] = 0
    return {
        "input_ids": input_ids.masked_fill(mask == 0, config.pad_token_id or 0),
        "attention_mask": mask,
        "decoder_input_ids": torch.randint(3, config.vocab_size, (rows, target), generator=generator),
    }


# name -> what it changes in ``tiny_config``.
ZOO: dict[str, dict[str, Any]] = {
    # every mixer on each side where it is allowed
    **{f"encoder_{name}": {"encoder_mixers": [name, name]} for name in ENCODER_MIXERS},
    **{f"decoder_{name}": {"decoder_mixers": [name, name]} for name in DECODER_MIXERS},
    # several sublayers a layer, and layers that differ
    "composites": {
        "encoder_mixers": ["gru+full_attention", "full_attention+ssru"],
        "decoder_mixers": ["ssru+full_attention", "full_attention+lstm"],
    },
    "three_parts": {"encoder_mixers": ["elman+full_attention+mingru"], "decoder_mixers": ["gru+ssru+full_attention"]},
    "two_recurrences": {"encoder_mixers": ["lstm+gru", "ssru+elman"], "decoder_mixers": ["lstm+gru", "ssru+mingru"]},
    "attentive_composite": {"decoder_mixers": ["bahdanau_gru+full_attention", "lstm"]},
    "unequal_depths": {"encoder_mixers": ["lstm"], "decoder_mixers": ["gru", "full_attention", "ssru"]},
    "no_encoder_layers": {"encoder_layers": 0, "encoder_mixers": []},
    # reading the encoder
    "additive": {"cross_attention": "additive", "attention_size": 10},
    "additive_recurrent": {"cross_attention": "additive", "decoder_mixers": ["lstm", "mingru"]},
    "general": {"cross_attention": "general", "decoder_mixers": ["gru", "full_attention"], "readout": "deep"},
    "copying": {"cross_attention": "additive", "decoder_mixers": ["gru", "full_attention"], "copy_from_source": True},
    "copying_inside": {"decoder_mixers": ["ssru", "conditional_gru"], "copy_from_source": True, "readout": "deep"},
    **{
        f"hard_{kind}": {"cross_attention": "additive", "hard_attention": kind, "readout": "deep"}
        for kind in ("reinforce", "marginal")
    },
    "hops": {"cross_attention": "hops", "attention_hops": 2, "encoder_hidden_size": 12, "readout": "deep"},
    "memory_network": {
        "encoder_mixers": [],
        "encoder_pooling": "position",
        "decoder_mixers": ["gru"],
        "cross_attention": "hops",
        "attention_hops": 2,
        "hop_tying": "layer_wise",
    },
    "pooled_sum": {"encoder_pooling": "sum"},
    # the classical designs: Marian's, Luong's, and one vector between encoder and decoder
    "marian_rnn": {
        "encoder_mixers": ["gru", "gru"],
        "encoder_directions": ["both", "both_swapped"],
        "encoder_merge": "separate",
        "encoder_cell_depths": 2,
        "decoder_mixers": ["conditional_gru", "gru"],
        "decoder_cell_depths": [3, 2],
        "cell_norm": "layer_norm",
        "cross_attention": "none",
        "decoder_init": "mean",
        "readout": "deep",
        "embedding_size": 10,
        "norm_position": "none",
        "residual_start": 1,
        "encoder_ffn_dim": 0,
        "decoder_ffn_dim": 0,
    },
    "luong_stack": {
        "encoder_mixers": ["lstm", "lstm"],
        "encoder_hidden_size": 12,
        "decoder_mixers": ["luong_lstm"],
        "decoder_cell_depths": 2,
        "cross_attention": "additive",
        "decoder_init": "encoder_state",
    },
    "luong_without_feeding": {
        "decoder_mixers": ["luong_lstm"],
        "cross_attention": "general",
        "input_feeding": False,
        "attentional_activation": "none",
        "decoder_init": "last_linear",
        "decoder_init_cell": True,
    },
    "one_vector": {
        "encoder_mixers": ["gru"],
        "encoder_directions": "forward",
        "decoder_mixers": ["gru"],
        "cross_attention": "none",
        "decoder_init": "encoder_state",
        "norm_position": "none",  # all that the encoder's layer adds after its cell would reach nothing
        "encoder_ffn_dim": 0,
    },
    "context_fed": {  # to every layer and to the read-out, and nothing else of the encoder
        "encoder_mixers": ["gru"],
        "encoder_directions": "both",
        "encoder_hidden_size": 12,
        "decoder_mixers": ["lstm+full_attention", "ssru"],
        "cross_attention": "none",
        "context_vector": "sum",
        "decoder_init": "context",
        "feed_context": True,
        "readout": "deep",
    },
    "context_started": {"decoder_mixers": ["gru", "lstm"], "context_vector": "linear", "decoder_init": "context"},
    "reading_fed": {  # what a lower layer reads of the encoder goes to those above it, and to the read-out
        "encoder_hidden_size": 12,
        "decoder_mixers": ["bahdanau_gru", "full_attention", "gru"],
        "feed_context": True,
        "readout": "concat",
    },
    # directions and merges
    **{
        f"direction_{way}": {"encoder_mixers": ["lstm", "gru"], "encoder_directions": way}
        for way in ("forward", "backward")
    },
    **{
        f"merge_{merge}": {"encoder_mixers": ["gru", "ssru"], "encoder_directions": "both", "encoder_merge": merge}
        for merge in ("concat", "concat_project", "sum")
    },
    "alternating": {"encoder_mixers": ["lstm", "lstm"], "encoder_directions": ["forward", "backward"]},
    # the order of the source
    "source_reversed": {
        "encoder_mixers": ["gru", "full_attention"],
        "source_order": "reversed",
        "decoder_init": "last",
    },
    "source_doubled": {
        "encoder_mixers": ["lstm", "full_attention"],
        "source_order": "doubled",
        "decoder_init": "mean",
    },
    # where recurrent decoders start
    **{
        f"decoder_init_{kind}": {"decoder_init": kind, "decoder_mixers": ["lstm", "ssru+full_attention"]}
        for kind in ("mean", "last")
    },
    "decoder_init_last_forward": {
        "decoder_init": "last",
        "encoder_mixers": ["gru"],
        "encoder_directions": "forward",
        "decoder_mixers": ["gru"],
    },
    # norms and residuals
    **{
        f"norm_{position}_{kind}": {"norm_position": position, "norm_type": kind}
        for position, kind in (
            ("pre", "rms_norm"),
            ("post", "layer_norm"),
            ("post", "rms_norm"),
            ("none", "layer_norm"),
        )
    },
    "no_embedding_norm": {"embedding_norm": False},
    "no_residual": {"residual": False, "norm_position": "none", "encoder_ffn_dim": 0, "decoder_ffn_dim": 0},
    # embeddings
    "positions_everywhere": {"decoder_position_embedding": "learned"},
    "sinusoidal": {"encoder_position_embedding": "sinusoidal", "decoder_position_embedding": "sinusoidal"},
    "no_positions": {"encoder_position_embedding": "none"},
    "no_segments": {"type_vocab_size": 0},
    "scaled_embeddings": {"scale_embedding": True, "embedding_norm": False},
    # tying and vocabularies
    "tied_shared": {"tie_word_embeddings": True, "share_encoder_decoder_embeddings": True},
    "tied_separate": {"tie_word_embeddings": True, "share_encoder_decoder_embeddings": False},
    "untied_shared": {"tie_word_embeddings": False, "share_encoder_decoder_embeddings": True},
    "untied_separate": {"tie_word_embeddings": False, "share_encoder_decoder_embeddings": False},
    "two_vocabularies": {"encoder_vocab_size": SOURCE_VOCABULARY},
    "output_bias": {"output_bias": True},
    # widths
    "three_widths": {"embedding_size": 10, "encoder_hidden_size": 12, "hidden_size": 16},
    "three_widths_untied": {
        "embedding_size": 10,
        "encoder_hidden_size": 20,
        "hidden_size": 16,
        "tie_word_embeddings": False,
        "decoder_mixers": ["bahdanau_gru", "ssru"],
        "decoder_init": "mean",
    },
}
