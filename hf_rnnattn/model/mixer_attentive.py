"""The cell that attends to the encoder inside its recurrence."""

from typing import Any

import torch
from torch import Tensor, nn

from .attention_scores import AdditiveScore
from .mixer_base import MixerOutput, RecurrentMixer, carry
from .mixer_gru import gru_step
from .mixer_reading import MemoryReader
from .mixer_transition import init_gates
from .notation import State


class BahdanauGRUMixer(MemoryReader, RecurrentMixer):
    """The attentive decoder of Bahdanau: each step reads the memory with the previous state, then moves on.

        e_tj = v . tanh(A s_{t-1} + K m_j + k)                            (1)
        alpha_t = softmax_j(e_tj)                                         (2)
        c_t = sum_j alpha_tj m_j                                          (3)
        s_t = GRU(W x_t + b + C c_t, U s_{t-1} + u), gates in order r, z, n  (4)

    with the memory m_1 ... m_S and the GRU of ``GRUMixer``. ``prepare_memory`` computes K m_j + k once a sequence.

    Args:
        input_size: width D_in of the input.
        hidden_size: width D of the state and the output.
        memory_size: width C of a memory slot.
        attention_size: width A of the comparison in (1).

    Shapes: x (B, T, D_in), mask (B, T), memory (keys (B, S, A), values (B, S, C), mask (B, S)) -> s (B, T, D),
        state {"h": (B, D) float32}, weights (B, 1, T, S), context (B, T, C).
    Padding: a masked step carries s unchanged. A masked slot of the memory gets weight 0; if all are, c_t is 0.
    Cost: O(B T (S A + S C + D (D_in + C + D))) time in T dependent steps; O(B D) state, whatever the length.
    Raises: ValueError: x is not (B, T, D_in), mask is not (B, T), or the memory is missing or does not fit.
        TypeError: a mask is not boolean.
    Source: Bahdanau et al. 2015, Neural Machine Translation by Jointly Learning to Align and Translate, ICLR.
    Reference: tests/reference.py::bahdanau_gru.
    """

    def __init__(self, *, input_size: int, hidden_size: int, memory_size: int, attention_size: int) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.memory_size = memory_size
        self.score = AdditiveScore(query_size=hidden_size, key_size=memory_size, attention_size=attention_size)
        self.input_to_gates = nn.Linear(input_size, 3 * hidden_size)
        self.context_to_gates = nn.Linear(memory_size, 3 * hidden_size, bias=False)
        self.state_to_gates = nn.Linear(hidden_size, 3 * hidden_size)

    def init_weights(self) -> None:
        """Xavier-uniform matrices for input and context, orthogonal recurrent matrices, gate by gate; biases zero."""
        init_gates(self.input_to_gates, 3, nn.init.xavier_uniform_)
        init_gates(self.context_to_gates, 3, nn.init.xavier_uniform_)
        init_gates(self.state_to_gates, 3, nn.init.orthogonal_)

    def run(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        prepared = self.checked(memory, x.shape[0])
        h = state["h"]
        columns = self.input_to_gates(x).unbind(1)  # (B, 3 D) each
        masks = [None] * x.shape[1] if mask is None else mask.unbind(1)
        trail, weights, contexts = [], [], []
        for real, gates in zip(masks, columns, strict=True):
            query = h.to(x.dtype)
            alpha, read = self.read(query[:, None], prepared)  # (B, 1, S), (B, 1, C)
            context = read[:, 0]  # (B, C)
            entering = (gates + self.context_to_gates(context)).to(h.dtype)
            h = carry(real, gru_step(entering, self.state_to_gates(query).to(h.dtype), h), h)
            trail.append(h)
            weights.append(alpha)
            contexts.append(context)
        states = torch.stack(trail, dim=1)  # (B, T, D)
        return MixerOutput(
            states.to(x.dtype),
            {"h": h} if return_state else {},
            {"h": states} if return_steps else None,
            weights=torch.stack(weights, dim=2),  # (B, 1, T, S)
            context=torch.stack(contexts, dim=1),  # (B, T, C)
        )
