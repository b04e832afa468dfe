"""The long short-term memory."""

from typing import Any, ClassVar

import torch
import transformers.initialization as init
from torch import Tensor

from .mixer_stepping import SteppingMixer


class LSTMMixer(SteppingMixer):
    """Long short-term memory with a forget gate.

        i, f, o = sigmoid(W x_t + b + U h_{t-1} + u)   (1)
        g = tanh(W x_t + b + U h_{t-1} + u)            (2)
        c_t = f * c_{t-1} + i * g                      (3)
        h_t = o * tanh(c_t)                            (4)

    each gate with its own rows of W, b, U and u, in the order i, f, g, o of ``torch.nn.LSTM``. For ``depth`` and
    ``cell_norm`` see ``SteppingMixer``.

    Shapes: x (B, T, D_in), mask (B, T) -> h (B, T, D), state {"h": (B, D), "c": (B, D)} float32.
    Padding: a masked step carries h and c unchanged.
    Cost: O(B T D (D_in + D)) time in T dependent steps; O(B D) state, whatever the length.
    Raises: ValueError: x is not (B, T, D_in), or mask is not (B, T). TypeError: mask is not boolean.
    Source: Hochreiter and Schmidhuber 1997, Long Short-Term Memory; Gers et al. 2000 for the forget gate.
    Reference: tests/reference.py::lstm.
    """

    gates: ClassVar[int] = 4
    gate_letters: ClassVar[dict[str, int]] = {"i": 0, "f": 1, "o": 3}
    norm_blocks: ClassVar[tuple[int, ...]] = (1, 1, 1, 1)
    state_names: tuple[str, ...] = ("h", "c")
    encoder_states: tuple[str, ...] = ("h", "c")

    def init_weights(self) -> None:
        """As every stepping cell, and the forget gate open: its bias is 1 (Jozefowicz et al. 2015)."""
        super().init_weights()
        init_forget_gate(self.input_to_gates.bias)
        for cell in self.transitions:
            init_forget_gate(cell.input_bias if cell.input_to_gates is None else cell.input_to_gates.bias)

    def step(self, entering: Tensor, recurrent: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return lstm_step(entering + recurrent, state[1])

    def step_kernel(self, x: Tensor, weights: list[Tensor], *state: Tensor) -> tuple[Tensor, ...]:
        return torch.lstm_cell(x, state, *weights)

    def sequence_kernel(self, x: Tensor, weights: list[Tensor], *state: Tensor) -> tuple[Tensor, ...]:
        return torch.lstm(x, state, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)


def lstm_step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Equations (1) to (4): ``gates`` (B, 4 D), which nothing else may need, c (B, D) -> h, c (B, D)."""
    i, f, g, o = gates.unsafe_chunk(4, -1)  # (B, D) each, activated in their places
    c = torch.addcmul(f.sigmoid_() * c, i.sigmoid_(), g.tanh_())
    return o.sigmoid_() * c.tanh(), c


def init_forget_gate(bias: Any) -> None:
    """Zeroes a bias (4 D,), but for the forget gate's, which becomes 1."""
    gates = bias.new_zeros(4, len(bias) // 4)
    gates[1] = 1.0
    init.copy_(bias, gates.flatten())
