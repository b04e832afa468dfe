"""Conditional cells: a deep transition that reads the encoder between its first and its second cell."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from .attention import Memory
from .attention_scores import AdditiveScore
from .exported_loop import States
from .mixer_base import MixerOutput, carry
from .mixer_gru import GRUMixer
from .mixer_lstm import LSTMMixer
from .mixer_reading import MemoryReader
from .mixer_stepping import SteppingMixer
from .notation import State


class ConditionalMixer(MemoryReader, SteppingMixer):
    """A cell of Nematus and Marian: the first cell reads the token, the second what its state found in the encoder.

        s'_t = cell_1(x_t, s_{t-1})                             (1)
        e_tj = v . tanh(A s'_t + K m_j + k)                     (2)
        c_t = sum_j softmax_j(e_tj) m_j                         (3)
        s_t = cell_N(... cell_3(cell_2(c_t, s'_t)))             (4)

    The third cell and those above read nothing but the state of the cell below. Of an LSTM, s is the pair of h and c,
    and h is what asks.

    Args:
        input_size: width D_in of the input.
        hidden_size: width D of the state and the output.
        memory_size: width C of a memory slot.
        attention_size: width A of the comparison in (2).
        depth: number N of cells, at least 2.
        cell_norm, norm_eps: see ``SteppingMixer``; with norms, the two summands of (2) are normalised too.

    Shapes: x (B, T, D_in), mask (B, T), memory (keys (B, S, A), values (B, S, C), mask (B, S)) -> h (B, T, D),
        state {"h": (B, D)} or {"h": (B, D), "c": (B, D)} float32, weights (B, 1, T, S), context (B, T, C).
    Padding: a masked step carries the state unchanged. A masked slot of the memory gets weight 0; if all are, c_t = 0.
    Cost: O(B T (S A + S C + D (D_in + C + N D))) time in T dependent steps.
    Raises: ValueError: depth is below 2, x is not (B, T, D_in), mask is not (B, T), or the memory is missing or does
        not fit. TypeError: a mask is not boolean.
    Source: Sennrich et al. 2017, Nematus: a Toolkit for Neural Machine Translation, EACL; Junczys-Dowmunt et al. 2018,
        Marian: Fast Neural Machine Translation in C++, ACL; Miceli Barone et al. 2017, Deep Architectures for Neural
        Machine Translation, WMT.
    Reference: tests/reference.py::conditional_gru, conditional_lstm.
    """

    least_depth: ClassVar[int] = 2

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        attention_size: int,
        depth: int = 2,
        cell_norm: str = "none",
        norm_eps: float = 1e-5,
    ) -> None:
        if depth < self.least_depth:
            raise ValueError(f"a conditional cell needs a depth of at least {self.least_depth}, got {depth}")
        norms: dict[str, Any] = {"cell_norm": cell_norm, "norm_eps": norm_eps}
        super().__init__(
            input_size=input_size, hidden_size=hidden_size, depth=depth, context_size=memory_size, **norms
        )
        self.memory_size = memory_size
        self.score = AdditiveScore(
            query_size=hidden_size, key_size=memory_size, attention_size=attention_size, **norms
        )

    def run(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        prepared = self.checked(memory, x.shape[0])
        current: States = tuple([state[name] for name in self.state_names])
        columns = self.input_norm(self.input_to_gates(x)).to(current[0].dtype).unbind(1)  # (B, G D) each
        masks = [None] * x.shape[1] if mask is None else mask.unbind(1)
        trail, weights, contexts = [], [], []
        for real, gates in zip(masks, columns, strict=True):
            new, alpha, context = self._move(gates, current, prepared, x.dtype)
            current = tuple([carry(real, after, before) for after, before in zip(new, current, strict=True)])
            trail.append(current)
            weights.append(alpha)
            contexts.append(context)
        steps = {
            name: torch.stack([at[i] for at in trail], dim=1)  # (B, T, D)
            for i, name in enumerate(self.state_names if return_steps else self.state_names[:1])
        }
        return MixerOutput(
            steps[self.state_names[0]].to(x.dtype),
            dict(zip(self.state_names, current, strict=True)) if return_state else {},
            steps if return_steps else None,
            weights=torch.stack(weights, dim=2),  # (B, 1, T, S)
            context=torch.cat(contexts, dim=1),  # (B, T, C)
        )

    def _move(self, gates: Tensor, state: States, memory: Memory, dtype: torch.dtype) -> tuple[States, Tensor, Tensor]:
        """One step: the state after it, the weights (B, 1, S) and the context (B, 1, C)."""
        new = self._first_cell(gates, state, dtype)
        alpha, context = self.read(new[0].to(dtype)[:, None], memory)
        read = context[:, 0]
        for i, cell in enumerate(self.transitions):
            new = self.step(*cell(None if i else read, new[0], dtype), *new)
        return new, alpha, context


class ConditionalGRUMixer(ConditionalMixer, GRUMixer):
    """The conditional GRU: see ``ConditionalMixer`` and ``GRUMixer``."""


class ConditionalLSTMMixer(ConditionalMixer, LSTMMixer):
    """The conditional LSTM: see ``ConditionalMixer`` and ``LSTMMixer``."""
