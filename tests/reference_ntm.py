"""The neural Turing machine slot by slot, written from the equations of Graves et al. 2014 and of the docstring.

All of one row: a memory (N, M), addresses (N,) and vectors. ``weights`` are the mixer's parameters by name.
"""

import torch
from torch import Tensor

from reference_attention import affine

State = dict[str, Tensor]


def content_address(memory: Tensor, key: Tensor, strength: Tensor) -> Tensor:
    """softmax_i(strength * cosine(key, memory_i))."""
    return torch.softmax(
        torch.stack([strength * (slot @ key) / (slot.norm() * key.norm()) for slot in memory]),
        dim=0,
    )


def convolve(weights: Tensor, shift: Tensor) -> Tensor:
    """sum_j weights(j) shift(i - j), indices modulo N; shift is of -1, 0, 1."""
    slots = len(weights)
    return torch.stack(
        [sum(shift[o + 1] * weights[(i - o) % slots] for o in (-1, 0, 1)) for i in range(slots)]  # type: ignore[misc]
    )


def head_address(memory: Tensor, numbers: Tensor, previous: Tensor) -> Tensor:
    """Where a head looks, from what the controller asks of it (M + 6,) and where it looked before."""
    width = memory.shape[1]
    key, (strength, gate) = numbers[:width], numbers[width : width + 2]
    shift, sharpening = numbers[width + 2 : width + 5], numbers[width + 5]
    g = torch.sigmoid(gate)
    found = content_address(memory, key, torch.log1p(strength.exp()))
    moved = convolve(g * found + (1 - g) * previous, torch.softmax(shift, dim=0))
    powers = moved ** (1 + torch.log1p(sharpening.exp()))
    return powers / powers.sum()


def ntm_step(weights: State, x: Tensor, s: State) -> State:
    """Controller, addresses, writing, then reading of what was written."""
    entering = affine(weights, "input_to_gates", x) + weights["read_to_gates.weight"] @ s["reads"].flatten()
    i, f, g, o = (entering + affine(weights, "state_to_gates", s["h"])).chunk(4)
    c = torch.sigmoid(f) * s["c"] + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    heads, width = s["reads"].shape
    numbers = affine(weights, "state_to_heads", h)
    addressing, changing = numbers[: -2 * heads * width], numbers[-2 * heads * width :]
    per_head = addressing.view(2 * heads, width + 6)
    looks = [head_address(s["memory"], per_head[k], s["read_weights"][k]) for k in range(heads)]
    writes = [head_address(s["memory"], per_head[heads + k], s["write_weights"][k]) for k in range(heads)]
    erase, add = changing.view(2, heads, width)
    memory = s["memory"]
    for k in range(heads):
        memory = memory * (1 - torch.outer(writes[k], torch.sigmoid(erase[k])))
    for k in range(heads):
        memory = memory + torch.outer(writes[k], torch.tanh(add[k]))
    return {
        "h": h,
        "c": c,
        "memory": memory,
        "reads": torch.stack([sum(w * slot for w, slot in zip(look, memory, strict=True)) for look in looks]),  # type: ignore[misc]
        "read_weights": torch.stack(looks),
        "write_weights": torch.stack(writes),
    }


def ntm_output(weights: State, s: State) -> Tensor:
    """V [h; r] + v."""
    return affine(weights, "output_proj", torch.cat([s["h"], s["reads"].flatten()]))
