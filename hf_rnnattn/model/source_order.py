"""In which order the encoder reads its source: as it was given, from its end, or twice."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class SourceReading(NamedTuple):
    """The places at which the encoder reads, and the tokens that stand there.

    length: R, the number of places.
    tokens: (R,) or (B, R), the number of the token that is read at each place; None: each at its own.
    mask:   (B, R) bool, which places are real; None if all are.
    places: (S,) or (B, S), the place at which each token is read, the last one if it is read twice.
    """

    length: int
    tokens: Tensor | None
    mask: Tensor | None
    places: Tensor | None

    def read(self, given: Tensor | None) -> Tensor | None:
        """What was given with each token, (B, S, ...), in the order of reading; None of None."""
        return None if given is None else _picked(given, self.tokens)

    def put_back(self, outputs: Tensor) -> Tensor:
        """What was made at each place, (B, R, C), with the tokens again, (B, S, C)."""
        return _picked(outputs, self.places)


Order = Callable[[Tensor | None, int, torch.device], SourceReading]  # mask (B, S), length S -> how they are read


def as_given(mask: Tensor | None, length: int, device: torch.device) -> SourceReading:
    """One token after the other."""
    return SourceReading(length, None, mask, None)


def from_its_end(mask: Tensor | None, length: int, device: torch.device) -> SourceReading:
    """The last real token first; padding stays where it is."""
    numbers = torch.arange(length, device=device)
    if mask is None:
        return SourceReading(length, numbers.flip(0), None, numbers.flip(0))
    count = mask.sum(1, keepdim=True)  # (B, 1)
    # The rank of a token among the real ones; padding ranks behind them all.
    rank = torch.where(mask, mask.long().cumsum(1) - 1, count + (~mask).long().cumsum(1) - 1)  # (B, S)
    by_rank = torch.zeros_like(rank).scatter(1, rank, numbers.expand_as(rank))
    opposite = by_rank.gather(1, (count - 1 - rank).clamp(min=0))
    order = torch.where(mask, opposite, numbers)
    return SourceReading(length, order, mask, order)  # its own inverse


def twice(mask: Tensor | None, length: int, device: torch.device) -> SourceReading:
    """All of it, then all of it again."""
    numbers = torch.arange(length, device=device)
    doubled = None if mask is None else torch.cat([mask, mask], dim=1)
    return SourceReading(2 * length, torch.cat([numbers, numbers]), doubled, numbers + length)


SOURCE_ORDERS: dict[str, Order] = {"given": as_given, "reversed": from_its_end, "doubled": twice}
# How often each token is read.
READINGS = {"given": 1, "reversed": 1, "doubled": 2}
# Where a pass over the places ends, among the tokens as they were given.
REVERSED_ENDS = {"first": "last", "last": "first", "both": "both_swapped", "both_swapped": "both"}


def _picked(rows: Tensor, index: Tensor | None) -> Tensor:
    """rows (B, S, ...), index (R,) or (B, R) -> (B, R, ...); rows of a batch of 1 serve any batch."""
    if index is None:
        return rows
    if index.dim() == 1:
        return rows[:, index]
    rows = rows.expand(index.shape[0], *rows.shape[1:])
    wide = index.view(*index.shape, *[1] * (rows.dim() - 2)).expand(-1, -1, *rows.shape[2:])
    return rows.gather(1, wide)
