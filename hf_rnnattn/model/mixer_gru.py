"""The gated recurrent unit."""

from typing import ClassVar

import torch
from torch import Tensor

from .mixer_stepping import SteppingMixer


class GRUMixer(SteppingMixer):
    """Gated recurrent unit, the reset gate applied after the recurrent product.

        r, z = sigmoid(W x_t + b + U h_{t-1} + u)   (1)
        n = tanh(W x_t + b + r * (U h_{t-1} + u))   (2)
        h_t = (1 - z) * n + z * h_{t-1}             (3)

    each gate with its own rows of W, b, U and u, in the order r, z, n of ``torch.nn.GRU``. For ``depth`` and
    ``cell_norm`` see ``SteppingMixer``.

    Shapes: x (B, T, D_in), mask (B, T) -> h (B, T, D), state {"h": (B, D) float32}.
    Padding: a masked step carries h unchanged.
    Cost: O(B T D (D_in + D)) time in T dependent steps; O(B D) state, whatever the length.
    Raises: ValueError: x is not (B, T, D_in), or mask is not (B, T). TypeError: mask is not boolean.
    Source: Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder, EMNLP.
    Reference: tests/reference.py::gru.
    """

    gates: ClassVar[int] = 3
    gate_letters: ClassVar[dict[str, int]] = {"r": 0, "z": 1}
    norm_blocks: ClassVar[tuple[int, ...]] = (2, 1)

    def step(self, entering: Tensor, recurrent: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return (gru_step(entering, recurrent, state[0]),)

    def step_kernel(self, x: Tensor, weights: list[Tensor], *state: Tensor) -> tuple[Tensor, ...]:
        return (torch.gru_cell(x, state[0], *weights),)

    def sequence_kernel(self, x: Tensor, weights: list[Tensor], *state: Tensor) -> tuple[Tensor, ...]:
        return torch.gru(x, state[0], weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)


def gru_step(entering: Tensor, recurrent: Tensor, h: Tensor) -> Tensor:
    """Equations (1) to (3): ``entering`` and ``recurrent`` (B, 3 D), h (B, D) -> (B, D)."""
    width = h.shape[1]
    gates = (entering[:, : 2 * width] + recurrent[:, : 2 * width]).sigmoid_()
    r, z = gates.unsafe_chunk(2, 1)  # (B, D) each
    n = torch.addcmul(entering[:, 2 * width :], r, recurrent[:, 2 * width :]).tanh_()
    return torch.lerp(n, h, z)
