"""The tokens of a segment as one slot of the decoder's memory."""

import torch
from torch import Tensor, nn

ENCODER_POOLINGS = ("none", "sum", "position")


class SegmentPooling(nn.Module):
    """Sums the vectors of each segment into one slot, which stands at the segment's last real token.

        m = sum_j l_j * x_j                                              (1)
        l_jc = 1                                         ``sum``         (2)
        l_jc = (1 - j / J) - (c / C) (1 - 2 j / J)       ``position``    (3)

    over its tokens j = 1 ... J, c counting the C features from 1. Tokens with one number in ``token_type_ids`` are one
    segment, wherever they stand. By (3), the position encoding of Sukhbaatar et al., the order of words matters.

    Args:
        kind: ``sum`` or ``position``.

    Shapes: x (B, S, C), segments (B, S), mask (B, S) -> slots (B, S, C), 0 where there is none, and where there is one
        (B, S) bool.
    Padding: is in no slot and counts in none.
    Cost: O(B S^2 C) time, O(B S (S + C)) memory.
    Source: Sukhbaatar et al. 2015, End-To-End Memory Networks, NeurIPS.
    Reference: tests/reference_attention.py::segment_slots.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.encodes_position = kind == "position"

    def forward(self, x: Tensor, segments: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Without ``segments`` (B, S) all is one; without a mask all is real."""
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        if segments is None:
            segments = torch.zeros_like(real, dtype=torch.long)
        together = (segments[:, :, None] == segments[:, None]) & real[:, None] & real[:, :, None]  # (B, S, S)
        x = torch.where(real[..., None], x, 0.0)
        if self.encodes_position:
            x = x * self._weights(together, x)
        slots = torch.matmul(together.to(x.dtype), x)  # (B, S, C)
        is_slot = real & ~together.triu(1).any(-1)
        return torch.where(is_slot[..., None], slots, 0.0), is_slot

    @staticmethod
    def _weights(together: Tensor, x: Tensor) -> Tensor:
        """(3) for each token, (B, S, C)."""
        count = together.sum(-1).clamp(min=1)[..., None].to(x.dtype)  # J
        share = together.tril().sum(-1)[..., None].to(x.dtype) / count  # j / J
        feature = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype) / x.shape[-1]  # c / C
        return (1 - share) - feature * (1 - 2 * share)
