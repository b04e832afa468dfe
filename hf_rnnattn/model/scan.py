"""The elementwise recurrence h_t = a_t * h_{t-1} + b_t: the scan behind every cell whose gates do not read h.

All ways to compute it share one signature, a ``Solver``: ``(a, b, start, reverse) -> states``, with a, b (B, T, D),
start (B, D) and states (B, T + 1, D), which hold ``start`` too, first in time or, if ``reverse``, last:

    states_0 = start,  states_{t+1} = a_t * states_t + b_t       (forward)
    states_T = start,  states_t = a_t * states_{t+1} + b_t       (reverse)

The gradient of the one is the other with the same ``a``, so a solver is all that a new device needs, and gradients of
every order follow. ``device_solver`` chooses it.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .exported_loop import is_exported_sequence, loop_over_time

Solver = Callable[[Tensor, Tensor, Tensor, bool], Tensor]


def linear_scan(a: Tensor, b: Tensor, h0: Tensor, mask: Tensor | None = None) -> Tensor:
    """All states of h_t = a_t * h_{t-1} + b_t.

    On CPUs, and in exported graphs, one operation a step, in time order; on GPUs one kernel, written in Triton;
    elsewhere, and in compiled graphs, O(log T) passes over the whole sequence. All stay near float32's own precision
    at T = 8192 with a saturated at 0 and 1.

    Args:
        a: (B, T, D), the decay; stable for |a| <= 1.
        b: (B, T, D), what is added.
        h0: (B, D), the state before the first step.
        mask: (B, T) bool; a masked step repeats its predecessor. None if all steps are real.

    Returns:
        (B, T, D): h_1 ... h_T.

    Raises:
        ValueError: a, b and h0 do not fit together.
    """
    if a.shape != b.shape or a.dim() != 3 or h0.shape != (a.shape[0], a.shape[2]):
        raise ValueError(
            f"a and b must be (batch, length, size) and h0 (batch, size), got a {tuple(a.shape)}, b {tuple(b.shape)}, "
            f"h0 {tuple(h0.shape)}"
        )
    if mask is not None:
        real = mask[..., None]
        a, b = torch.where(real, a, 1.0), torch.where(real, b, 0.0)
    if a.shape[1] == 1:
        return torch.addcmul(b, a, h0[:, None])
    if is_exported_sequence(a):
        return loop_over_time(lambda state, step: (torch.addcmul(step[1], step[0], state[0]),), (a, b), (h0,))[0]
    if torch.compiler.is_compiling():  # a traced graph: plain operations, differentiated by the tracer
        return doubling_states(a, b, h0, False)[:, 1:]
    after: Tensor
    _, after = _Scan.apply(a, b, h0, False, device_solver(a.device.type))  # type: ignore[no-untyped-call]
    return after


def sequential_states(a: Tensor, b: Tensor, start: Tensor, reverse: bool) -> Tensor:
    """The solver that walks time with one fused operation a step into preallocated memory. O(T) steps, O(B T D) work.

    Not differentiable by itself: ``linear_scan`` gives it its gradient.
    """
    states = start.new_empty(a.shape[0], a.shape[1] + 1, a.shape[2])
    columns, decays, inputs = states.unbind(1), a.unbind(1), b.unbind(1)
    if reverse:
        columns, decays, inputs = columns[::-1], decays[::-1], inputs[::-1]
    columns[0].copy_(start)
    for t, (decay, entering) in enumerate(zip(decays, inputs, strict=True)):
        torch.addcmul(entering, decay, columns[t], out=columns[t + 1])
    return states


def doubling_states(a: Tensor, b: Tensor, start: Tensor, reverse: bool) -> Tensor:
    """The solver that joins ever longer stretches of time: O(log T) passes, O(B T D log T) work.

    Two neighbouring stretches h -> a_1 h + b_1 and h -> a_2 h + b_2 join to h -> a_2 a_1 h + (a_2 b_1 + b_2). No
    division and no logarithm, so gates saturated at 0 and 1 are exact.
    """
    if reverse:
        return doubling_states(a.flip(1), b.flip(1), start, False).flip(1)
    # The start becomes a step of its own that forgets everything before it (a = 0).
    total = torch.cat([start[:, None], b], dim=1)  # (B, T + 1, D)
    decay = torch.cat([torch.zeros_like(start[:, None]), a], dim=1)
    for level in range(_doublings(a.shape[1])):
        total = torch.addcmul(total, decay, _delay(total, 2**level))
        decay = decay * _delay(decay, 2**level)
    return total


def _doublings(length: int) -> int:
    """How often 1 is doubled until it exceeds ``length``."""
    doublings = 0
    while 2**doublings <= length:  # not bit_length(): a compiled graph then serves all lengths up to the next power
        doublings += 1
    return doublings


def _delay(x: Tensor, steps: int) -> Tensor:
    """``x`` (B, T, D) moved ``steps`` later in time; zeros enter, harmless since the first step's decay is 0."""
    return torch.nn.functional.pad(x, (0, 0, steps, 0))[:, : x.shape[1]]


@cache
def device_solver(device: str) -> Solver:
    """The fastest solver for a type of device that runs there."""
    if device == "cpu":
        return sequential_states
    if device == "cuda":
        try:
            from .scan_triton import triton_states

            step = torch.zeros(1, 1, 1, device=device)
            triton_states(step, step, step[0], False)
        except Exception as error:  # no Triton, no compiler for what it writes, a GPU too old for it
            warnings.warn(f"the scan runs without its GPU kernel, several times slower: {error!r}", stacklevel=3)
        else:
            return triton_states
    return doubling_states


class _Scan(torch.autograd.Function):
    """A solver with its gradient, which is the same recurrence run the other way.

    Returns all states (B, T + 1, D) and, of the same memory, those after a step (B, T, D): who uses the second alone
    spares the gradient of the first. In the order of a forward scan, with g the gradient of h,

        total_T = g_T,  total_t = g_t + a_{t+1} * total_{t+1}
        d/db_t = total_t,  d/da_t = total_t * h_{t-1},  d/dh_0 = g_0 + a_1 * total_1 = total_0
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor, reverse: bool, solver: Solver) -> tuple[Tensor, Tensor]:
        states = solver(a, b, start, reverse)
        ctx.save_for_backward(a, states)
        ctx.reverse, ctx.solver = reverse, solver
        ctx.set_materialize_grads(False)
        return states, _but_first(states, reverse)

    @staticmethod
    def backward(ctx: Any, grad_all: Tensor | None, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        a, states = ctx.saved_tensors
        reverse = ctx.reverse
        first, last = (-1, 0) if reverse else (0, -1)  # where time starts and ends
        if grad_all is not None:
            if grad is not None:
                grad_all = grad_all + torch.nn.functional.pad(grad, (0, 0, 0, 1) if reverse else (0, 0, 1, 0))
            every = _back(a, grad_all, grad_all[:, last], ctx)  # (B, T + 1, D): total_0 ... total_T
            total, grad_start = _but_first(every, reverse), every[:, first]
        elif grad is not None:
            total = _back(_but_first(a, reverse), grad, grad[:, last], ctx)  # (B, T, D): total_1 ... total_T
            grad_start = a[:, first] * total[:, first]
        else:
            return None, None, None, None, None
        grad_a = total * _but_first(states, not reverse) if ctx.needs_input_grad[0] else None
        return grad_a, total, grad_start, None, None


def _back(a: Tensor, grad: Tensor, start: Tensor, ctx: Any) -> Tensor:
    """The scan against the time of ``ctx``: from ``start`` through all of ``grad`` but its last in time."""
    states: Tensor
    states, _ = _Scan.apply(  # type: ignore[no-untyped-call]
        a, _but_first(grad, not ctx.reverse), start, not ctx.reverse, ctx.solver
    )
    return states


def _but_first(steps: Tensor, reverse: bool) -> Tensor:
    """``steps`` (B, T, D) without the first in time."""
    return steps[:, :-1] if reverse else steps[:, 1:]
