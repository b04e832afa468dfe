"""What the Elman RNN, the LSTM and the GRU share: gates that read the previous state, hence one step at a time."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
import transformers.initialization as init
from torch import Tensor, nn

from .exported_loop import States, is_exported_sequence, loop_over_time
from .fused_kernel import full_precision, fusible_weights, gather_front, spread_back
from .mixer_base import MixerOutput, RecurrentMixer, carry
from .notation import State

Fused = tuple[Tensor, tuple[Tensor, ...]]  # outputs (B, T, D) and the final state


class SteppingMixer(RecurrentMixer):
    """A cell h_t, ... = step(W x_t + b, U h_{t-1} + u, ...).

    The input projection is one product over all steps, the rest plain arithmetic, step by step. Where torch has a
    kernel that computes the same from the same weights, that runs instead: ``sequence_kernel`` over many steps,
    ``step_kernel`` for one.

    Both biases are kept, as torch.nn keeps them, so that weights move between the two unchanged.
    """

    gates: ClassVar[int]  # how many gates of width D a step computes

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
        fused = None
        if not return_steps:
            one_step = x.shape[1] == 1
            fused = self._fuse_step(x, mask, start) if one_step else self._fuse_steps(x, mask, start, return_state)
        if fused is not None:
            hidden, final = fused
            steps = None
        else:
            loop = self._exported_loop if is_exported_sequence(x) else self._loop
            columns, final = loop(x, mask, start, len(start) if return_steps else 1)
            hidden = columns[0]
            steps = dict(zip(self.state_names, columns, strict=True)) if return_steps else None
        state_after = dict(zip(self.state_names, final, strict=True)) if return_state else {}
        return MixerOutput(hidden if hidden.dtype == x.dtype else hidden.to(x.dtype), state_after, steps)

    def _loop(self, x: Tensor, mask: Tensor | None, state: States, wanted: int) -> tuple[States, States]:
        """The first ``wanted`` states after each step, (B, T, D) each, and all states after the last one.

        Through the linear layers as modules.
        """
        entering = self.input_to_gates(x).to(state[0].dtype)  # (B, T, G D)
        masks = [None] * x.shape[1] if mask is None else mask.unbind(1)
        trail = []
        for real, gates in zip(masks, entering.unbind(1), strict=True):
            state = self._advance(gates, real, state, x.dtype)
            trail.append(state)
        return tuple([torch.stack([at[i] for at in trail], dim=1) for i in range(wanted)]), state

    def _exported_loop(self, x: Tensor, mask: Tensor | None, start: States, wanted: int) -> tuple[States, States]:
        """As ``_loop``, in a graph for any number of steps."""
        entering = self.input_to_gates(x).to(start[0].dtype)  # (B, T, G D)

        def step(state: States, read: States) -> States:
            return self._advance(read[0], read[1] if len(read) > 1 else None, state, x.dtype)

        columns = loop_over_time(step, (entering,) if mask is None else (entering, mask), start)
        return columns[:wanted], tuple([column[:, -1] for column in columns])

    def _advance(self, gates: Tensor, real: Tensor | None, state: States, dtype: torch.dtype) -> States:
        """The states after one step: ``gates`` (B, G D) enter, ``real`` (B,) bool is False where states are kept."""
        recurrent = self.state_to_gates(state[0].to(dtype)).to(state[0].dtype)  # (B, G D)
        new = self.step(gates, recurrent, *state)
        return tuple([carry(real, after, before) for after, before in zip(new, state, strict=True)])

    def _fuse_step(self, x: Tensor, mask: Tensor | None, start: tuple[Tensor, ...]) -> Fused | None:
        """One step in torch's kernel: h (B, 1, D) and the state after it; None where that kernel does not apply."""
        dtype = start[0].dtype
        weights = fusible_weights(self, dtype) if mask is None and x.dtype == dtype else None
        if weights is None:
            return None
        final = self.step_kernel(x.squeeze(1), weights, *start)
        if final[0].dtype != dtype:  # autocasting narrowed it; asking beforehand would cost every step
            return None
        return final[0].unsqueeze(1), final

    def _fuse_steps(
        self, x: Tensor, mask: Tensor | None, start: tuple[Tensor, ...], return_state: bool
    ) -> Fused | None:
        """All steps in torch's kernel: h (B, T, D) and the state after them; None where that kernel does not apply.

        Masked steps are moved behind the real ones, where they cannot touch them, and overwritten afterwards. The
        final state is then read off the outputs.
        """
        if mask is not None and return_state and len(start) > 1:  # c is no output
            return None
        weights = fusible_weights(self, start[0].dtype)
        if weights is None:
            return None
        rows = [tensor.unsqueeze(0) for tensor in start]  # (1, B, D) each
        with full_precision(x.device):
            sequence = (x if mask is None else gather_front(x, mask)).to(start[0].dtype)
            hidden, *final = self.sequence_kernel(sequence, weights, *rows)
        if mask is None:
            return hidden, tuple([tensor.squeeze(0) for tensor in final])
        hidden = spread_back(hidden, mask, start[0])
        return hidden, tuple([hidden[:, -1]] * len(start))


def init_gates(linear: nn.Linear, gates: int, fill: Any) -> None:
    """Fills each gate's block of ``linear`` (gates * D, D_in) by itself and zeroes the bias.

    Built as full tensors, since transformers marks what came from a checkpoint on whole parameters, not on slices.
    Such weights are left alone: those that were quantised while they were loaded cannot even be asked for a copy.
    """
    if not getattr(linear.weight, "_is_hf_initialized", False):
        weight = torch.empty_like(linear.weight, dtype=torch.float32)
        for block in weight.chunk(gates, dim=0):
            fill(block)
        init.copy_(linear.weight, weight)
    if linear.bias is not None:
        init.zeros_(linear.bias)
