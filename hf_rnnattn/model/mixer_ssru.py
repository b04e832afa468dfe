"""The simpler simple recurrent unit, with a bias of its candidate and without."""

import torch
import transformers.initialization as init
from torch import Tensor, nn

from .mixer_scanned import ScannedMixer
from .mixer_transition import init_gates
from .notation import State


class SSRUMixer(ScannedMixer):
    """Simpler simple recurrent unit: the gates read only the input, so time can be scanned in parallel.

        f_t = sigmoid(W_f x_t + b_f)                      (1)
        c_t = f_t * c_{t-1} + (1 - f_t) * (W x_t + b)     (2)
        y_t = relu(c_t)                                   (3)

    ``input_to_gates`` holds W above W_f, and b before b_f. The original has no b: that is ``KimSSRUMixer``.

    Shapes: x (B, T, D_in), mask (B, T) -> y (B, T, D), state {"c": (B, D) float32}.
    Padding: a masked step carries c unchanged.
    Cost: O(B T D D_in) time, of it O(B T D) in time order; O(B D) state, whatever the length.
    Raises: ValueError: x is not (B, T, D_in), or mask is not (B, T). TypeError: mask is not boolean.
    Source: Kim et al. 2019, From Research to Production and Back, WNGT.
    Reference: tests/reference.py::ssru.
    """

    state_names: tuple[str, ...] = ("c",)
    initialised_states: tuple[str, ...] = ("c",)
    encoder_states: tuple[str, ...] = ("c",)

    def init_weights(self) -> None:
        """Xavier-uniform, each half by itself; b = 0 and b_f = 1, so that a fresh cell remembers a few tokens."""
        init_gates(self.input_to_gates, 2, torch.nn.init.xavier_uniform_)
        bias = self.input_to_gates.bias.new_zeros(2, self.hidden_size)
        bias[1] = 1.0
        init.copy_(self.input_to_gates.bias, bias.flatten())

    def keep(self, gate: Tensor) -> Tensor:
        return gate.sigmoid()

    def output(self, state: Tensor) -> Tensor:
        return state.relu()

    def gate_activations(self, x: Tensor, before: State) -> State:
        return {"f": self.keep(self.gate(x))}


class KimSSRUMixer(SSRUMixer):
    """The unit as published and as Marian has it: its candidate has no bias.

        f_t = sigmoid(W_f x_t + b_f)                (1)
        c_t = f_t * c_{t-1} + (1 - f_t) * W x_t     (2)
        y_t = relu(c_t)                             (3)

    ``input_to_gates`` holds W above W_f, without biases; b_f is ``gate_bias`` (D,).

    Shapes, padding, cost, errors and source: those of ``SSRUMixer``.
    Reference: tests/reference.py::kim_ssru.
    """

    def __init__(self, *, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.input_to_gates = nn.Linear(input_size, 2 * hidden_size, bias=False)
        self.gate_bias = nn.Parameter(torch.ones(hidden_size))

    def init_weights(self) -> None:
        """Xavier-uniform, each half by itself; b_f = 1, so that a fresh cell remembers a few tokens."""
        init_gates(self.input_to_gates, 2, torch.nn.init.xavier_uniform_)
        init.ones_(self.gate_bias)

    def keep(self, gate: Tensor) -> Tensor:
        return (gate + self.gate_bias).sigmoid()
