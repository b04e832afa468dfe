"""Where the heads of a neural Turing machine look, and what they do there: Graves et al. 2014, sections 3.1 to 3.3.

The memory of one sequence is a matrix (N, M): N slots of width M. An address is a distribution over the slots, and all
that is done with it is plain elementwise arithmetic, which autocasting leaves in float32.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

OFFSETS = (-1, 0, 1)  # by how many slots a head may move in one step
ADDRESS_NUMBERS = 6  # of an address beside its key: strength, gate, three of the shift, sharpening


class Asked(NamedTuple):
    """What a controller asks of H heads.

    key:        (B, H, M), what to look for.
    strength:   (B, H, 1), positive: how much a better likeness counts.
    gate:       (B, H, 1) in [0, 1]: 1 to look for the key, 0 to stay where the head was.
    shift:      (B, H, 3), a distribution over ``OFFSETS``.
    sharpening: (B, H, 1), at least 1.
    """

    key: Tensor
    strength: Tensor
    gate: Tensor
    shift: Tensor
    sharpening: Tensor


def ask(numbers: Tensor) -> Asked:
    """What unbounded ``numbers`` (B, H, M + 6) of a controller ask for."""
    return Asked(
        numbers[..., :-ADDRESS_NUMBERS],
        softplus(numbers[..., -6:-5]),
        numbers[..., -5:-4].sigmoid(),
        numbers[..., -4:-1].softmax(-1),
        1 + softplus(numbers[..., -1:]),
    )


def address(memory: Tensor, asked: Asked, previous: Tensor) -> Tensor:
    """Where the heads look in a memory (B, N, M), from where they looked before: (B, H, N) -> (B, H, N)."""
    found = content_weights(memory, asked.key, asked.strength)
    gated = torch.lerp(previous, found, asked.gate)
    return sharpened(shifted(gated, asked.shift), asked.sharpening)


def content_weights(memory: Tensor, key: Tensor, strength: Tensor) -> Tensor:
    """softmax_i(strength * cosine(key, memory_i)): (B, N, M), (B, H, M), (B, H, 1) -> (B, H, N)."""
    slots = normalize(memory, dim=-1)[:, None]  # (B, 1, N, M)
    wanted = normalize(key, dim=-1)[:, :, None]  # (B, H, 1, M)
    return torch.softmax(strength * (slots * wanted).sum(-1), dim=-1)


def shifted(weights: Tensor, shift: Tensor) -> Tensor:
    """sum_o shift(o) * weights(i - o), around the end of the memory: (B, H, N), (B, H, 3) -> (B, H, N)."""
    moved = [weights.roll(offset, dims=-1) * shift[..., i : i + 1] for i, offset in enumerate(OFFSETS)]
    return moved[0] + moved[1] + moved[2]


def sharpened(weights: Tensor, sharpening: Tensor) -> Tensor:
    """weights(i) ^ sharpening over their sum: (B, H, N), (B, H, 1) -> (B, H, N).

    By logarithms, since a power of small weights may vanish for all of the slots.
    """
    logarithms = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()
    return torch.softmax(sharpening * logarithms, dim=-1)


def write(memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """memory_i * prod_h (1 - w_h(i) erase_h) + sum_h w_h(i) add_h, of heads h.

    Shapes: memory (B, N, M), weights (B, H, N), erase in [0, 1] and add (B, H, M) -> (B, N, M).
    """
    kept, added = memory, torch.zeros_like(memory)
    for w, e, a in zip(weights.unbind(1), erase.unbind(1), add.unbind(1), strict=True):
        kept = kept * (1 - w[..., None] * e[:, None])
        added = added + w[..., None] * a[:, None]
    return kept + added


def read(memory: Tensor, weights: Tensor) -> Tensor:
    """sum_i w(i) memory_i: (B, N, M), (B, H, N) -> (B, H, M)."""
    return (weights[..., None] * memory[:, None]).sum(2)
