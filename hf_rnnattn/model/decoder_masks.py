"""The decoder's masks for steps with a static cache."""

from typing import Any

import torch
from transformers.cache_utils import Cache
from transformers.masking_utils import create_causal_mask

from .decoder_cache import own_cache
from .inputs import as_bool_mask, positions_of
from .mixers import attends_itself

# What ``create_masks_for_generate`` makes: the mask of recurrences, the mask of self-attention, positions.
MASKS_FOR_GENERATE = ("recurrent", "full_attention", "positions")


def create_masks_for_generate(
    config: Any,
    inputs_embeds: torch.Tensor,
    attention_mask: torch.Tensor | None,
    past_key_values: Cache,
    **kwargs: Any,
) -> dict[str, torch.Tensor | None]:
    """The decoder's masks for one step with a static cache, made outside of the compiled graph.

    A recurrence needs the two-dimensional mask that transformers' own version folds into a four-dimensional one.
    """
    batch, length = inputs_embeds.shape[:2]
    past = int(past_key_values.get_seq_length())
    mask = as_bool_mask(attention_mask, batch=batch, length=past + length, name="decoder_attention_mask")
    attends = any(map(attends_itself, config.decoder_mixers))
    cache = own_cache(past_key_values)
    return {
        "recurrent": None if mask is None else mask[:, -length:],
        "full_attention": create_causal_mask(config, inputs_embeds, mask, cache) if attends else None,
        "positions": positions_of(mask, past, length, inputs_embeds.device),
    }
