"""The ground truth of the fused recurrent-attention cell: a plain loop over its equations; see ``reference.py``."""

import math
from typing import Any

import torch
from torch import Tensor

from reference_attention import affine

State = dict[str, Tensor]


def rows(weights: dict[str, Any], name: str, index: int, count: int) -> Tensor:
    """Number ``index`` of the ``count`` matrices (or biases) that one parameter holds above one another."""
    part: Tensor = weights[name].chunk(count)[index]
    return part


def head(weights: dict[str, Any], name: str, index: int, u: Tensor) -> Tensor:
    """What one head makes of a proposal."""
    return rows(weights, f"{name}.weight", index, weights["num_heads"]) @ u


def read(weights: dict[str, Any], u: Tensor, slots: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """a: what u finds among the proposals ``slots``, all heads, and the weights (number of slots,) of each head."""
    found, alphas = [], []
    for h in range(weights["num_heads"]):
        q = head(weights, "q_proj", h, u)
        scores = [q @ head(weights, "k_proj", h, slot) / math.sqrt(len(q)) for slot in slots]
        exponentials = [torch.exp(score - max(scores)) for score in scores]
        alpha = torch.stack([e / sum(exponentials) for e in exponentials])
        found.append(sum(alpha[j] * head(weights, "v_proj", h, slot) for j, slot in enumerate(slots)))
        alphas.append(alpha)
    return torch.cat(found), alphas


def propose(weights: dict[str, Any], x_t: Tensor, h: Tensor) -> Tensor:
    entering = rows(weights, "input_to_gates.weight", 0, 4) @ x_t + rows(weights, "input_to_gates.bias", 0, 4)
    return torch.tanh(entering + rows(weights, "state_to_gates.weight", 0, 2) @ h)


def advance(weights: dict[str, Any], x_t: Tensor, s: State, found: Tensor) -> State:
    x_r, x_c, x_h = (
        rows(weights, "input_to_gates.weight", i, 4) @ x_t + rows(weights, "input_to_gates.bias", i, 4)
        for i in (1, 2, 3)
    )
    r = torch.tanh(x_r + rows(weights, "state_to_gates.weight", 1, 2) @ s["h"])
    c = torch.tanh(affine(weights, "cell_to_cell", s["c"]) + x_c + affine(weights, "read_to_cell", found))
    return {"h": torch.tanh(affine(weights, "cell_to_hidden", c) + x_h) + r, "c": c}


def walk(weights: dict[str, Any], x: Tensor, real: list[int], start: State, slots: list[Tensor] | None) -> Any:
    """One row over its real tokens: states, proposals and weights by position. ``slots``: what all steps may read."""
    state, trail, proposals, alphas = start, [], [], {}
    for t in range(x.shape[0]):
        if t in real:
            u = propose(weights, x[t], state["h"])
            proposals.append(u)
            found, alphas[t] = read(weights, u, proposals if slots is None else slots)
            state = advance(weights, x[t], state, found)
        trail.append(state)
    return trail, proposals, alphas


def fused(
    weights: dict[str, Any], x: Tensor, mask: Tensor | None, state: State
) -> tuple[Tensor, State, dict[str, Tensor], Tensor]:
    """Outputs (B, T, D), the last state, the states after each step, and the weights (B, H, T, T), 0 at masked steps.

    ``weights["num_heads"]`` and ``weights["second_pass"]`` are what the cell was built with.
    """
    batch, length = x.shape[:2]
    trails, maps = [], x.new_zeros(batch, weights["num_heads"], length, length)
    for row in range(batch):
        real = [t for t in range(length) if mask is None or bool(mask[row, t])]
        start = {name: value[row] for name, value in state.items()}
        trail, proposals, alphas = walk(weights, x[row], real, start, None)
        if weights["second_pass"]:
            trail, _, alphas = walk(weights, x[row], real, start, proposals)
        trails.append(trail)
        for t, heads in alphas.items():
            for h, alpha in enumerate(heads):
                maps[row, h, t, real[: len(alpha)]] = alpha
    steps = {name: torch.stack([torch.stack([at[name] for at in trail]) for trail in trails]) for name in state}
    return steps["h"], {name: value[:, -1] for name, value in steps.items()}, steps, maps
