"""What the Elman RNN, the LSTM and the GRU share: gates that read the previous state, hence one step at a time."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .exported_loop import States, is_exported_sequence, loop_over_time
from .fused_kernel import full_precision, fusible_weights, gather_front, spread_back
from .mixer_base import MixerOutput, RecurrentMixer, carry
from .mixer_transition import TransitionCell, init_gates
from .norms import build_cell_norm
from .notation import State

Fused = tuple[Tensor, tuple[Tensor, ...]]  # outputs (B, T, D) and the final state


class SteppingMixer(RecurrentMixer):
    """A cell h_t, ... = step(W x_t + b, U h_{t-1} + u, ...).

    The input projection is one product over all steps, the rest plain arithmetic, step by step. Where torch has a
    kernel that computes the same from the same weights, that runs instead: ``sequence_kernel`` over many steps,
    ``step_kernel`` for one.

    Both biases are kept, as torch.nn keeps them, so that weights move between the two unchanged.

    Args:
        depth: how many cells a step passes through, the deep transition of Pascanu et al. 2014: the first reads x_t
            and the state of the step before, each of the others the state of the cell below it and no input.
        cell_norm: ``none``; ``layer_norm``, a norm of all that the input brings to the gates and another of what the
            state brings, as in Marian; ``split_layer_norm``, such norms of each of the cell's ``norm_blocks``, as in
            Nematus.
        norm_eps: of these norms.
        context_size: width of what the second cell reads beside the state; 0 for nothing.
        gate_bias: whether the first cell has biases.
    """

    transitions: Any  # a ModuleList
    gates: ClassVar[int]  # how many gates of width D a step computes
    norm_blocks: ClassVar[tuple[int, ...]]  # how many of them each norm of a split one covers
    gate_letters: ClassVar[
        dict[str, int]
    ] = {}  # of those that are sigmoids of the sum of input and state: their places
    takes_depth: ClassVar[bool] = True

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        depth: int = 1,
        cell_norm: str = "none",
        norm_eps: float = 1e-5,
        context_size: int = 0,
        gate_bias: bool = True,
    ) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        blocks = [count * hidden_size for count in self.norm_blocks]
        self.input_to_gates = nn.Linear(input_size, self.gates * hidden_size, bias=gate_bias)
        self.state_to_gates = nn.Linear(hidden_size, self.gates * hidden_size, bias=gate_bias)
        self.input_norm = build_cell_norm(cell_norm, blocks, norm_eps)
        self.state_norm = build_cell_norm(cell_norm, blocks, norm_eps)
        self.transitions = nn.ModuleList()
        sizes: dict[str, Any] = {"hidden_size": hidden_size, "cell_norm": cell_norm, "norm_eps": norm_eps}
        for i in range(1, depth):
            entering = context_size if i == 1 else 0
            self.transitions.append(TransitionCell(input_size=entering, blocks=blocks, **sizes))
        self.is_single = depth == 1 and cell_norm == "none"  # what torch's kernels compute

    def init_weights(self) -> None:
        """Xavier-uniform input matrices and orthogonal recurrent matrices, gate by gate; biases zero."""
        init_gates(self.input_to_gates, self.gates, nn.init.xavier_uniform_)
        init_gates(self.state_to_gates, self.gates, nn.init.orthogonal_)
        for cell in self.transitions:
            cell.init_gates(self.gates)

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
        if self.is_single and not return_steps:
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
        entering = self.input_norm(self.input_to_gates(x)).to(state[0].dtype)  # (B, T, G D)
        masks = [None] * x.shape[1] if mask is None else mask.unbind(1)
        trail = []
        for real, gates in zip(masks, entering.unbind(1), strict=True):
            state = self._advance(gates, real, state, x.dtype)
            trail.append(state)
        return tuple([torch.stack([at[i] for at in trail], dim=1) for i in range(wanted)]), state

    def _exported_loop(self, x: Tensor, mask: Tensor | None, start: States, wanted: int) -> tuple[States, States]:
        """As ``_loop``, in a graph for any number of steps."""
        entering = self.input_norm(self.input_to_gates(x)).to(start[0].dtype)  # (B, T, G D)

        def step(state: States, read: States) -> States:
            return self._advance(read[0], read[1] if len(read) > 1 else None, state, x.dtype)

        columns = loop_over_time(step, (entering,) if mask is None else (entering, mask), start)
        return columns[:wanted], tuple([column[:, -1] for column in columns])

    def _advance(self, gates: Tensor, real: Tensor | None, state: States, dtype: torch.dtype) -> States:
        """The states after one step: ``gates`` (B, G D) enter, ``real`` (B,) bool is False where states are kept."""
        new = self._first_cell(gates, state, dtype)
        for cell in self.transitions:
            new = self.step(*cell(None, new[0], dtype), *new)
        return tuple([carry(real, after, before) for after, before in zip(new, state, strict=True)])

    def _first_cell(self, gates: Tensor, state: States, dtype: torch.dtype) -> States:
        recurrent = self.state_norm(self.state_to_gates(state[0].to(dtype))).to(state[0].dtype)  # (B, G D)
        return self.step(gates, recurrent, *state)

    def gate_activations(self, x: Tensor, before: State) -> State:
        """Of a deep transition, those of its first cell."""
        h = before[self.state_names[0]]
        entering = self.input_norm(self.input_to_gates(x)).to(h.dtype)  # (B, T, G D)
        recurrent = self.state_norm(self.state_to_gates(h.to(x.dtype))).to(h.dtype)
        blocks = (entering + recurrent).chunk(self.gates, -1)
        return {letter: blocks[i].sigmoid() for letter, i in self.gate_letters.items()}

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
        rows = [tensor.unsqueeze(0).contiguous() for tensor in start]  # (1, B, D) each; cuDNN takes no views
        with full_precision(x.device):
            sequence = (x if mask is None else gather_front(x, mask)).to(start[0].dtype)
            hidden, *final = self.sequence_kernel(sequence, weights, *rows)
        if mask is None:
            return hidden, tuple([tensor.squeeze(0) for tensor in final])
        hidden = spread_back(hidden, mask, start[0])
        return hidden, tuple([hidden[:, -1]] * len(start))
