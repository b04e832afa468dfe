"""The decoder's cache as a whole: how it is built, checked, and which part of it is the decoder's own past."""

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache, StaticCache

from .cache_rnnattn import RnnAttnCacheLayer  # noqa: F401  importing it enters the cache layers in transformers


class RnnAttnEncoderDecoderCache(EncoderDecoderCache):
    """An ``EncoderDecoderCache`` that rolls back parts of any kind; transformers' own rolls back dynamic ones only."""

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last ``-tokens_to_remove`` tokens of the target."""
        self.self_attention_cache.crop(tokens_to_remove)


def croppable_cache(cache: Any, *, given: bool) -> Any:
    """Return a cache of the same parts that assisted decoding can crop.

    Args:
        cache: of an encoder-decoder.
        given: whether the caller of ``generate`` gave it, and so must get the same object back.

    Raises:
        ValueError: it was given, and cannot be cropped.
    """
    if isinstance(cache, RnnAttnEncoderDecoderCache) or not isinstance(own_cache(cache), StaticCache):
        return cache
    if given:
        raise ValueError(
            "assisted decoding needs a cache that rolls back, and EncoderDecoderCache does so only if its parts are "
            "dynamic: give a RnnAttnEncoderDecoderCache of the same parts, or cache_implementation='static'"
        )
    return RnnAttnEncoderDecoderCache(cache.self_attention_cache, cache.cross_attention_cache)


def new_cache(config: Any, *, has_encoder: bool) -> Cache:
    """An empty cache; where there is an encoder, with a second part for what is read of it."""
    view = config.get_text_config(decoder=True)
    own = DynamicCache(config=view)
    return EncoderDecoderCache(own, DynamicCache(config=view)) if has_encoder else own


def own_cache(cache: Any) -> Any:
    """The part of a cache that holds the decoder's own past; None of None."""
    return getattr(cache, "self_attention_cache", cache)


CONTEXT = "context"


def keep_context(cache: Any, vector: Tensor) -> None:
    """Keeps the context vector (B, C) with what is read of the encoder: reordered with it, never rolled back."""
    if cache is not None:
        held = cache.cross_attention_cache.layers[0]
        held.update_states({CONTEXT: vector}, initial={}, steps=None, num_tokens=0)


def kept_context(cache: Any) -> Tensor | None:
    """The context vector (B, 1, C) that was kept, or None."""
    states = cache.cross_attention_cache.layers[0].read_states([CONTEXT])
    return None if states is None else states[CONTEXT][:, None]


def check_cache(cache: Any, num_layers: int, source_length: int | None) -> None:
    """Checks that a cache can hold what the decoder puts there.

    Args:
        cache: what was given, or None.
        num_layers: of the decoder.
        source_length: of the encoder's output; None where there is no encoder.

    Raises:
        ValueError: it was built without the model's config or is of the wrong kind; or its static tables for the
            encoder's keys and values have another length than the source: were there more slots, the decoder would
            attend to empty ones.
    """
    if cache is None:
        return
    expected = "DynamicCache(config=config)"
    if source_length is not None:
        expected = f"EncoderDecoderCache({expected}, {expected})"
    parts = [cache]
    if source_length is not None:
        parts = [getattr(cache, f"{part}_attention_cache", None) for part in ("self", "cross")]
    for part in parts:
        layers = getattr(part, "layers", [])
        if len(layers) != num_layers or not all(hasattr(layer, "read_states") for layer in layers):
            raise ValueError(
                f"the cache must be {expected} with this model's config, or a StaticCache in the same places; "
                f"got {cache!r}"
            )
    slots = getattr(parts[-1].layers[0], "max_cache_len", source_length)
    if source_length is not None and slots != source_length:
        raise ValueError(
            f"the static cross-attention cache holds {slots} source tokens, the source has {source_length}"
        )
