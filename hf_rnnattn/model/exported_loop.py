"""Recurrence in exported graphs: a loop over time that is one operation, for sequences of any length."""

from collections.abc import Callable

import torch
from torch import Tensor

States = tuple[Tensor, ...]
Step = Callable[[States, States], States]
_Both = tuple[States, States]  # named here, since torch's tracer cannot evaluate the annotation of an inner function


def is_exported_sequence(x: Tensor) -> bool:
    """Whether ``x`` (B, T, D), of more than one step or of any number of them, is being read by ``torch.export``."""
    return torch.compiler.is_exporting() and (not isinstance(x.shape[1], int) or x.shape[1] > 1)


def loop_over_time(step: Step, entering: States, start: States, collected: int | None = None) -> States:
    """The states after every step, (B, T, ...) each, in an exported graph.

    A Python loop would be exported with the number of steps of the example, one after another.

    Args:
        step: (states, what enters at this step) -> states; each tensor (B, ...).
        entering: what the steps read, (B, T, ...) each.
        start: the states before the first step, (B, ...) each.
        collected: how many of the first states are given after every step, of the others only the last; None: all.
    """
    from torch._higher_order_ops.scan import scan  # has no public name yet

    def body(states: States, read: States) -> _Both:
        new = step(states, read)
        return new, tuple(
            [state.clone() for state in new[:collected]]
        )  # the operator forbids aliases of what is carried

    by_time = tuple([tensor.movedim(1, 0) for tensor in entering])  # (T, B, ...)
    last, columns = scan(body, start, by_time)
    return (*[states.movedim(0, 1) for states in columns], *last[len(columns) :])
