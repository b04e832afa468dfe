"""One vector of the whole source, and which layers of the decoder read it, or what was read below them, beside x."""

from typing import Any

from torch import Tensor, nn

from .initial_state import Summary, last_of_encoder
from .mixers import reads_memory, reads_with_heads

CONTEXT_VECTORS = ("none", "last", "linear", "sum")


class ContextVector(nn.Module):
    """All that the decoder may know of the source, in one vector c.

        c = h_end                     last     the encoder's output where it ended      (1)
        c = W h_end + b               linear                                            (2)
        c = W sum_j h_j + b           sum      over the real tokens                      (3)

    Where it ended is what ``decoder_init`` calls ``last``.

    Args:
        collect: what makes one vector (B, C) of the encoder's output (B, S, C) and its mask (B, S).
        size: width C.
        projects: whether that vector is projected.

    Shapes: memory (B, S, C), mask (B, S) bool or None -> c (B, C).
    Padding: must be zero in the memory; it is in no sum and no end.
    Source: Sutskever et al. 2014, Sequence to Sequence Learning with Neural Networks, for (1); Cho et al. 2014,
        Learning Phrase Representations using RNN Encoder-Decoder, for (2).
    Reference: tests/model/test_context_vector.py::by_hand.
    """

    def __init__(self, *, collect: Summary, size: int, projects: bool) -> None:
        super().__init__()
        self.collect = collect
        self.projection = nn.Linear(size, size) if projects else nn.Identity()

    def forward(self, memory: Tensor, mask: Tensor | None) -> Tensor:
        """The vector c (B, C) of a source."""
        vector: Tensor = self.projection(self.collect(memory, mask))
        return vector


def build_context_vector(config: Any) -> ContextVector | None:
    """What makes the context vector of a decoder, or None."""
    if config.context_vector == "none":
        return None
    collect = sum_over_real if config.context_vector == "sum" else last_of_encoder(config)
    return ContextVector(
        collect=collect, size=config.encoder_hidden_size, projects=config.context_vector in ("linear", "sum")
    )


def sum_over_real(memory: Tensor, mask: Tensor | None) -> Tensor:
    """The sum (B, C) over (B, S, C), whose padding is zero."""
    return memory.sum(1)


def reading_layers(decoder_mixers: list[str], cross_attention: str) -> list[int]:
    """The layers of a decoder that attend to the encoder, inside a mixer or beside it."""
    return [i for i, entry in enumerate(decoder_mixers) if reads_memory(entry) or cross_attention != "none"]


def context_width(config: Any, below: int) -> int:
    """The width of what the layers below this one last read of the encoder; 0 if they read nothing."""
    reading = reading_layers(config.decoder_mixers[:below], config.cross_attention)
    if not reading:
        return 0
    entry = config.decoder_mixers[reading[-1]]
    if reads_with_heads(entry):
        return int(config.attention_size)
    mapped = config.cross_attention in ("multi_head", "hops")  # what these find has the decoder's width
    return int(config.hidden_size if mapped and not reads_memory(entry) else config.encoder_hidden_size)


def reads_at_every_step(config: Any) -> bool:
    """Whether a decoder reads its context vector after its first step, and the cache must keep it."""
    if config.context_vector == "none":
        return False
    return config.feed_context or (config.readout != "hidden" and not context_width(config, config.decoder_layers))


def fed_width(config: Any, layer_idx: int) -> int:
    """The width of the context that a layer of the decoder reads beside its input; 0 if it reads none."""
    if not config.feed_context:
        return 0
    return context_width(config, layer_idx) if config.context_vector == "none" else int(config.encoder_hidden_size)
