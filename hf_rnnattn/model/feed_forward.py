"""The position-wise feed-forward network, and how the config has it and other sublayers built into a layer."""

from typing import Any

from torch import Tensor, nn
from transformers.activations import ACT2FN

from .norms import Connection, build_norm
from .plain_linear import linear


class FeedForward(nn.Module):
    """Position-wise feed-forward network: ``W_2 act(W_1 x + b_1) + b_2``, Vaswani et al. 2017."""

    def __init__(self, *, size: int, inner_size: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size, inner_size)
        self.fc2 = nn.Linear(inner_size, size)
        self.activation = ACT2FN[activation]
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        inner = self.activation(linear(self.fc1, x))
        if self.training and self.dropout:
            inner = nn.functional.dropout(inner, p=self.dropout)
        return linear(self.fc2, inner)


def adds_input(config: Any, layer_idx: int) -> bool:
    """Whether the sublayers of this layer add their input to their output."""
    return bool(config.residual and layer_idx >= config.residual_start)


def build_connection(config: Any, input_size: int, output_size: int, *, residual: bool) -> Connection:
    """What joins a sublayer from ``input_size`` to ``output_size`` to the stream, as the config says."""
    return Connection(
        norm_position=config.norm_position,
        input_size=input_size,
        output_size=output_size,
        norm_type=config.norm_type,
        norm_eps=config.layer_norm_eps,
        dropout=config.dropout,
        residual=residual,
    )


def build_feed_forward(config: Any, size: int, inner_size: int) -> FeedForward | None:
    """A feed-forward network of width ``size``, or None where ``inner_size`` is 0."""
    if not inner_size:
        return None
    return FeedForward(
        size=size, inner_size=inner_size, activation=config.activation_function, dropout=config.activation_dropout
    )


def build_final_norm(config: Any, size: int) -> nn.Module:
    """With norms before the sublayers, nothing has normalised the stream at the end of the stack."""
    return (
        build_norm(config.norm_type, size, config.layer_norm_eps) if config.norm_position == "pre" else nn.Identity()
    )
