"""What a valid config says of copying, of hard attention and of slots: see ``config_checks``."""

import math
from typing import Any

from .attention_scores import SCORES
from .mixers import reads_memory


def check_copying(fields: dict[str, Any]) -> None:
    """Who copies must know where the decoder reads, and the source must be in the vocabulary that it writes."""
    if not fields["copy_from_source"]:
        return
    kind, entry = fields["cross_attention"], fields["decoder_mixers"][-1]
    scored = kind in SCORES or reads_memory(entry)
    if not scored and not (kind == "none" and any(map(reads_memory, fields["decoder_mixers"]))):
        raise ValueError(
            f"copy_from_source needs the weights of one head: cross_attention must be one of {', '.join(SCORES)}, or "
            f"the last layer a mixer that reads the encoder, got {kind!r} and {entry!r}"
        )
    if not fields["share_encoder_decoder_embeddings"]:
        raise ValueError("copy_from_source needs one vocabulary: share_encoder_decoder_embeddings must be True")
    if fields["encoder_pooling"] != "none":
        raise ValueError(
            f"copy_from_source needs a slot a token: encoder_pooling must be 'none', got {fields['encoder_pooling']!r}"
        )
    if fields["written_vocab_size"] is not None:
        raise ValueError(
            f"copy_from_source may write any token of a source: written_vocab_size must be None, got "
            f"{fields['written_vocab_size']}"
        )


def check_choosing(fields: dict[str, Any]) -> None:
    """A hard attention chooses by a score, and alone reads the encoder."""
    if not 0 <= fields["hard_attention_entropy"] < math.inf:
        raise ValueError(
            f"hard_attention_entropy must be at least 0 and finite, got {fields['hard_attention_entropy']}"
        )
    hard, kind = fields["hard_attention"], fields["cross_attention"]
    if hard == "none":
        return
    if kind not in SCORES:
        raise ValueError(f"hard_attention {hard!r} needs a cross_attention of {', '.join(SCORES)}, got {kind!r}")
    for entry in fields["decoder_mixers"]:
        if reads_memory(entry):
            raise ValueError(f"hard_attention {hard!r} alone reads the encoder, but decoder_mixers has {entry!r}")
    for name, value in (("copy_from_source", False), ("feed_context", False), ("context_vector", "none")):
        if fields[name] != value:
            raise ValueError(f"{name} must be {value!r} with hard_attention {hard!r}, got {fields[name]!r}")


def check_pooling(fields: dict[str, Any]) -> None:
    """Slots are segments, so there must be some."""
    if fields["encoder_pooling"] != "none" and not fields["type_vocab_size"]:
        raise ValueError(
            f"encoder_pooling {fields['encoder_pooling']!r} needs segments: type_vocab_size must be at least 1, got 0"
        )
