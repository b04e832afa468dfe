"""The decoder of Luong: a stack of cells, attention above it, and what was read fed back to the next step."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .attention_scores import build_score
from .mixer_base import MixerOutput, RecurrentMixer, carry
from .mixer_gru import GRUMixer
from .mixer_lstm import LSTMMixer
from .mixer_reading import MemoryReader
from .notation import State

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "none": nn.Identity}


class LuongMixer(MemoryReader, RecurrentMixer):
    """A stack of N cells that reads the encoder with its top state; the attentional vector is the output.

        q_t = cell_N(... cell_2(cell_1([x_t; a_{t-1}])))   each cell with its own state   (1)
        e_tj = score(q_t, m_j)                                                            (2)
        c_t = sum_j softmax_j(e_tj) m_j                                                   (3)
        a_t = tanh(W_a [c_t; q_t] + b_a)                                                  (4)

    Without input feeding, cell 1 reads x_t alone; the stack then runs over the whole sequence before anything is read.
    The stack is one mixer, since its lowest cell waits for the attention above it.

    Args:
        input_size: width D_in of the input.
        hidden_size: width D of every cell, of a_t and so of the output.
        memory_size: width C of a memory slot.
        attention_size: width A of the comparison of additive scores.
        score: ``additive``, ``dot`` or ``general``.
        input_feeding: whether cell 1 reads a_{t-1}.
        attentional_activation: ``tanh``, or ``none`` to leave it out of (4), as OpenNMT-py does for additive scores.
        depth: number N of cells.
        cell_norm, norm_eps: norms inside the cells, see ``SteppingMixer``.

    Shapes: x (B, T, D_in), mask (B, T), memory (keys (B, S, A), values (B, S, C), mask (B, S)) -> a (B, T, D),
        state {"h.0": (B, D), ...}, of LSTMs also "c.0", ..., with input feeding also "fed": (B, D), float32;
        weights (B, 1, T, S), context (B, T, C).
    Padding: a masked step carries the states unchanged. A masked slot of the memory gets weight 0.
    Cost: O(B T (S C + D (D_in + C + N D))) time, in T dependent steps of the whole stack with input feeding.
    Raises: ValueError: the score is unknown or does not fit the widths, x is not (B, T, D_in), mask is not (B, T), or
        the memory is missing or does not fit. TypeError: a mask is not boolean.
    Source: Luong et al. 2015, Effective Approaches to Attention-based Neural Machine Translation, EMNLP.
    Reference: tests/reference.py::luong_gru, luong_lstm.
    """

    cells: Any  # a ModuleList
    takes_depth: ClassVar[bool] = True
    takes_score: ClassVar[bool] = True
    cell_class: ClassVar[type[Any]]

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        attention_size: int,
        score: str = "general",
        input_feeding: bool = True,
        attentional_activation: str = "tanh",
        depth: int = 1,
        cell_norm: str = "none",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        norms: dict[str, Any] = {"cell_norm": cell_norm, "norm_eps": norm_eps}
        self.memory_size = memory_size
        self.input_feeding = input_feeding
        self.cells = nn.ModuleList()
        for k in range(depth):
            width = hidden_size if k else input_size + (hidden_size if input_feeding else 0)
            self.cells.append(self.cell_class(input_size=width, hidden_size=hidden_size, **norms))
        self.score = build_score(
            score, query_size=hidden_size, key_size=memory_size, attention_size=attention_size, **norms
        )
        self.attentional_proj = nn.Linear(memory_size + hidden_size, hidden_size)
        self.activation = ACTIVATIONS[attentional_activation]()
        self.encoder_states = tuple([f"{name}.{k}" for k in range(depth) for name in self.cell_class.state_names])
        self.initialised_states = tuple([f"{self.cell_class.state_names[0]}.{k}" for k in range(depth)])
        self.state_names = (*self.encoder_states, "fed") if input_feeding else self.encoder_states

    def run(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        prepared = self.checked(memory, x.shape[0])
        if not self.input_feeding:
            return self._read_at_once(x, mask, state, prepared, return_steps, return_state)
        outputs: list[MixerOutput] = []
        for t in range(x.shape[1]):
            fed = state["fed"]
            real = None if mask is None else mask[:, t : t + 1]
            entering = torch.cat([x[:, t : t + 1], fed[:, None].to(x.dtype)], dim=-1)  # (B, 1, D_in + D)
            output = self._read_at_once(entering, real, state, prepared, False, True)
            attentional = output.hidden[:, 0].to(fed.dtype)
            state = {**output.state, "fed": carry(None if real is None else real[:, 0], attentional, fed)}
            outputs.append(output._replace(state=state))
        return _joined(outputs, return_steps, return_state)

    def _read_at_once(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        """The stack over all steps of x, then one reading for all of them."""
        top = x
        states: State = {}
        steps: State = {}
        for k, cell in enumerate(self.cells):
            held = {name: state[f"{name}.{k}"] for name in cell.state_names}
            output = cell.run(top, mask, held, None, return_steps, return_state)
            top = output.hidden
            states |= {f"{name}.{k}": tensor for name, tensor in output.state.items()}
            steps |= {f"{name}.{k}": tensor for name, tensor in (output.steps or {}).items()}
        alpha, context = self.read(top, memory)  # (B, T, S), (B, T, C)
        attentional = self.activation(self.attentional_proj(torch.cat([context, top], dim=-1)))
        return MixerOutput(
            attentional.to(x.dtype),  # which autocasting narrowed
            states,
            steps if return_steps else None,
            weights=alpha[:, None],
            context=context,
        )


def _joined(outputs: list[MixerOutput], return_steps: bool, return_state: bool) -> MixerOutput:
    """Outputs of one step each as the output of all of them."""
    steps = None
    if return_steps:
        steps = {name: torch.stack([out.state[name] for out in outputs], dim=1) for name in outputs[-1].state}
    return MixerOutput(
        torch.cat([out.hidden for out in outputs], dim=1),
        outputs[-1].state if return_state else {},
        steps,
        weights=torch.cat([out.weights for out in outputs if out.weights is not None], dim=2),
        context=torch.cat([out.context for out in outputs if out.context is not None], dim=1),
    )


class LuongGRUMixer(LuongMixer):
    """Luong's decoder with GRUs: see ``LuongMixer`` and ``GRUMixer``."""

    cell_class: ClassVar[type[Any]] = GRUMixer


class LuongLSTMMixer(LuongMixer):
    """Luong's decoder with LSTMs: see ``LuongMixer`` and ``LSTMMixer``."""

    cell_class: ClassVar[type[Any]] = LSTMMixer
