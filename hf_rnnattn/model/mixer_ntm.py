"""The neural Turing machine: an LSTM that reads and writes a memory of slots."""

from typing import Any, ClassVar

import torch
import transformers.initialization as init
from torch import Tensor, nn

from .addressing import ADDRESS_NUMBERS, Asked, address, ask, read, write
from .exported_loop import States, is_exported_sequence, loop_over_time
from .mixer_base import MixerOutput, RecurrentMixer, carry
from .mixer_lstm import init_forget_gate, lstm_step
from .mixer_transition import init_gates
from .notation import State, state_dtype

EMPTY = 1e-6  # what stands everywhere in a memory that nothing was written to; not 0, which has no direction

# What heads do before they have learnt anything, the last numbers of ``ask``: they keep their place, sharp, rather
# than look for another one; those that write move on by a slot at each step, those that read stay. Without this, or
# with heads that all stay, copying was learnt by the controller and one slot, and only for lengths of the training.
READING = (0.0, -3.0, 0.0, 2.0, 1.0, 1.5)
WRITING = (0.0, -3.0, 0.0, 0.0, 2.0, 1.5)


class NTMMixer(RecurrentMixer):
    """Neural Turing machine: an LSTM controller with H read heads and H write heads on N slots of width M.

        h_t, c_t = LSTM(W x_t + b + R r_{t-1} + U h_{t-1} + u, c_{t-1})             (1)
        k, beta, g, s, gamma of each head, e, a of each write head: linear in h_t    (2)
        w^c(i) = softmax_i(beta cosine(k, M_{t-1}(i)))                               (3)
        w^g = g w^c + (1 - g) w_{t-1}                                                (4)
        w~(i) = sum_o s(o) w^g(i - o), o in -1, 0, 1, around the end                 (5)
        w_t(i) = w~(i)^gamma / sum_j w~(j)^gamma                                     (6)
        M_t(i) = M_{t-1}(i) prod (1 - w_t(i) e) + sum w_t(i) a, over write heads     (7)
        r_t = sum_i w_t(i) M_t(i), of each read head                                 (8)
        y_t = V [h_t; r_t] + v                                                       (9)

    with beta = softplus(.), g and e = sigmoid(.), s = softmax(.), gamma = 1 + softplus(.), a = tanh(.). All heads look
    at the memory as the step before left it; read heads read what the write heads have made of it. At the start the
    memory is the same everywhere, and every head looks at the first slot: no slot differs from another but by where
    the heads are, so that what is learnt does not depend on the number of slots.

    Args:
        input_size: width D_in of the input.
        hidden_size: width D of the controller and the output.
        memory_slots: number N of slots.
        memory_slot_size: width M of a slot.
        memory_heads: number H of read heads, and of write heads.

    Shapes: x (B, T, D_in), mask (B, T) -> y (B, T, D), state {"h": (B, D), "c": (B, D), "memory": (B, N, M),
        "reads": (B, H, M), "read_weights": (B, H, N), "write_weights": (B, H, N)} float32.
    Padding: a masked step carries all of them unchanged.
    Cost: O(B T (D (D_in + D + H M) + H N M)) time in T dependent steps; O(B (D + N (M + H))) state, whatever the
        length, which training keeps for each step.
    Raises: ValueError: x is not (B, T, D_in), or mask is not (B, T). TypeError: mask is not boolean.
    Source: Graves et al. 2014, Neural Turing Machines, arXiv 1410.5401; Collier and Beel 2018, Implementing Neural
        Turing Machines, for the memory at the start.
    Reference: tests/reference_ntm.py.
    """

    takes_slots: ClassVar[bool] = True
    state_names: tuple[str, ...] = ("h", "c", "memory", "reads", "read_weights", "write_weights")
    encoder_states: tuple[str, ...] = ("h", "c")

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        memory_slots: int = 128,
        memory_slot_size: int = 20,
        memory_heads: int = 1,
    ) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.memory_slots = memory_slots
        self.memory_slot_size = memory_slot_size
        self.memory_heads = memory_heads
        self.read_size = memory_heads * memory_slot_size
        self.address_size = 2 * memory_heads * (memory_slot_size + ADDRESS_NUMBERS)
        self.input_to_gates = nn.Linear(input_size, 4 * hidden_size)
        self.read_to_gates = nn.Linear(self.read_size, 4 * hidden_size, bias=False)
        self.state_to_gates = nn.Linear(hidden_size, 4 * hidden_size)
        self.state_to_heads = nn.Linear(hidden_size, self.address_size + 2 * self.read_size)
        self.output_proj = nn.Linear(hidden_size + self.read_size, hidden_size)

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        slots, width, heads = self.memory_slots, self.memory_slot_size, self.memory_heads
        return {
            "h": (self.hidden_size,),
            "c": (self.hidden_size,),
            "memory": (slots, width),
            "reads": (heads, width),
            "read_weights": (heads, slots),
            "write_weights": (heads, slots),
        }

    def init_weights(self) -> None:
        """The controller as an LSTM, the rest Xavier-uniform; biases of the heads are ``READING`` and ``WRITING``."""
        init_gates(self.input_to_gates, 4, nn.init.xavier_uniform_)
        init_gates(self.read_to_gates, 4, nn.init.xavier_uniform_)
        init_gates(self.state_to_gates, 4, nn.init.orthogonal_)
        init_forget_gate(self.input_to_gates.bias)
        init_gates(self.state_to_heads, 1, nn.init.xavier_uniform_)
        self._init_heads(self.state_to_heads.bias)
        init_gates(self.output_proj, 1, nn.init.xavier_uniform_)

    def _init_heads(self, bias: Tensor) -> None:
        numbers = torch.zeros_like(bias)
        own = numbers[: self.address_size].view(2, self.memory_heads, -1)[..., -ADDRESS_NUMBERS:]  # (2, H, 6)
        own[0], own[1] = numbers.new_tensor(READING), numbers.new_tensor(WRITING)
        init.copy_(bias, numbers)

    def first_state(self, batch: int, *, dtype: torch.dtype, device: torch.device) -> State:
        """An empty memory, every head at its first slot, and zeros."""
        state = super().first_state(batch, dtype=dtype, device=device)
        for name in ("memory", "reads"):
            state[name] = torch.full_like(state[name], EMPTY)
        first = torch.arange(self.memory_slots, device=device) == 0  # (N,)
        for name in ("read_weights", "write_weights"):
            # Two tensors: one under two names would be taken for one state by torch.export.
            state[name] = first.to(state_dtype(dtype)).expand_as(state[name]).clone()
        return state

    def run(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        start = tuple([state[name] for name in self.state_names])
        entering = self.input_to_gates(x).to(start[0].dtype)  # (B, T, 4 D)
        loop = self._exported_loop if is_exported_sequence(x) else self._loop
        wanted = self.state_names if return_steps else ("h", "reads")
        steps, final = loop(entering, mask, start, x.dtype, wanted)
        seen = torch.cat([steps["h"], steps["reads"].flatten(2)], dim=-1)  # (B, T, D + H M)
        return MixerOutput(
            self.output_proj(seen.to(x.dtype)).to(x.dtype),
            dict(zip(self.state_names, final, strict=True)) if return_state else {},
            steps if return_steps else None,
        )

    def _loop(
        self, entering: Tensor, mask: Tensor | None, state: States, dtype: torch.dtype, wanted: tuple[str, ...]
    ) -> tuple[State, States]:
        """The ``wanted`` states after each step, (B, T, ...) each, and all states after the last one."""
        places = [self.state_names.index(name) for name in wanted]
        masks = [None] * entering.shape[1] if mask is None else mask.unbind(1)
        trail = []
        for real, gates in zip(masks, entering.unbind(1), strict=True):
            state = self._advance(gates, real, state, dtype)
            trail.append([state[i] for i in places])
        columns = [torch.stack(column, dim=1) for column in zip(*trail, strict=True)]
        return dict(zip(wanted, columns, strict=True)), state

    def _exported_loop(
        self, entering: Tensor, mask: Tensor | None, start: States, dtype: torch.dtype, wanted: tuple[str, ...]
    ) -> tuple[State, States]:
        """As ``_loop``, in a graph for any number of steps."""

        def step(state: States, read: States) -> States:
            return self._advance(read[0], read[1] if len(read) > 1 else None, state, dtype)

        columns = loop_over_time(step, (entering,) if mask is None else (entering, mask), start)
        steps = dict(zip(self.state_names, columns, strict=True))
        return {name: steps[name] for name in wanted}, tuple([column[:, -1] for column in columns])

    def _advance(self, gates: Tensor, real: Tensor | None, state: States, dtype: torch.dtype) -> States:
        """Equations (1) to (8): ``gates`` (B, 4 D) enter, ``real`` (B,) bool is False where states are kept."""
        h, c, memory, reads, *weights = state
        h, c = lstm_step(gates + self._recur(h, reads, dtype), c)
        asked, changing = self._command(h, dtype)
        looking = address(memory, asked, torch.cat(weights, dim=1))  # (B, 2 H, N)
        read_weights, write_weights = looking.chunk(2, dim=1)
        erase, add = changing.unbind(1)
        memory = write(memory, write_weights, erase.sigmoid(), add.tanh())
        new = (h, c, memory, read(memory, read_weights), read_weights, write_weights)
        return tuple([carry(real, after, before) for after, before in zip(new, state, strict=True)])

    def _recur(self, h: Tensor, reads: Tensor, dtype: torch.dtype) -> Tensor:
        """What states bring to the controller's gates: h (..., D), reads (..., H, M) -> (..., 4 D)."""
        recurrent: Tensor = self.state_to_gates(h.to(dtype)) + self.read_to_gates(reads.flatten(-2).to(dtype))
        return recurrent.to(h.dtype)

    def _command(self, h: Tensor, dtype: torch.dtype) -> tuple[Asked, Tensor]:
        """Equation (2): h (..., D) -> what is asked of 2 H heads, those that read first; e and a, (..., 2, H, M)."""
        numbers = self.state_to_heads(h.to(dtype)).to(h.dtype)
        heads, width = self.memory_heads, self.memory_slot_size
        addressing = numbers[..., : self.address_size].view(*h.shape[:-1], 2 * heads, width + ADDRESS_NUMBERS)
        changing = numbers[..., self.address_size :].view(*h.shape[:-1], 2, heads, width)
        return ask(addressing), changing

    def gate_activations(self, x: Tensor, before: State) -> State:
        """i, f and o of the controller (B, T, D), e of the write heads (B, T, H M), and g of both kinds (B, T, H)."""
        h, c = before["h"], before["c"]
        gates = self.input_to_gates(x).to(h.dtype) + self._recur(h, before["reads"], x.dtype)  # (B, T, 4 D)
        i, f, _, o = gates.sigmoid().chunk(4, -1)
        h, c = lstm_step(gates, c)
        asked, changing = self._command(h, x.dtype)
        g_read, g_write = asked.gate.squeeze(-1).chunk(2, -1)
        erase = changing[..., 0, :, :].flatten(-2).sigmoid()
        return {"i": i, "f": f, "o": o, "g_read": g_read, "g_write": g_write, "e": erase}
