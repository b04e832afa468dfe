"""Pairs of token sequences as batches, and how many of them a model writes without a mistake.

Ids 0, 1 and 2 are padding, begin and end, as in the config's defaults; targets end with 2.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from learning import Batch
from torch import Tensor

PAD, BEGIN, END = 0, 1, 2
FIRST_SYMBOL = 3
IGNORED = -100
SORTED_AT_ONCE = 40  # batches

Pair = tuple[Sequence[int], Sequence[int]]


def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Rows of one length, filled up at their ends with ``value``."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def batch_of(pairs: Sequence[Pair]) -> Batch:
    """What a sequence-to-sequence model learns from: ids, mask and labels."""
    input_ids = padded([source for source, _ in pairs], PAD)
    labels = padded([target for _, target in pairs], IGNORED)
    return {"input_ids": input_ids, "attention_mask": (input_ids != PAD).long(), "labels": labels}


def like_lengths(lengths: Sequence[Any], size: int, seed: int) -> Iterator[list[int]]:
    """Batches of row numbers without end: all rows in a new order each time round, those of like lengths together."""
    order, draw = list(range(len(lengths))), random.Random(seed)
    pool = SORTED_AT_ONCE * size
    while True:
        draw.shuffle(order)
        whole = order[: len(order) // size * size]
        for begin in range(0, len(whole), pool):
            near = sorted(whole[begin : begin + pool], key=lambda i: lengths[i])
            starts = [*range(0, len(near), size)]
            draw.shuffle(starts)
            for start in starts:
                yield near[start : start + size]


def batches(pairs: Sequence[Pair], size: int, seed: int) -> Iterator[Batch]:
    """Batches of pairs without end, see ``like_lengths``."""
    for rows in like_lengths([(len(source), len(target)) for source, target in pairs], size, seed):
        yield batch_of([pairs[i] for i in rows])


@torch.no_grad()
def written(model: Any, pairs: Sequence[Pair], size: int = 256) -> list[bool]:
    """Whether greedy decoding writes each target.

    It does if and only if the best token after every prefix of the target is the target's next one, so one pass over
    given targets tells: nothing needs to be generated.
    """
    found: list[bool] = []
    for start in range(0, len(pairs), size):
        batch = batch_of(pairs[start : start + size])
        best = model(**batch).logits.argmax(-1)
        found += ((best == batch["labels"]) | (batch["labels"] == IGNORED)).all(-1).tolist()
    return found


@torch.no_grad()
def generated(model: Any, pairs: Sequence[Pair]) -> list[list[int]]:
    """What ``generate()`` writes greedily for each source, up to its end, in at most twice the longest target."""
    batch = batch_of(pairs)
    source = {name: batch[name] for name in ("input_ids", "attention_mask")}
    rows = model.generate(**source, num_beams=1, do_sample=False, max_new_tokens=2 * batch["labels"].shape[1])
    return [[*row[: row.index(END)], END] if END in row else row for row in rows[:, 1:].tolist()]


def check_generation(model: Any, pairs: Sequence[Pair], right: Sequence[bool]) -> None:
    """Holds ``written`` to what ``generate()`` does.

    Raises:
        RuntimeError: they disagree on a pair.
    """
    for (source, target), row, told in zip(pairs, generated(model, pairs), right, strict=True):
        if (row == list(target)) != told:
            raise RuntimeError(
                f"generate() writes {row} for {list(source)}, but one pass says {told} of {list(target)}"
            )


def share(found: Sequence[bool]) -> float:
    """Per cent, to one decimal, and never rounded up to 100."""
    rounded = round(100 * sum(found) / len(found), 1)
    return rounded if all(found) else min(rounded, 99.9)
