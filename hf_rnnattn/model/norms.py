"""Norms, and the three ways of placing them around a sublayer; norms inside recurrent cells."""

import torch
import transformers.initialization as init
from torch import Tensor, nn

NORM_POSITIONS = ("pre", "post", "none")
NORMS: dict[str, type[nn.Module]] = {"layer_norm": nn.LayerNorm, "rms_norm": nn.RMSNorm}


def build_norm(norm_type: str, size: int, eps: float) -> nn.Module:
    """A norm over the last dimension of width ``size``."""
    return NORMS[norm_type](size, eps=eps)


CELL_NORMS = ("none", "layer_norm", "split_layer_norm")


class SplitLayerNorm(nn.Module):
    """Layer norm of blocks of the last dimension, each by itself.

    Args:
        blocks: their widths.
        eps: added to each variance.
    """

    def __init__(self, blocks: list[int], eps: float) -> None:
        super().__init__()
        self.blocks = blocks
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(sum(blocks)))
        self.bias = nn.Parameter(torch.zeros(sum(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., sum of blocks) -> the same shape."""
        scales = (self.weight.to(x.dtype), self.bias.to(x.dtype))  # a cell may compute more precisely than its weights
        parts = zip(*(torch.split(tensor, self.blocks, -1) for tensor in (x, *scales)), strict=True)
        normed = [
            nn.functional.layer_norm(part, part.shape[-1:], scale, shift, self.eps) for part, scale, shift in parts
        ]
        return torch.cat(normed, dim=-1)

    def init_weights(self) -> None:
        """Scales of one, shifts of zero."""
        init.ones_(self.weight)
        init.zeros_(self.bias)


def build_cell_norm(cell_norm: str, blocks: list[int], eps: float) -> nn.Module:
    """A norm of what enters a cell's gates, whose widths are ``blocks``: of all together, or of each by itself."""
    if cell_norm == "none":
        return nn.Identity()
    return nn.LayerNorm(sum(blocks), eps=eps) if cell_norm == "layer_norm" else SplitLayerNorm(blocks, eps)


class Connection(nn.Module):
    """How a sublayer is joined to the stream that runs through the layers: ``y = leave(x, sublayer(enter(x)))``.

        pre:   y = x + sublayer(norm(x))    the stream is never normalised until the end of the stack   (1)
        post:  y = norm(x + sublayer(x))    Vaswani et al. 2017                                         (2)
        none:  y = x + sublayer(x)                                                                      (3)

    Args:
        norm_position: ``pre``, ``post`` or ``none``.
        input_size, output_size: widths of x and of the sublayer's output.
        norm_type, norm_eps: of the norm.
        dropout: probability on the sublayer's output.
        residual: whether x is added; where the widths differ it never is.
    """

    def __init__(
        self,
        *,
        norm_position: str,
        input_size: int,
        output_size: int,
        norm_type: str,
        norm_eps: float,
        dropout: float,
        residual: bool,
    ) -> None:
        super().__init__()
        pre, post = norm_position == "pre", norm_position == "post"
        self.norm_before = build_norm(norm_type, input_size, norm_eps) if pre else nn.Identity()
        self.norm_after = build_norm(norm_type, output_size, norm_eps) if post else nn.Identity()
        self.dropout = dropout
        self.residual = residual and input_size == output_size

    def enter(self, x: Tensor) -> Tensor:
        """What the sublayer reads of x (B, T, input_size)."""
        read: Tensor = self.norm_before(x)
        return read

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        """Joins the sublayer's output y (B, T, output_size) to its input x."""
        if self.training and self.dropout:
            y = nn.functional.dropout(y, p=self.dropout)
        joined: Tensor = self.norm_after(x + y if self.residual else y)
        return joined
