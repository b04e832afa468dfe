"""What minGRU and SSRU share: gates that read only the input, so that time is a scan."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from .mixer_base import MixerOutput, RecurrentMixer, carry
from .notation import State, state_dtype
from .plain_linear import linear
from .scan import linear_scan


class ScannedMixer(RecurrentMixer):
    """A cell s_t = keep_t * s_{t-1} + (1 - keep_t) * candidate_t with keep and candidate linear in x_t alone.

    ``input_to_gates`` computes the candidate (first D rows) and the gate (last D rows) in one product.
    """

    def __init__(self, *, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.input_to_gates = nn.Linear(input_size, 2 * hidden_size)

    def gate(self, x: Tensor) -> Tensor:
        """The gate's pre-activation (B, T, D) of x (B, T, D_in)."""
        projected: Tensor = self.input_to_gates(x)
        return projected.chunk(2, -1)[1].to(state_dtype(x.dtype))

    @abstractmethod
    def keep(self, gate: Tensor) -> Tensor:
        """How much of the old state stays, in [0, 1], from the gate's pre-activation (..., D)."""

    @abstractmethod
    def output(self, state: Tensor) -> Tensor:
        """What the cell emits in a state (..., D)."""

    def run(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        (name,) = self.state_names
        start = state[name]
        projected = linear(self.input_to_gates, x)  # (B, T, 2 D)
        if projected.dtype != start.dtype:
            projected = projected.to(start.dtype)
        if x.shape[1] == 1:
            candidate, gate = projected.squeeze(1).unsafe_chunk(2, 1)  # (B, D) each
            last = torch.lerp(candidate, start, self.keep(gate))
            if mask is not None:
                last = carry(mask[:, 0], last, start)
            states = last.unsqueeze(1)  # (B, 1, D)
        else:
            candidate, gate = projected.unsafe_chunk(2, -1)  # (B, T, D) each
            keep = self.keep(gate)
            states = linear_scan(keep, candidate - keep * candidate, start, mask)  # (B, T, D)
            last = states[:, -1]
        hidden = self.output(states)
        return MixerOutput(
            hidden if hidden.dtype == x.dtype else hidden.to(x.dtype),
            {name: last} if return_state else {},
            {name: states} if return_steps else None,
        )
