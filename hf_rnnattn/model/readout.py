"""What the decoder's last vectors become before the output matrix."""

from typing import Any

import torch
from torch import Tensor, nn

from .context_vector import context_width
from .norms import build_cell_norm

READOUTS = ("hidden", "deep", "concat")


class HiddenReadout(nn.Module):
    """The decoder's output as it is.

    Args:
        size: its width.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.output_size = size

    def forward(self, embedded: Tensor, hidden: Tensor, context: Tensor | None) -> Tensor:
        """hidden (B, T, D) -> the same."""
        return hidden


class DeepReadout(nn.Module):
    """The deep output of Bahdanau et al. 2015, with tanh as in Nematus and Marian.

        r_t = tanh(W_y y_{t-1} + b_y + W_s s_t + b_s + W_c c_t + b_c)   (1)

    of the token that was read, the decoder's output, and the context that was read of the encoder, or the context
    vector. With norms, each of the three summands is normalised.

    Args:
        embedding_size: width E of a token's vector y, and of the result.
        hidden_size: width D of the decoder's output s.
        context_size: width C of the context c.
        cell_norm, norm_eps: see ``SteppingMixer``.

    Shapes: embedded (B, T, E), hidden (B, T, D), context (B, T or 1, C) -> (B, T, E).
    Reference: tests/reference.py::deep_readout.
    """

    def __init__(
        self, *, embedding_size: int, hidden_size: int, context_size: int, cell_norm: str, norm_eps: float
    ) -> None:
        super().__init__()
        self.output_size = embedding_size
        sizes = (embedding_size, hidden_size, context_size)
        self.projections = nn.ModuleList([nn.Linear(size, embedding_size) for size in sizes])
        self.norms = nn.ModuleList([build_cell_norm(cell_norm, [embedding_size], norm_eps) for _ in sizes])

    def forward(self, embedded: Tensor, hidden: Tensor, context: Tensor | None) -> Tensor:
        """What the output matrix reads.

        Raises:
            ValueError: there is no context.
        """
        parts = zip(self.projections, self.norms, (embedded, hidden, _needed(context, "deep")), strict=True)
        summands = [norm(project(x)) for project, norm, x in parts]
        return torch.tanh(summands[0] + summands[1] + summands[2])


class ConcatReadout(nn.Module):
    """The decoder's output beside what was read of the encoder, [s_t; c_t]: Wu et al. 2016 and Chen et al. 2018.

    Shapes: hidden (B, T, D), context (B, T or 1, C) -> (B, T, D + C).
    """

    def __init__(self, *, hidden_size: int, context_size: int) -> None:
        super().__init__()
        self.output_size = hidden_size + context_size

    def forward(self, embedded: Tensor, hidden: Tensor, context: Tensor | None) -> Tensor:
        """What the output matrix reads.

        Raises:
            ValueError: there is no context.
        """
        beside = _needed(context, "concat").expand(*hidden.shape[:-1], -1)
        return torch.cat([hidden, beside.to(hidden.dtype)], dim=-1)


def _needed(context: Tensor | None, kind: str) -> Tensor:
    if context is None:
        raise ValueError(f"readout {kind!r} needs a context, but no layer read the encoder and there is no vector")
    return context


def build_readout(config: Any) -> HiddenReadout | DeepReadout | ConcatReadout:
    """The read-out of a decoder."""
    if config.readout == "hidden":
        return HiddenReadout(config.hidden_size)
    width = context_width(config, config.decoder_layers) or config.encoder_hidden_size
    if config.readout == "concat":
        return ConcatReadout(hidden_size=config.hidden_size, context_size=width)
    return DeepReadout(
        embedding_size=config.embedding_size,
        hidden_size=config.hidden_size,
        context_size=width,
        cell_norm=config.cell_norm,
        norm_eps=config.layer_norm_eps,
    )
