"""Recurrence and self-attention in one cell."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from .attention_growing import GrowingMemory, read_slots
from .exported_loop import States, is_exported_sequence, loop_over_time
from .mixer_base import MixerOutput, RecurrentMixer, carry
from .mixer_transition import init_gates
from .notation import State

Read = Callable[[Tensor], tuple[Tensor, Tensor]]  # proposal (B, D) -> what it finds (B, H, d), weights (B, H, S)


class _Walk(NamedTuple):
    """What one pass over the sequence gives."""

    states: States  # h and c after each step, (B, T, D) each
    keys: Tensor | None = None  # (B, H, T, d) of the proposals, and so are the values; None of a second pass
    values: Tensor | None = None
    weights: Tensor | None = None  # (B, H, T, S)


class FusedMixer(RecurrentMixer):
    """A recurrent cell that attends to all its own proposals so far.

        u_t = tanh(W_hh h_{t-1} + W_xh x_t + b_h)                        proposal                 (1)
        a_t = attention(q of u_t; k, v of u_1 ... u_t), H heads          read-out                 (2)
        c_t = tanh(W_cc c_{t-1} + W_xc x_t + W_hc a_t + b_c)             fusion state             (3)
        r_t = tanh(W_rr h_{t-1} + W_xr x_t + b_r)                        residual of recurrence   (4)
        h_t = tanh(W_hc' c_t + W_xh' x_t + b_h') + r_t                   output                   (5)

    with q, k and v linear in u, scores divided by sqrt(d). ``input_to_gates`` holds W_xh, W_xr, W_xc, W_xh' and their
    biases, ``state_to_gates`` W_hh and W_rr, ``cell_to_cell`` W_cc, ``read_to_cell`` W_hc, ``cell_to_hidden`` W_hc'.

    Published descriptions of such a cell name the same quantities, but read to the letter h_t depends neither on a_t,
    nor on the fusion made of it, nor on r_t, and K and V hold the present position only. Here every quantity has the
    role that its name says: c_t takes in what was read, beside its own past; r_t is added to the output; the query
    asks all proposals so far. (1) and (5), printed with the same weights, have weights of their own.

    It contains the simple recurrent network twice. With W_hc = 0 nothing read reaches the states, and c_t is ``elman``
    with W_xc, b_c, W_cc. With W_hc' = W_xh' = 0 and b_h' = 0, h_t is r_t, which is ``elman`` with W_xr, b_r, W_rr.

    An encoder reads in two passes (``second_pass``): the first, causal, gives the keys and values of u_1 ... u_T; in
    the second, (1) to (5) run again from the same start and each a_t reads all of them.

    Args:
        input_size: width D_in of the input.
        hidden_size: width D of both states and the output; a multiple of ``num_heads``.
        num_heads: H of (2).
        dropout: probability on the weights of (2) in training.
        second_pass: whether all proposals are read, those of later tokens too.

    Shapes: x (B, T, D_in), mask (B, T) -> h (B, T, D), state {"h": (B, D), "c": (B, D)} float32, keys (B, H, T, d + 1)
        and values (B, H, T, d) for the cache, self_weights (B, H, T, P + T). ``memory`` is the pair of all keys and
        values so far, P slots, or None. The last feature of a key is 1 for a real token; a slot where it is 0 (a
        masked token, or a place of a static cache that was never written) is not read.
    Padding: a masked step carries h and c, and nobody reads its slot.
    Cost: O(B T D (D_in + D) + B T^2 D) time in T dependent steps, twice that with ``second_pass``; O(B D) state, and
        keys and values of every token.
    Raises: ValueError: x is not (B, T, D_in), mask is not (B, T), or the memory does not fit. TypeError: mask is not
        boolean.
    Source: none with these equations; nearest is Cheng et al. 2016, Long Short-Term Memory-Networks for Machine
        Reading, EMNLP: an LSTM that attends to its own past states.
    Reference: tests/reference_fused.py::fused.
    """

    state_names: tuple[str, ...] = ("h", "c")
    encoder_states: tuple[str, ...] = ("h", "c")
    keeps_keys: ClassVar[bool] = True

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        num_heads: int = 1,
        dropout: float = 0.0,
        second_pass: bool = False,
    ) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.attention_dropout = dropout
        self.second_pass = second_pass
        self.input_to_gates = nn.Linear(input_size, 4 * hidden_size)
        self.state_to_gates = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.cell_to_cell = nn.Linear(hidden_size, hidden_size, bias=False)
        self.read_to_cell = nn.Linear(hidden_size, hidden_size, bias=False)
        self.cell_to_hidden = nn.Linear(hidden_size, hidden_size, bias=False)
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    @property
    def slot_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Heads and width of a key, and of a value."""
        return (self.num_heads, self.head_dim + 1), (self.num_heads, self.head_dim)

    def init_weights(self) -> None:
        """Orthogonal matrices from a state to itself, the others Xavier-uniform, each by itself; biases zero."""
        init_gates(self.input_to_gates, 4, nn.init.xavier_uniform_)
        init_gates(self.state_to_gates, 2, nn.init.orthogonal_)
        init_gates(self.cell_to_cell, 1, nn.init.orthogonal_)
        for layer in (self.read_to_cell, self.cell_to_hidden, self.q_proj, self.k_proj, self.v_proj):
            init_gates(layer, 1, nn.init.xavier_uniform_)

    def run(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        start = (state["h"], state["c"])
        past = self._checked(memory, x.shape[0])
        entering = self.input_to_gates(x).to(start[0].dtype)  # (B, T, 4 D)
        exported = is_exported_sequence(x)
        walk = (self._exported_walk if exported else self._walk)(entering, mask, start, past, x.dtype)
        keys, values = walk.keys, walk.values
        if self.second_pass:
            again = self._exported_second_walk if exported else self._second_walk
            walk = again(entering, mask, start, (keys, values), x.dtype)
        hidden, cells = walk.states
        kept = return_state and not self.second_pass
        return MixerOutput(
            hidden.to(x.dtype),
            {"h": hidden[:, -1], "c": cells[:, -1]} if return_state else {},
            {"h": hidden, "c": cells} if return_steps else None,
            keys=_flagged(keys, mask).to(x.dtype) if kept and keys is not None else None,
            values=values.to(x.dtype) if kept and values is not None else None,
            self_weights=None if walk.weights is None else walk.weights.to(x.dtype),
        )

    def _checked(self, memory: Any, batch: int) -> tuple[Tensor, Tensor] | None:
        if memory is None:
            return None
        if self.second_pass:
            raise ValueError("a cell with second_pass reads whole sequences: memory must be None")
        for name, part, (heads, width) in zip(("keys", "values"), memory, self.slot_shapes, strict=True):
            if part.dim() != 4 or (part.shape[0], part.shape[1], part.shape[3]) != (batch, heads, width):
                raise ValueError(
                    f"memory must hold {name} of shape ({batch}, {heads}, past, {width}), got {tuple(part.shape)}"
                )
        return memory[0], memory[1]

    def _walk(self, entering: Tensor, mask: Tensor | None, state: States, past: Any, dtype: torch.dtype) -> _Walk:
        """Step by step, each proposal added to what is read."""
        earlier = 0 if past is None else past[0].shape[2]
        slots = GrowingMemory() if past is None else GrowingMemory(*_unflagged(past, entering.dtype))
        allowed = _readable(past, mask, entering)

        def read(t: int, u: Tensor) -> tuple[Tensor, Tensor]:
            slots.append(*self._slot(u, dtype))
            return slots.read(
                self._query(u, dtype), None if allowed is None else allowed[:, : earlier + t + 1], self._dropout
            )

        walk = self._loop(entering, mask, state, read, dtype)
        keys, values = slots.joined()
        return walk._replace(keys=keys[:, :, earlier:], values=values[:, :, earlier:])

    def _second_walk(
        self, entering: Tensor, mask: Tensor | None, state: States, slots: Any, dtype: torch.dtype
    ) -> _Walk:
        """Step by step, all of ``slots`` readable at each."""
        return self._loop(
            entering,
            mask,
            state,
            lambda _, u: read_slots(self._query(u, dtype), [slots], mask, self._dropout),
            dtype,
        )

    def _loop(
        self,
        entering: Tensor,
        mask: Tensor | None,
        state: States,
        read: Callable[[int, Tensor], tuple[Tensor, Tensor]],
        dtype: torch.dtype,
    ) -> _Walk:
        masks = [None] * entering.shape[1] if mask is None else mask.unbind(1)
        trail, weights = [], []
        for t, (real, gates) in enumerate(zip(masks, entering.unbind(1), strict=True)):
            state, alpha = self._advance(gates, real, state, partial(read, t), dtype)
            trail.append(state)
            weights.append(alpha)
        slots = weights[-1].shape[-1]
        rows = [nn.functional.pad(alpha, (0, slots - alpha.shape[-1])) for alpha in weights]
        states = tuple([torch.stack([at[i] for at in trail], dim=1) for i in range(2)])
        return _Walk(states, weights=torch.stack(rows, dim=2))

    def _exported_walk(
        self, entering: Tensor, mask: Tensor | None, state: States, past: Any, dtype: torch.dtype
    ) -> _Walk:
        """As ``_walk``, in a graph for any number of steps: the slots have their final number from the start."""
        empty = entering.new_zeros(entering.shape[0], self.num_heads, entering.shape[1], self.head_dim)
        held: States = (empty, empty.clone())
        if past is not None:
            held = tuple([torch.cat(pair, dim=2) for pair in zip(_unflagged(past, empty.dtype), held, strict=True)])
        places = torch.arange(held[0].shape[2], device=entering.device)
        allowed = _readable(past, mask, entering)
        reading = places[None, -entering.shape[1] :]  # (1, T): the slot that each step fills

        def step(states: States, read: States) -> States:
            h, c, keys, values = states
            gates, place, *real = read
            filled: list[Tensor] = []

            def find(u: Tensor) -> tuple[Tensor, Tensor]:
                here = (places == place)[:, None]  # (S, 1)
                for old, new in zip((keys, values), self._slot(u, dtype), strict=True):
                    filled.append(torch.where(here, new[:, :, None], old))
                open_ = (places <= place)[None]  # (1, S)
                readable = open_ if allowed is None else open_ & allowed
                return read_slots(self._query(u, dtype), [(filled[0], filled[1])], readable, 0.0)

            new, _ = self._advance(gates, real[0] if real else None, (h, c), find, dtype)
            return (*new, *filled)

        read = (entering, reading) if mask is None else (entering, reading, mask)
        hidden, cells, keys, values = loop_over_time(step, read, (*state, *held), collected=2)
        length = entering.shape[1]
        return _Walk((hidden, cells), keys[:, :, -length:], values[:, :, -length:])

    def _exported_second_walk(
        self, entering: Tensor, mask: Tensor | None, state: States, slots: Any, dtype: torch.dtype
    ) -> _Walk:
        def find(u: Tensor) -> tuple[Tensor, Tensor]:
            return read_slots(self._query(u, dtype), [slots], mask, 0.0)

        def step(states: States, read: States) -> States:
            return self._advance(read[0], read[1] if len(read) > 1 else None, states, find, dtype)[0]

        read = (entering,) if mask is None else (entering, mask)
        return _Walk(loop_over_time(step, read, state))

    def _advance(
        self, gates: Tensor, real: Tensor | None, state: States, read: Read, dtype: torch.dtype
    ) -> tuple[States, Tensor]:
        """(1) to (5): the states after one step, and the weights of its reading."""
        h, c = state
        size = self.hidden_size
        recurrent = self.state_to_gates(h.to(dtype)).to(h.dtype)  # (B, 2 D)
        u, r = torch.tanh(gates[:, : 2 * size] + recurrent).chunk(2, -1)
        found, alpha = read(u)
        fused = self.cell_to_cell(c.to(dtype)) + self.read_to_cell(found.flatten(1).to(dtype))
        new_c = torch.tanh(gates[:, 2 * size : 3 * size] + fused.to(c.dtype))
        new_h = torch.tanh(gates[:, 3 * size :] + self.cell_to_hidden(new_c.to(dtype)).to(h.dtype)) + r
        return (carry(real, new_h, h), carry(real, new_c, c)), alpha

    @property
    def _dropout(self) -> float:
        return self.attention_dropout if self.training else 0.0

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], self.num_heads, self.head_dim)

    def _query(self, u: Tensor, dtype: torch.dtype) -> Tensor:
        asked: Tensor = self.q_proj(u.to(dtype)).to(u.dtype)
        return self._heads(asked * self.head_dim**-0.5)

    def _slot(self, u: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        narrow = u.to(dtype)
        return self._heads(self.k_proj(narrow).to(u.dtype)), self._heads(self.v_proj(narrow).to(u.dtype))


def _flagged(keys: Tensor, mask: Tensor | None) -> Tensor:
    """Keys (B, H, T, d) with one more feature: 1 for a real token, 0 for a masked one."""
    real = keys.new_ones(keys.shape[0], keys.shape[2]) if mask is None else mask.to(keys.dtype)
    return torch.cat([keys, real[:, None, :, None].expand(-1, keys.shape[1], -1, -1)], dim=-1)


def _unflagged(past: tuple[Tensor, Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return past[0][..., :-1].to(dtype), past[1].to(dtype)


def _readable(past: tuple[Tensor, Tensor] | None, mask: Tensor | None, x: Tensor) -> Tensor | None:
    """(B, P + T) bool, True for the slots of real tokens, before and now; None if all are."""
    if past is None:
        return mask
    now = x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    return torch.cat([past[0][:, 0, :, -1] > 0, now], dim=1)
