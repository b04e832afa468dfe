"""What the Elman RNN, the LSTM and the GRU share: gates that read the previous state, hence one step at a time."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
import transformers.initialization as init
from torch import Tensor, nn

from .fused_kernel import full_precision, gather_front, may_fuse, spread_back
from .mixer_base import MixerOutput, RecurrentMixer, carry
from .notation import State


class SteppingMixer(RecurrentMixer):
    """A cell h_t, ... = step(W x_t + b, U h_{t-1} + u, ...); a subclass gives ``step`` and the fused ``kernel``.

    The input projection is one product over all steps. One step is plain arithmetic; over many steps torch's fused
    kernel runs instead where it computes the same.

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
    def kernel(self, x: Tensor, weights: list[Tensor], *state: Tensor) -> tuple[Tensor, ...]:
        """torch's fused kernel: x (B, T, D_in), each of ``state`` (1, B, D) -> h (B, T, D) and the final state."""

    def run(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        start = tuple([state[name] for name in self.state_names])
        wants_more = return_steps or (mask is not None and return_state and not self.output_determines_state)
        if x.shape[1] > 1 and not wants_more and may_fuse(self.input_to_gates, self.state_to_gates, start[0]):
            return self._run_fused(x, mask, start, return_state)
        return self._run_loop(x, mask, start, return_steps, return_state)

    def _run_loop(
        self, x: Tensor, mask: Tensor | None, start: tuple[Tensor, ...], return_steps: bool, return_state: bool
    ) -> MixerOutput:
        entering = self.input_to_gates(x)  # (B, T, G D)
        if entering.dtype != start[0].dtype:
            entering = entering.to(start[0].dtype)
        if x.shape[1] == 1 and mask is None:
            new = self.step(entering.squeeze(1), self._recurrent(start[0], x.dtype), *start)
            trail = [new]
        else:
            trail = self._walk(entering, mask, start, x.dtype)
        names = self.state_names
        outputs = torch.stack([at_step[0] for at_step in trail], dim=1) if len(trail) > 1 else trail[0][0].unsqueeze(1)
        steps = None
        if return_steps:
            steps = {name: torch.stack([at_step[i] for at_step in trail], dim=1) for i, name in enumerate(names)}
        final = dict(zip(names, trail[-1], strict=True)) if return_state else {}
        return MixerOutput(outputs if outputs.dtype == x.dtype else outputs.to(x.dtype), final, steps)

    def _walk(
        self, entering: Tensor, mask: Tensor | None, state: tuple[Tensor, ...], dtype: torch.dtype
    ) -> list[tuple[Tensor, ...]]:
        """The state after each step of ``entering`` (B, T, G D)."""
        masks = [None] * entering.shape[1] if mask is None else mask.unbind(1)
        trail = []
        for real, gates in zip(masks, entering.unbind(1), strict=True):
            new = self.step(gates, self._recurrent(state[0], dtype), *state)
            state = tuple([carry(real, after, before) for after, before in zip(new, state, strict=True)])
            trail.append(state)
        return trail

    def _recurrent(self, h: Tensor, dtype: torch.dtype) -> Tensor:
        product: Tensor = self.state_to_gates(h if h.dtype == dtype else h.to(dtype))  # (B, G D)
        return product if product.dtype == h.dtype else product.to(h.dtype)

    def _run_fused(self, x: Tensor, mask: Tensor | None, start: tuple[Tensor, ...], return_state: bool) -> MixerOutput:
        """Masked steps are moved behind the real ones, where they cannot touch them, and overwritten afterwards."""
        weights = [
            self.input_to_gates.weight,
            self.state_to_gates.weight,
            self.input_to_gates.bias,
            self.state_to_gates.bias,
        ]
        with full_precision(x.device):
            sequence = x if x.dtype == start[0].dtype else x.to(start[0].dtype)
            if mask is not None:
                sequence = gather_front(sequence, mask)
            hidden, *state = self.kernel(sequence, weights, *[tensor.unsqueeze(0) for tensor in start])
        if mask is None:
            final = [tensor.squeeze(0) for tensor in state]
        else:
            hidden = spread_back(hidden, mask, start[0])
            final = [hidden[:, -1]]
        named = dict(zip(self.state_names, final, strict=True)) if return_state else {}
        return MixerOutput(hidden if hidden.dtype == x.dtype else hidden.to(x.dtype), named)


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
