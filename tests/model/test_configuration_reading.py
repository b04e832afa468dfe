"""Faulty values of the fields that say how the source is read: each is named, with its bound."""

import re
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError

from model_zoo import tiny_config

FAULTS = [
    (
        {"copy_from_source": True},
        "copy_from_source needs the weights of one head: cross_attention must be one of additive, dot, general, "
        "cosine, euclidean, or the last layer a mixer that reads the encoder, got 'multi_head' and 'full_attention'",
    ),
    (
        {"copy_from_source": True, "cross_attention": "dot", "share_encoder_decoder_embeddings": False},
        "copy_from_source needs one vocabulary: share_encoder_decoder_embeddings must be True",
    ),
    (
        {"copy_from_source": True, "cross_attention": "dot", "written_vocab_size": 20},
        "copy_from_source may write any token of a source: written_vocab_size must be None, got 20",
    ),
    (
        {"copy_from_source": True, "cross_attention": "dot", "encoder_pooling": "sum"},
        "copy_from_source needs a slot a token: encoder_pooling must be 'none', got 'sum'",
    ),
    (
        {"encoder_pooling": "position", "type_vocab_size": 0},
        "encoder_pooling 'position' needs segments: type_vocab_size must be at least 1, got 0",
    ),
    ({"hard_attention_entropy": -0.1}, "hard_attention_entropy must be at least 0 and finite, got -0.1"),
    (
        {"hard_attention": "marginal"},
        "hard_attention 'marginal' needs a cross_attention of additive, dot, general, cosine, euclidean, got 'multi_",
    ),
    (
        {"hard_attention": "reinforce", "cross_attention": "dot", "decoder_mixers": ["gru", "luong_gru"]},
        "hard_attention 'reinforce' alone reads the encoder, but decoder_mixers has 'luong_gru'",
    ),
    (
        {"hard_attention": "marginal", "cross_attention": "dot", "copy_from_source": True},
        "copy_from_source must be False with hard_attention 'marginal', got True",
    ),
]


@pytest.mark.parametrize(("fields", "message"), FAULTS, ids=[" ".join(fields) for fields, _ in FAULTS])
def test_a_faulty_value_is_refused_with_field_value_and_bound(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StrictDataclassClassValidationError, match=re.escape(message)):
        tiny_config(**fields)
