"""The minimal gated recurrent unit that trains in parallel."""

import torch
import transformers.initialization as init
from torch import Tensor

from .mixer_scanned import ScannedMixer
from .mixer_transition import init_gates
from .notation import State


class MinGRUMixer(ScannedMixer):
    """minGRU: a GRU whose gate and candidate read only the input, so time can be scanned in parallel.

        z_t = sigmoid(W_z x_t + b_z)                       (1)
        h_t = (1 - z_t) * h_{t-1} + z_t * (W_h x_t + b_h)  (2)

    ``input_to_gates`` holds W_h above W_z, and b_h before b_z.

    Shapes: x (B, T, D_in), mask (B, T) -> h (B, T, D), state {"h": (B, D) float32}.
    Padding: a masked step carries h unchanged.
    Cost: O(B T D D_in) time, of it O(B T D) in time order; O(B D) state, whatever the length.
    Raises: ValueError: x is not (B, T, D_in), or mask is not (B, T). TypeError: mask is not boolean.
    Source: Feng et al. 2024, Were RNNs All We Needed?, arXiv 2410.01201 (the version without the logarithm).
    Reference: tests/reference.py::mingru.
    """

    state_names: tuple[str, ...] = ("h",)

    def init_weights(self) -> None:
        """Xavier-uniform, each half by itself; b_h = 0 and b_z = -1, so that a fresh cell remembers a few tokens."""
        init_gates(self.input_to_gates, 2, torch.nn.init.xavier_uniform_)
        bias = self.input_to_gates.bias.new_zeros(2, self.hidden_size)
        bias[1] = -1.0
        init.copy_(self.input_to_gates.bias, bias.flatten())

    def keep(self, gate: Tensor) -> Tensor:
        return torch.sigmoid(-gate)  # 1 - z without the rounding of the subtraction

    def output(self, state: Tensor) -> Tensor:
        return state

    def gate_activations(self, x: Tensor, before: State) -> State:
        return {"z": self.gate(x).sigmoid()}
