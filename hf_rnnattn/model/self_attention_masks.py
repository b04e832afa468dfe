"""Which tokens self-attention may read: all so far, or a window of them. Made by transformers' own mask functions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

from .decoder_cache import own_cache
from .inputs import as_bool_mask, positions_of
from .mixers import MIXERS, split_mixer
from .transformers_versions import one_cache

MASK_KINDS = ("full_attention", "sliding_attention")


def mask_kinds(entries: list[str]) -> list[str]:
    """The kinds of masks that the layers with these entries need."""
    mixers = [MIXERS[name] for entry in entries for name in split_mixer(entry)]
    return [
        kind for kind in MASK_KINDS if any(mixer.kind == "attention" and mixer.mask_kind == kind for mixer in mixers)
    ]


def causal_masks(config: Any, kinds: list[str], x: Tensor, mask: Tensor | None, cache: Any) -> dict[str, Any]:
    """Masks of a decoder that reads x (B, T, D) behind what the cache holds, one for each of ``kinds``.

    Args:
        mask: (B, past + T) bool, True for real tokens; None if all are.
    """
    own = own_cache(cache)
    return {kind: create_causal_mask(config, x, mask, own, **_window(config, kind, mask, True)) for kind in kinds}


def bidirectional_masks(config: Any, kinds: list[str], x: Tensor, mask: Tensor | None) -> dict[str, Any]:
    """Masks of an encoder that reads x (B, S, D), one for each of ``kinds``; ``mask`` is (B, S)."""
    return {kind: create_bidirectional_mask(config, x, mask, **_window(config, kind, mask, False)) for kind in kinds}


def create_masks_for_generate(
    config: Any,
    inputs_embeds: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cache: Cache | None = None,
    past_key_values: Cache | None = None,
    **kwargs: Any,
) -> dict[str, torch.Tensor | None]:
    """The decoder's masks for one step with a static cache, made outside of the compiled graph.

    A recurrence needs the two-dimensional mask that transformers' own version folds into a four-dimensional one. The
    cache comes under either of its names.
    """
    held: Any = one_cache(cache, past_key_values)
    batch, length = inputs_embeds.shape[:2]
    past = int(held.get_seq_length())
    mask = as_bool_mask(attention_mask, batch=batch, length=past + length, name="decoder_attention_mask")
    return {
        "recurrent": None if mask is None else mask[:, -length:],
        "positions": positions_of(mask, past, length, inputs_embeds.device),
        **causal_masks(config, mask_kinds(config.decoder_mixers), inputs_embeds, mask, held),
    }


def _window(config: Any, kind: str, mask: Tensor | None, causal: bool) -> dict[str, Any]:
    """What makes transformers' mask functions cut a window."""
    if kind == "full_attention":
        return {}
    distance = _distance(mask)
    size = config.attention_window
    if causal:
        return {"and_mask_function": lambda b, h, q, k: distance(b, q, k) < size}
    return {"and_mask_function": lambda b, h, q, k: distance(b, q, k).abs() <= size}


def _distance(mask: Tensor | None) -> Callable[[Any, Any, Any], Any]:
    """How many real tokens query q is behind key k: padding between them does not count."""
    if mask is None:
        return lambda b, q, k: q - k
    ranks = mask.long().cumsum(1)
    last = ranks.shape[1] - 1  # a static cache has slots behind it, which are not read anyway
    return lambda b, q, k: ranks[b, q] - ranks[b, torch.clamp(k, max=last)]
