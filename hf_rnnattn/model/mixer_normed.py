"""The LSTM of RNMT+: what enters each gate is normalised as a whole, and the output is not squashed."""

from typing import Any, ClassVar

import torch
import transformers.initialization as init
from torch import Tensor, nn

from .mixer_lstm import init_forget_gate
from .mixer_stepping import SteppingMixer
from .norms import SplitLayerNorm
from .notation import State

GATES = 4


class NormedLSTMMixer(SteppingMixer):
    """Long short-term memory with a layer norm of each gate.

        i, f, o = sigmoid(LN(W x_t + U h_{t-1}))   (1)
        g = tanh(LN(W x_t + U h_{t-1}))            (2)
        c_t = f * c_{t-1} + i * g                  (3)
        h_t = o * c_t                              (4)

    each gate with its own rows of W and U and its own norm, whose shift is the gate's bias. ``cell_norm`` normalises
    apart what the input and what the state bring to the gates; here their sum is, and (4) has no tanh.

    Shapes: x (B, T, D_in), mask (B, T) -> h (B, T, D), state {"h": (B, D), "c": (B, D)} float32.
    Padding: a masked step carries h and c unchanged.
    Cost: O(B T D (D_in + D)) time in T dependent steps; O(B D) state, whatever the length.
    Raises: ValueError: x is not (B, T, D_in), or mask is not (B, T). TypeError: mask is not boolean.
    Source: Chen et al. 2018, The Best of Both Worlds: Combining Recent Advances in Neural Machine Translation, ACL;
        Ba et al. 2016, Layer Normalization.
    Reference: tests/reference.py::normed_lstm.
    """

    gates: ClassVar[int] = GATES
    norm_blocks: ClassVar[tuple[int, ...]] = (1, 1, 1, 1)
    takes_depth: ClassVar[bool] = False
    state_names: tuple[str, ...] = ("h", "c")
    encoder_states: tuple[str, ...] = ("h", "c")

    def __init__(self, *, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size, gate_bias=False)
        self.gate_norm = build_gate_norm(hidden_size)
        self.is_single = False  # no kernel of torch computes this

    def init_weights(self) -> None:
        """As every stepping cell, and the forget gate open."""
        super().init_weights()
        init_gate_norm(self.gate_norm)

    def step(self, entering: Tensor, recurrent: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return normed_lstm_step(self.gate_norm, entering + recurrent, state[1])

    def gate_activations(self, x: Tensor, before: State) -> State:
        h = before["h"]
        return normed_gates(self.gate_norm, (self.input_to_gates(x) + self.state_to_gates(h.to(x.dtype))).to(h.dtype))

    def step_kernel(self, x: Tensor, weights: list[Tensor], *state: Tensor) -> tuple[Tensor, ...]:
        raise TypeError("torch has no kernel for this cell")

    def sequence_kernel(self, x: Tensor, weights: list[Tensor], *state: Tensor) -> tuple[Tensor, ...]:
        raise TypeError("torch has no kernel for this cell")


def normed_gates(norm: nn.Module, gates: Tensor) -> State:
    """How far each gate lets through what it guards: ``gates`` (..., 4 D) before their norm -> (..., D) each."""
    i, f, _, o = norm(gates).chunk(GATES, -1)
    return {"i": i.sigmoid(), "f": f.sigmoid(), "o": o.sigmoid()}


def build_gate_norm(hidden_size: int) -> SplitLayerNorm:
    """A layer norm of each gate (B, D) of the four side by side."""
    return SplitLayerNorm([hidden_size] * GATES, 1e-5)


def init_gate_norm(norm: Any) -> None:
    """Scales of 1, and shifts of 0 but for the forget gate's, which is 1."""
    init.ones_(norm.weight)
    init_forget_gate(norm.bias)


def normed_lstm_step(norm: nn.Module, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Equations (1) to (4): ``gates`` (B, 4 D) before their norm, c (B, D) -> h, c (B, D)."""
    i, f, g, o = norm(gates).chunk(GATES, 1)  # (B, D) each
    c = torch.addcmul(f.sigmoid() * c, i.sigmoid(), g.tanh())
    return o.sigmoid() * c, c
