"""The recurrent block of Griffin: a short convolution over time, then the real-gated linear recurrent unit."""

from typing import Any, ClassVar

import torch
import transformers.initialization as init
from torch import Tensor, nn
from torch.nn.functional import gelu, softplus

from .fused_kernel import take_steps
from .mixer_base import MixerOutput, RecurrentMixer
from .notation import State
from .plain_linear import linear
from .scan import linear_scan

WINDOW = 4  # tokens that the convolution reads
SHARPNESS = 8.0  # c of (4)
STEEPEST = 1000.0  # the slope of the root in (5) where it would be larger: it is infinite at a = 1


class RGLRUMixer(RecurrentMixer):
    """Griffin's recurrent block, around the real-gated linear recurrent unit (RG-LRU).

        u_t = W_u x_t + b_u                                        (1)
        v_t = sum_k w_k * u_{t-k} + b_v, k = 0 ... 3               (2)
        r_t, i_t = sigmoid(W_r v_t + b_r), sigmoid(W_i v_t + b_i)  (3)
        a_t = exp(-c softplus(L) * r_t), c = 8                     (4)
        h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * i_t * v_t          (5)
        y_t = W_o (gelu(W_g x_t + b_g) * h_t) + b_o                (6)

    The gates read only the input, so time is a scan. W_r and W_i are block-diagonal: each block of the width has gates
    of its own. Of the very first token (5) takes i_t * v_t whole: there is no state yet to make room for. The GELU is
    its approximation by tanh.

    Args:
        input_size: width D_in of the input.
        hidden_size: width D of the state and the output; a multiple of ``num_blocks``.
        num_blocks: number of blocks of W_r and W_i.

    Shapes: x (B, T, D_in), mask (B, T) -> y (B, T, D), state {"h": (B, D), "window": (B, 3, D), the last u, "begun":
        (B, 1), 0 before the first token and then 1} float32.
    Padding: a masked step carries all of them unchanged, so that the convolution reads real tokens only.
    Cost: O(B T D (D_in + D)) time, of it O(B T D) in time order; O(B D) state, whatever the length.
    Raises: ValueError: hidden_size is not a multiple of num_blocks, x is not (B, T, D_in), or mask is not (B, T).
        TypeError: mask is not boolean.
    Source: De et al. 2024, Griffin: Mixing Gated Linear Recurrences with Local Attention, arXiv 2402.19427.
    Reference: tests/reference_rglru.py.
    """

    takes_blocks: ClassVar[bool] = True
    state_names: tuple[str, ...] = ("h", "window", "begun")

    def __init__(self, *, input_size: int, hidden_size: int, num_blocks: int = 1) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        if hidden_size % num_blocks:
            raise ValueError(f"hidden_size must be a multiple of num_blocks ({num_blocks}), got {hidden_size}")
        width = hidden_size // num_blocks
        self.input_proj = nn.Linear(input_size, hidden_size)
        self.gate_proj = nn.Linear(input_size, hidden_size)
        self.output_proj = nn.Linear(hidden_size, hidden_size)
        self.conv_weight = nn.Parameter(torch.empty(hidden_size, WINDOW))  # w_3 ... w_0: in the order of time
        self.conv_bias = nn.Parameter(torch.empty(hidden_size))
        # v (B, T, width) of a block times its (width, 2 width): r_t, then i_t.
        self.block_weight = nn.Parameter(torch.empty(num_blocks, width, 2 * width))
        self.block_bias = nn.Parameter(torch.empty(num_blocks, 2 * width))
        self.decay = nn.Parameter(torch.empty(hidden_size))  # L
        self.init_weights()

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"h": (self.hidden_size,), "window": (WINDOW - 1, self.hidden_size), "begun": (1,)}

    @torch.no_grad()
    def init_weights(self) -> None:
        """As published: a_t^(1/8) of an open gate uniform over its square in [0.9, 0.999], the gates half open."""
        for layer in (self.input_proj, self.gate_proj, self.output_proj):
            init.normal_(layer.weight, std=layer.in_features**-0.5)
            init.zeros_(layer.bias)
        init.normal_(self.conv_weight, std=(0.01 / WINDOW) ** 0.5)
        init.normal_(self.block_weight, std=(0.01 / self.block_weight.shape[1]) ** 0.5)
        init.zeros_(self.conv_bias)
        init.zeros_(self.block_bias)
        kept = torch.empty_like(self.decay, dtype=torch.float32).uniform_(0.9**2, 0.999**2).sqrt()
        init.copy_(self.decay, kept.reciprocal().sub(1).log())  # softplus of which is -log(kept)

    def run(
        self, x: Tensor, mask: Tensor | None, state: State, memory: Any, return_steps: bool, return_state: bool
    ) -> MixerOutput:
        start = state["h"]
        if mask is not None:  # no output may depend on what is padded
            x = torch.where(mask[..., None], x, 0.0)
        row, ranks = _real_in_order(linear(self.input_proj, x).to(start.dtype), mask, state["window"])
        v = self._convolve(row, ranks)
        r, i = self._gates(v, x.dtype)
        logarithm = self._log_decay(r)
        before, after = _begun(ranks, state["begun"], x.shape[1])  # (B, T, 1) each
        room = bounded_root(-torch.expm1(2 * logarithm))
        scale = torch.lerp(torch.ones_like(room), room, before)
        states = linear_scan(logarithm.exp(), scale * i * v, start, mask)  # (B, T, D)
        mixed = gelu(linear(self.gate_proj, x), approximate="tanh") * states.to(x.dtype)
        windows = _windows(row, ranks, all_steps=return_steps)  # (B, T or 1, 3, D)
        return MixerOutput(
            linear(self.output_proj, mixed.to(x.dtype)).to(x.dtype),
            {"h": states[:, -1], "window": windows[:, -1], "begun": after[:, -1]} if return_state else {},
            {"h": states, "window": windows, "begun": after} if return_steps else None,
        )

    def _convolve(self, row: Tensor, ranks: Tensor | None) -> Tensor:
        """Equation (2) of a row (B, 3 + T, D) in which every token follows the real one before it: (B, T, D)."""
        weight, length = self.conv_weight.to(row.dtype), row.shape[1] - WINDOW + 1
        v = self.conv_bias.to(row.dtype)
        for k in range(WINDOW):
            v = torch.addcmul(v, row[:, k : k + length], weight[:, k])
        return v if ranks is None else take_steps(v, (ranks - 1).clamp_min(0))

    def _log_decay(self, r: Tensor) -> Tensor:
        """The logarithm of (4)."""
        return -SHARPNESS * softplus(self.decay.to(r.dtype)) * r

    def _gates(self, v: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """r_t and i_t (B, T, D) of v (B, T, D)."""
        blocks, width, _ = self.block_weight.shape
        by_block = v.to(dtype).reshape(-1, blocks, width).transpose(0, 1)  # (blocks, B T, width)
        gates = torch.baddbmm(self.block_bias[:, None], by_block, self.block_weight)
        gates = gates.to(v.dtype).sigmoid().transpose(0, 1)  # (B T, blocks, 2 width)
        return gates[..., :width].reshape(v.shape), gates[..., width:].reshape(v.shape)

    def gate_activations(self, x: Tensor, before: State) -> State:
        """r, i and the decay a that is made of r, (B, T, D) each."""
        u = self.input_proj(x).to(before["h"].dtype)
        seen = torch.cat([before["window"], u[:, :, None]], dim=2).flatten(0, 1)  # (B T, 4, D)
        v = self._convolve(seen, None).view(u.shape)
        r, i = self._gates(v, x.dtype)
        return {"r": r, "i": i, "a": self._log_decay(r).exp()}


def _real_in_order(u: Tensor, mask: Tensor | None, window: Tensor) -> tuple[Tensor, Tensor | None]:
    """The window (B, 3, D) and behind it the real ones among u (B, T, D), then anything: (B, 3 + T, D).

    Also how many of u are real up to each of them, (B, T), None where all are.
    """
    if mask is None:
        return torch.cat([window, u], dim=1), None
    ranks = mask.cumsum(1)
    length = u.shape[1]
    places = torch.where(mask, ranks - 1, length)  # the masked ones behind all places
    steps = torch.arange(length, device=u.device).expand_as(places)
    order = torch.zeros_like(places[:, :1]).expand(-1, length + 1).scatter(1, places, steps)[:, :length]
    return torch.cat([window, take_steps(u, order)], dim=1), ranks


def _windows(row: Tensor, ranks: Tensor | None, *, all_steps: bool) -> Tensor:
    """The last three of a row of ``_real_in_order`` after each step, or only after the last: (B, T or 1, 3, D)."""
    width, length = WINDOW - 1, row.shape[1] - WINDOW + 1
    if ranks is None:
        if not all_steps:
            return row[:, None, length:]
        return torch.stack([row[:, k : k + length] for k in range(1, WINDOW)], dim=2)
    ends = ranks if all_steps else ranks[:, -1:]
    places = ends[..., None] + torch.arange(width, device=row.device)
    return take_steps(row, places.flatten(1)).view(*places.shape, -1)


def _begun(ranks: Tensor | None, begun: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Whether a token was read before each step, and after it, (B, T, 1) each, from the same before all (B, 1)."""
    before = begun[:, None]  # (B, 1, 1)
    if ranks is None:
        after = torch.ones_like(before).expand(-1, length, -1)
    else:
        after = torch.where(ranks[..., None] > 0, 1.0, before)
    return torch.cat([before, after], dim=1)[:, :length], after


def bounded_root(x: Tensor) -> Tensor:
    """sqrt(x) for x >= 0, with a slope of at most ``STEEPEST``."""
    if not torch.is_grad_enabled():
        return x.sqrt()
    slope = (4 * x).clamp_min(STEEPEST**-2).rsqrt()
    return x.sqrt().detach() + (x - x.detach()) * slope.detach()
