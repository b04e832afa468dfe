"""The decoder's cache as a whole: how it is built, checked, and which part of it is the decoder's own past."""

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache

from .cache_rnnattn import RnnAttnCacheLayer  # noqa: F401  importing it enters the cache layers in transformers


def new_cache(config: Any, *, has_encoder: bool) -> Cache:
    """An empty cache; where there is an encoder, with a second part for what is read of it."""
    view = config.get_text_config(decoder=True)
    own = DynamicCache(config=view)
    return EncoderDecoderCache(own, DynamicCache(config=view)) if has_encoder else own


def own_cache(past_key_values: Any) -> Any:
    """The part of a cache that holds the decoder's own past; None of None."""
    return getattr(past_key_values, "self_attention_cache", past_key_values)


CONTEXT = "context"


def keep_context(past_key_values: Any, vector: Tensor) -> None:
    """Keeps the context vector (B, C) with what is read of the encoder: reordered with it, never rolled back."""
    if past_key_values is not None:
        held = past_key_values.cross_attention_cache.layers[0]
        held.update_states({CONTEXT: vector}, initial={}, steps=None, num_tokens=0)


def kept_context(past_key_values: Any) -> Tensor | None:
    """The context vector (B, 1, C) that was kept, or None."""
    states = past_key_values.cross_attention_cache.layers[0].read_states([CONTEXT])
    return None if states is None else states[CONTEXT][:, None]


def check_cache(past_key_values: Any, num_layers: int, source_length: int | None) -> None:
    """Checks that a cache can hold what the decoder puts there.

    Args:
        past_key_values: the cache, or None.
        num_layers: of the decoder.
        source_length: of the encoder's output; None where there is no encoder.

    Raises:
        ValueError: it was built without the model's config or is of the wrong kind; or its static tables for the
            encoder's keys and values have another length than the source: were there more slots, the decoder would
            attend to empty ones.
    """
    if past_key_values is None:
        return
    expected = "DynamicCache(config=config)"
    if source_length is not None:
        expected = f"EncoderDecoderCache({expected}, {expected})"
    parts = [past_key_values]
    if source_length is not None:
        parts = [getattr(past_key_values, f"{part}_attention_cache", None) for part in ("self", "cross")]
    for part in parts:
        layers = getattr(part, "layers", [])
        if len(layers) != num_layers or not all(hasattr(layer, "read_states") for layer in layers):
            raise ValueError(
                f"past_key_values must be {expected} with this model's config, or a StaticCache in the same places; "
                f"got {past_key_values!r}"
            )
    slots = getattr(parts[-1].layers[0], "max_cache_len", source_length)
    if source_length is not None and slots != source_length:
        raise ValueError(
            f"the static cross-attention cache holds {slots} source tokens, the source has {source_length}"
        )
