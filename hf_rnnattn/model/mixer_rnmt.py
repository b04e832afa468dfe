"""The lowest decoder layer of GNMT and RNMT+: a cell that reads what was found at the step before, and then asks."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .attention import Memory, masked_softmax
from .attention_scores import MultiHeadAdditiveScore
from .mixer_base import MixerOutput, RecurrentMixer, carry
from .mixer_normed import GATES, build_gate_norm, init_gate_norm, normed_gates, normed_lstm_step
from .mixer_reading import MemoryReader
from .mixer_transition import init_gates
from .notation import State


class RNMTMixer(MemoryReader, RecurrentMixer):
    """An LSTM that reads the encoder with several heads of additive attention, after each step.

        h_t, c_t = LSTM([x_t; a_{t-1}], h_{t-1}, c_{t-1})                            (1)
        p_j = W_p (W_m m_j + b_m) + b_p                                              (2)
        e_tj of head k = v . tanh(A (W_q h_t + b_q)_k + B p_jk)                      (3)
        a_t = [a_t1; ...; a_tH],   a_tk = sum_j softmax_j(e_tj of head k) p_jk       (4)

    with the LSTM of ``NormedLSTMMixer``, memory m_1 ... m_S, and heads that are the H parts of equal width of p_j, of
    the query and of a_t; A, B and v are those of every head. W_m brings the memory to the width of the decoder, and is
    left out where it has that width. The output is h_t; a_t is the context, which layers above and the read-out may
    read (``feed_context``, readout ``concat``). Before the first step a is zero. Chen et al. and their code begin with
    what a query of zeros finds.

    Args:
        input_size: width D_in of the input.
        hidden_size: width D of the state and the output.
        memory_size: width C of a memory slot.
        attention_size: width A of p_j and of the context; a multiple of ``num_heads``.
        num_heads: number H of heads.
        dropout: probability on the weights.

    Shapes: x (B, T, D_in), mask (B, T), memory (keys (B, S, A), values (B, S, A), mask (B, S)) -> h (B, T, D),
        state {"h": (B, D), "c": (B, D), "context": (B, A)} float32, weights (B, H, T, S), context (B, T, A).
    Padding: a masked step carries h, c and a unchanged. A masked slot of the memory gets weight 0.
    Cost: O(B T (S A + D (D_in + A + D))) time in T dependent steps; O(B (D + A)) state, whatever the length.
    Raises: ValueError: x is not (B, T, D_in), mask is not (B, T), or the memory is missing or does not fit.
        TypeError: a mask is not boolean.
    Source: Chen et al. 2018, The Best of Both Worlds, ACL, and the details from its authors' code in Lingvo (Shen et
        al. 2019); Wu et al. 2016, Google's Neural Machine Translation System, for where it stands in the decoder.
    Reference: tests/reference.py::rnmt_lstm.
    """

    takes_heads: ClassVar[bool] = True
    state_names: tuple[str, ...] = ("h", "c", "context")
    encoder_states: tuple[str, ...] = ("h", "c")

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        attention_size: int,
        num_heads: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.memory_size = memory_size
        self.value_size = attention_size
        self.dropout = dropout
        self.memory_proj = nn.Identity() if memory_size == hidden_size else nn.Linear(memory_size, hidden_size)
        self.score = MultiHeadAdditiveScore(
            query_size=hidden_size, key_size=hidden_size, attention_size=attention_size, num_heads=num_heads
        )
        self.input_to_gates = nn.Linear(input_size, GATES * hidden_size, bias=False)
        self.context_to_gates = nn.Linear(attention_size, GATES * hidden_size, bias=False)
        self.state_to_gates = nn.Linear(hidden_size, GATES * hidden_size, bias=False)
        self.gate_norm = build_gate_norm(hidden_size)

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"h": (self.hidden_size,), "c": (self.hidden_size,), "context": (self.score.key_width,)}

    def init_weights(self) -> None:
        """As ``NormedLSTMMixer``; the matrix of the context as that of the input."""
        init_gates(self.input_to_gates, GATES, nn.init.xavier_uniform_)
        init_gates(self.context_to_gates, GATES, nn.init.xavier_uniform_)
        init_gates(self.state_to_gates, GATES, nn.init.orthogonal_)
        init_gate_norm(self.gate_norm)

    def prepare_memory(self, memory: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """memory (B, S, C) -> keys, B p_jk of every head, and values p_j: (B, S, A) each."""
        self.check_memory(memory, mask)
        clean = memory if mask is None else torch.where(mask[..., None], memory, 0.0)
        keys, values = self.score.prepare(self.memory_proj(clean))
        return keys, values

    def read(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """query (B, T, D) -> weights (B, H, T, S) and contexts (B, T, A)."""
        allowed = None if memory.mask is None else memory.mask[:, None, None]  # (B, 1, 1, S)
        alpha = masked_softmax(self.score(query, memory.keys), allowed).to(memory.values.dtype)
        kept = nn.functional.dropout(alpha, p=self.dropout, training=self.training)
        found = torch.matmul(kept, self.score.split_heads(memory.values))  # (B, H, T, d)
        return alpha, found.transpose(1, 2).flatten(2)

    def gate_activations(self, x: Tensor, before: State) -> State:
        h, context = before["h"], before["context"]
        recurrent = self.context_to_gates(context.to(x.dtype)) + self.state_to_gates(h.to(x.dtype))
        return normed_gates(self.gate_norm, (self.input_to_gates(x) + recurrent).to(h.dtype))

    def run(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        prepared = self.checked(memory, x.shape[0])
        h, c, context = (state[name] for name in self.state_names)
        masks = [None] * x.shape[1] if mask is None else mask.unbind(1)
        trail, weights = [], []
        for real, entering in zip(masks, self.input_to_gates(x).unbind(1), strict=True):
            recurrent = self.context_to_gates(context.to(x.dtype)) + self.state_to_gates(h.to(x.dtype))
            moved = normed_lstm_step(self.gate_norm, (entering + recurrent).to(h.dtype), c)
            h, c = (carry(real, new, old) for new, old in zip(moved, (h, c), strict=True))
            alpha, found = self.read(h.to(x.dtype)[:, None], prepared)  # (B, H, 1, S), (B, 1, A)
            context = carry(real, found[:, 0].to(context.dtype), context)
            trail.append((h, c, context))
            weights.append(alpha)
        hidden, cells, contexts = (torch.stack(column, dim=1) for column in zip(*trail, strict=True))
        return MixerOutput(
            hidden.to(x.dtype),
            dict(zip(self.state_names, trail[-1], strict=True)) if return_state else {},
            dict(zip(self.state_names, (hidden, cells, contexts), strict=True)) if return_steps else None,
            weights=torch.cat(weights, dim=2),  # (B, H, T, S)
            context=contexts.to(x.dtype),
        )
