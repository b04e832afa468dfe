"""Norms, and the three ways of placing them around a sublayer."""

from torch import Tensor, nn

NORM_POSITIONS = ("pre", "post", "none")
NORMS: dict[str, type[nn.Module]] = {"layer_norm": nn.LayerNorm, "rms_norm": nn.RMSNorm}


def build_norm(norm_type: str, size: int, eps: float) -> nn.Module:
    """A norm over the last dimension of width ``size``."""
    return NORMS[norm_type](size, eps=eps)


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
