"""Self-attention to a window of tokens: what it reads, whatever pads them, in every implementation and cache."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import DynamicCache, masking_utils

import reference_attention
from hf_rnnattn import RnnAttnConfig
from hf_rnnattn.model.mixer_attention import SlidingAttentionMixer
from hf_rnnattn.model.self_attention_masks import bidirectional_masks, causal_masks, mask_kinds
from lively_models import make_lively, run, sources, targets

KIND = "sliding_attention"
ROWS, LENGTH, SIZE, HEADS = 3, 9, 8, 2
EXACT = {"rtol": 0.0, "atol": 1e-12}
each_window = pytest.mark.parametrize("window", [1, 3, 20])


def setting(window: int, causal: bool, implementation: str) -> tuple[Any, Any, torch.Tensor, torch.Tensor]:
    """A config, a mixer, what it reads, and a mask with padding on the right, inside and on the left."""
    config = RnnAttnConfig(attention_window=window, hidden_size=SIZE, attn_implementation=implementation)
    sizes = {"input_size": SIZE, "hidden_size": SIZE, "num_heads": HEADS, "dropout": 0.0}
    mixer = SlidingAttentionMixer(config, window=window, is_causal=causal, **sizes).double()
    mask = torch.ones(ROWS, LENGTH, dtype=torch.bool)
    mask[0, 7:], mask[1, 3:5], mask[2, :2] = False, False, False
    return config, mixer, torch.randn(ROWS, LENGTH, SIZE, dtype=torch.float64), mask


def readable(mask: torch.Tensor, window: int, causal: bool) -> torch.Tensor:
    """(B, T, S): the last ``window`` real tokens, or those at most ``window`` real tokens away."""
    allowed = torch.zeros(*mask.shape, mask.shape[1], dtype=torch.bool)
    for row in range(mask.shape[0]):
        real = mask[row].nonzero().flatten().tolist()
        for i, t in enumerate(real):
            near = real[max(0, i - window + 1) : i + 1] if causal else real[max(0, i - window) : i + window + 1]
            allowed[row, t, near] = True
    return allowed


@each_window
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both_sides"])
@pytest.mark.parametrize("padded", [False, True], ids=["all_real", "padded"])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_it_reads_the_tokens_of_its_window(window, causal, padded, implementation):
    config, mixer, x, mask = setting(window, causal, implementation)
    given = mask if padded else None
    make = causal_masks(config, [KIND], x, given, None) if causal else bidirectional_masks(config, [KIND], x, given)
    with torch.no_grad():
        got, weights = mixer(x, make[KIND])
    real = mask if padded else torch.ones_like(mask)
    allowed = readable(real, window, causal)
    named = dict(mixer.named_parameters())
    want, want_weights = reference_attention.multi_head_attention(named, x, x, HEADS, allowed)
    assert_close(got[real], want[real], **EXACT)
    if implementation == "eager":
        assert_close(weights.transpose(1, 2)[real], want_weights.transpose(1, 2)[real], **EXACT)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both_sides"])
def test_flex_attention_is_given_the_same_window(causal, monkeypatch):
    """Its kernel needs a compiler; what it is told, token by token, does not."""
    config, _, x, mask = setting(3, causal, "flex_attention")
    plain = masking_utils.create_block_mask
    monkeypatch.setattr(masking_utils, "create_block_mask", lambda **given: plain(**{**given, "_compile": False}))
    for real in (mask, torch.ones_like(mask)):
        given = None if real.all() else real
        make = (
            causal_masks(config, [KIND], x, given, None) if causal else bidirectional_masks(config, [KIND], x, given)
        )
        rows, queries, keys = (torch.arange(size) for size in (ROWS, LENGTH, LENGTH))
        told = make[KIND].mask_mod(rows[:, None, None], torch.tensor(0), queries[:, None], keys)
        allowed = readable(real, 3, causal)
        assert torch.equal(told.expand_as(allowed)[real], allowed[real])


@each_window
def test_a_window_as_long_as_the_sequence_is_full_attention(window):
    fields = {"encoder_mixers": ["gru"], "attention_window": window}
    sliding = make_lively(decoder_mixers=[KIND, "ssru+sliding_attention"], **fields)
    full = make_lively(decoder_mixers=["full_attention", "ssru+full_attention"], **fields)
    full.load_state_dict(sliding.state_dict())
    inputs = {**sources(sliding), "decoder_input_ids": targets(sliding, length=9)}
    logits = [run(model, **inputs).logits for model in (sliding, full)]
    assert torch.allclose(logits[0][:, :window], logits[1][:, :window], rtol=0.0, atol=1e-12)
    assert torch.allclose(logits[0], logits[1], rtol=0.0, atol=1e-12) == (window >= 9)


def test_the_cache_is_no_sliding_cache_of_transformers():
    """Such a one would also cut what is kept of the encoder."""
    model = make_lively(decoder_mixers=[KIND, "lstm"])
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    assert {type(layer).__name__ for layer in cache.layers} == {"RnnAttnCacheLayer"}
    assert not any(cache.is_sliding)
    read = run(model, decoder_input_ids=targets(model, length=9), use_cache=True, **sources(model)).cache
    assert read.self_attention_cache.layers[0].keys.shape[2] == 9


def test_only_the_masks_that_layers_take_are_made():
    assert mask_kinds(["gru", "lstm+sliding_attention"]) == ["sliding_attention"]
    assert mask_kinds(["sliding_attention", "full_attention"]) == ["full_attention", "sliding_attention"]
    assert mask_kinds(["gru", "fused"]) == []


def test_kernels_that_cut_the_window_themselves_are_told_of_it(monkeypatch):
    """Flash attention reads ``sliding_window`` - 1 tokens to the left and, unless it is causal, to the right."""
    told = []

    def read(self, query, keys, values, attention_mask, **kwargs):
        told.append(kwargs["sliding_window"])
        return query, None

    monkeypatch.setattr(SlidingAttentionMixer, "read", read)
    for causal in (True, False):
        _, mixer, x, _ = setting(4, causal, "eager")
        mixer(x, None)
    assert told == [4, 5]
