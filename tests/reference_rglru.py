"""Griffin's recurrent block token by token, from the equations of De et al. 2024 and of the docstring.

Of one row: vectors (D,) and the window (3, D) of what the convolution read before. ``w`` are the parameters by name.
"""

import torch
from torch import Tensor

from reference_attention import affine

State = dict[str, Tensor]


def block_gates(w: State, v: Tensor) -> tuple[Tensor, Tensor]:
    """r and i of (3), block by block."""
    blocks, width, _ = w["block_weight"].shape
    parts: list[list[Tensor]] = [[], []]
    for k in range(blocks):
        own = v[k * width : (k + 1) * width]
        for gate, found in enumerate(parts):
            columns = slice(gate * width, (gate + 1) * width)
            found.append(own @ w["block_weight"][k][:, columns] + w["block_bias"][k, columns])
    r, i = (torch.sigmoid(torch.cat(found)) for found in parts)
    return r, i


def convolved(w: State, u: Tensor, window: Tensor) -> Tensor:
    """v of (2)."""
    before = [u, window[2], window[1], window[0]]  # k tokens ago
    return sum((w["conv_weight"][:, 3 - k] * before[k] for k in range(4)), w["conv_bias"])


def rglru_step(w: State, x: Tensor, s: State) -> State:
    """Equations (1) to (5); ``begun`` says how much of the root applies."""
    u = affine(w, "input_proj", x)
    v = convolved(w, u, s["window"])
    r, i = block_gates(w, v)
    a = torch.exp(-8 * torch.log1p(w["decay"].exp()) * r)
    room = s["begun"] * torch.sqrt(1 - a**2) + (1 - s["begun"])
    h = a * s["h"] + room * i * v
    return {"h": h, "window": torch.cat([s["window"][1:], u[None]]), "begun": torch.ones_like(s["begun"])}


def rglru_output(w: State, x: Tensor, h: Tensor) -> Tensor:
    """Equation (6)."""
    z = affine(w, "gate_proj", x)
    opened = 0.5 * z * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (z + 0.044715 * z**3)))
    return affine(w, "output_proj", opened * h)
