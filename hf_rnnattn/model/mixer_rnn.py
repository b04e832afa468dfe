"""The Elman recurrent network."""

from typing import ClassVar

import torch
from torch import Tensor

from .mixer_stepping import SteppingMixer


class ElmanMixer(SteppingMixer):
    """The simple recurrent network.

        h_t = tanh(W x_t + b + U h_{t-1} + u)   (1)

    ``input_to_gates`` holds W and b, ``state_to_gates`` U and u, as in ``torch.nn.RNN``. For ``depth`` and
    ``cell_norm`` see ``SteppingMixer``.

    Shapes: x (B, T, D_in), mask (B, T) -> h (B, T, D), state {"h": (B, D) float32}.
    Padding: a masked step carries h unchanged.
    Cost: O(B T D (D_in + D)) time in T dependent steps; O(B D) state, whatever the length.
    Raises: ValueError: x is not (B, T, D_in), or mask is not (B, T). TypeError: mask is not boolean.
    Source: Elman 1990, Finding Structure in Time, Cognitive Science 14.
    Reference: tests/reference.py::elman.
    """

    gates: ClassVar[int] = 1
    norm_blocks: ClassVar[tuple[int, ...]] = (1,)

    def step(self, entering: Tensor, recurrent: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return (torch.tanh(entering + recurrent),)

    def step_kernel(self, x: Tensor, weights: list[Tensor], *state: Tensor) -> tuple[Tensor, ...]:
        return (torch.rnn_tanh_cell(x, state[0], *weights),)

    def sequence_kernel(self, x: Tensor, weights: list[Tensor], *state: Tensor) -> tuple[Tensor, ...]:
        return torch.rnn_tanh(x, state[0], weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)
