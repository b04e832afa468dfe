"""The cells of a deep transition after its first, and how gates are initialised."""

from typing import Any

import torch
import transformers.initialization as init
from torch import Tensor, nn

from .norms import build_cell_norm
from .transformers_versions import is_loaded


class TransitionCell(nn.Module):
    """What a further cell of one step reads: the state of the cell below it, and perhaps an input.

        entering = norm(W x + b), or b where there is no input   (1)
        recurrent = norm(U h + u)                                (2)

    What the gates make of the two is the step of the mixer that it is a part of.

    Args:
        input_size: width of x; 0 for none.
        hidden_size: width D of h.
        blocks: widths of the parts that a split norm covers; their sum is the width G D of all gates.
        cell_norm, norm_eps: see ``SteppingMixer``.
    """

    input_to_gates: Any  # None where there is no input, and so is its norm; else input_bias is
    input_norm: Any

    def __init__(
        self, *, input_size: int, hidden_size: int, blocks: list[int], cell_norm: str, norm_eps: float
    ) -> None:
        super().__init__()
        width = sum(blocks)
        self.state_to_gates = nn.Linear(hidden_size, width)
        self.state_norm = build_cell_norm(cell_norm, blocks, norm_eps)
        self.input_to_gates = nn.Linear(input_size, width) if input_size else None
        self.input_norm = build_cell_norm(cell_norm, blocks, norm_eps) if input_size else None
        self.input_bias = None if input_size else nn.Parameter(torch.zeros(width))

    def init_gates(self, gates: int) -> None:
        """As the mixer's own gates."""
        init_gates(self.state_to_gates, gates, nn.init.orthogonal_)
        if self.input_to_gates is not None:
            init_gates(self.input_to_gates, gates, nn.init.xavier_uniform_)
        if self.input_bias is not None:
            init.zeros_(self.input_bias)

    def forward(self, x: Tensor | None, h: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """x (B, input_size) in ``dtype`` or None, h (B, D) -> entering (B or 1, G D), recurrent (B, G D), as h."""
        recurrent = self.state_norm(self.state_to_gates(h.to(dtype))).to(h.dtype)
        if self.input_bias is not None:
            return self.input_bias[None].to(h.dtype), recurrent
        return self.input_norm(self.input_to_gates(x)).to(h.dtype), recurrent


def init_gates(linear: nn.Linear, gates: int, fill: Any) -> None:
    """Fills each gate's block of ``linear`` (gates * D, D_in) by itself and zeroes the bias.

    Built as full tensors, since transformers marks what came from a checkpoint on whole parameters, not on slices.
    Such weights are left alone: those that were quantised while they were loaded cannot even be asked for a copy.
    """
    if not is_loaded(linear.weight):
        weight = torch.empty_like(linear.weight, dtype=torch.float32)
        for block in weight.chunk(gates, dim=0):
            fill(block)
        init.copy_(linear.weight, weight)
    if linear.bias is not None:
        init.zeros_(linear.bias)
