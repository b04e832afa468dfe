"""What the Elman RNN, the LSTM and the GRU share: gates that read the previous state, hence one step at a time."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
import transformers.initialization as init
from torch import Tensor, nn

from .fused_kernel import full_precision, fusible_weights, gather_front, one_step_may_fuse, spread_back
from .mixer_base import MixerOutput, RecurrentMixer, carry
from .notation import State


class SteppingMixer(RecurrentMixer):
    """A cell h_t, ... = step(W x_t + b, U h_{t-1} + u, ...).

    The input projection is one product over all steps, the rest plain arithmetic, step by step. Where torch has a
    kernel that computes the same from the same weights, that runs instead: ``sequence_kernel`` over many steps,
    ``step_kernel`` for one.

    Both biases are kept, as torch.nn keeps them, so that weights move between the two unchanged.
    """

    gates: ClassVar[int]  # how many gates of width D a step computes
    output_determines_state: ClassVar[bool] = True  # the final state can be read off the outputs

    def __init__(self, *, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.input_to_gates = nn.Linear(input_size, self.gates * hidden_size)
        self.state_to_gates = nn.Linear(hidden_size, self.gates * hidden_size)

    def init_weights(self) -> None:
        """Xavier-uniform input matrices and orthogonal recurrent matrices, gate by gate; biases zero."""
        init_gates(self.input_to_gates, self.gates, nn.init.xavier_uniform_)
        init_gates(self.state_to_gates, self.gates, nn.init.orthogonal_)

    @abstractmethod
    def step(self, entering: Tensor, recurrent: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The state after one step, h first: ``entering`` and ``recurrent`` (B, G D), each of ``state`` (B, D)."""

    @abstractmethod
    def step_kernel(self, x: Tensor, weights: list[Tensor], *state: Tensor) -> tuple[Tensor, ...]:
        """torch's kernel for one step: x (B, D_in), each of ``state`` (B, D) -> the state, h first."""

    @abstractmethod
    def sequence_kernel(self, x: Tensor, weights: list[Tensor], *state: Tensor) -> tuple[Tensor, ...]:
        """torch's kernel for many steps: x (B, T, D_in), each of ``state`` (1, B, D) -> h (B, T, D), final state."""

    def run(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        start = tuple([state[name] for name in self.state_names])
        weights = None
        if not return_steps and (mask is None or self.output_determines_state or not return_state):
            weights = fusible_weights(self.input_to_gates, self.state_to_gates, start[0])
        if weights is None or (x.shape[1] == 1 and not one_step_may_fuse(x, mask, start[0])):
            trail = self._loop(x, mask, start)
            hidden = torch.stack([h for h, *_ in trail], dim=1)  # (B, T, D)
        elif x.shape[1] == 1:
            trail = [self.step_kernel(x.squeeze(1), weights, *start)]
            hidden = trail[0][0].unsqueeze(1)
        else:
            hidden, final = self._run_sequence(x, mask, weights, start)
            trail = [final]
        steps = None
        if return_steps:
            columns = zip(*trail, strict=True)
            steps = {name: torch.stack(column, dim=1) for name, column in zip(self.state_names, columns, strict=True)}
        final_state = dict(zip(self.state_names, trail[-1], strict=True)) if return_state else {}
        return MixerOutput(hidden if hidden.dtype == x.dtype else hidden.to(x.dtype), final_state, steps)

    def _loop(self, x: Tensor, mask: Tensor | None, state: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
        """The state after each step, through the linear layers as modules."""
        wide = state[0].dtype
        entering = self.input_to_gates(x).to(wide)  # (B, T, G D)
        masks = [None] * x.shape[1] if mask is None else mask.unbind(1)
        trail = []
        for real, gates in zip(masks, entering.unbind(1), strict=True):
            recurrent = self.state_to_gates(state[0].to(x.dtype)).to(wide)  # (B, G D)
            new = self.step(gates, recurrent, *state)
            state = tuple([carry(real, after, before) for after, before in zip(new, state, strict=True)])
            trail.append(state)
        return trail

    def _run_sequence(
        self, x: Tensor, mask: Tensor | None, weights: list[Tensor], start: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Masked steps are moved behind the real ones, where they cannot touch them, and overwritten afterwards."""
        rows = [tensor.unsqueeze(0) for tensor in start]  # (1, B, D) each
        with full_precision(x.device):
            sequence = (x if mask is None else gather_front(x, mask)).to(start[0].dtype)
            hidden, *final = self.sequence_kernel(sequence, weights, *rows)
        if mask is None:
            return hidden, tuple([tensor.squeeze(0) for tensor in final])
        hidden = spread_back(hidden, mask, start[0])
        # Where c is a state too, nobody asked for it here.
        return hidden, tuple([hidden[:, -1]] * len(start))


def init_gates(linear: nn.Linear, gates: int, fill: Any) -> None:
    """Fills each gate's block of ``linear`` (gates * D, D_in) by itself and zeroes the bias.

    Built as full tensors, since transformers marks what came from a checkpoint on whole parameters, not on slices.
    """
    weight = torch.empty_like(linear.weight, dtype=torch.float32)
    for block in weight.chunk(gates, dim=0):
        fill(block)
    init.copy_(linear.weight, weight)
    if linear.bias is not None:
        init.zeros_(linear.bias)
