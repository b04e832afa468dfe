"""A memory that is read and added to in turn, as self-attention inside a recurrence does."""

import torch
from torch import Tensor, nn

from .attention import masked_softmax

BLOCK = 32  # slots that are held one by one before they are joined to the others


def read_slots(
    query: Tensor, parts: list[tuple[Tensor, Tensor]], allowed: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor]:
    """Reads the slots of all ``parts``, keys and values (B, H, n, d) each, as if they stood in one tensor.

        a = softmax(q K^T) V   (1)

    Args:
        query: (B, H, d), scaled.
        allowed: bool, broadcastable to (B, S), True for slots that may be read; None: all. S is the sum of all n.
        dropout: probability on the weights.

    Returns:
        (B, H, d) and the weights (B, H, S).
    """
    asked = query[:, :, None]  # (B, H, 1, d)
    scores = torch.cat([torch.matmul(asked, keys.transpose(2, 3)) for keys, _ in parts], dim=-1)  # (B, H, 1, S)
    weights = masked_softmax(scores, None if allowed is None else allowed[:, None, None])
    kept = nn.functional.dropout(weights, p=dropout) if dropout else weights
    if len(parts) == 1:
        return torch.matmul(kept, parts[0][1])[:, :, 0], weights[:, :, 0]
    (_, values), (_, last) = parts
    size = last.shape[2]
    found = torch.matmul(kept[..., :-size], values) + torch.matmul(kept[..., -size:], last)
    return found[:, :, 0], weights[:, :, 0]


class GrowingMemory:
    """Keys and values (B, H, S, d) to which a step adds one slot and which it then reads.

    The latest slots are joined for each reading, the others once in ``BLOCK`` steps: so what training keeps for the
    backward pass is O(S BLOCK + S^2 / BLOCK) vectors instead of O(S^2).
    """

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        self.closed = None if keys is None or values is None else (keys, values)
        self.keys: list[Tensor] = []  # (B, H, d) each
        self.values: list[Tensor] = []

    def append(self, key: Tensor, value: Tensor) -> None:
        """Adds a slot, (B, H, d) each."""
        if len(self.keys) == BLOCK:
            self.closed, self.keys, self.values = self.joined(), [], []
        self.keys.append(key)
        self.values.append(value)

    def read(self, query: Tensor, allowed: Tensor | None, dropout: float) -> tuple[Tensor, Tensor]:
        """See ``read_slots``."""
        return read_slots(query, self._parts(), allowed, dropout)

    def joined(self) -> tuple[Tensor, Tensor]:
        """All keys and all values, (B, H, S, d) each."""
        parts = self._parts()
        if len(parts) == 1:
            return parts[0]
        return torch.cat([keys for keys, _ in parts], dim=2), torch.cat([values for _, values in parts], dim=2)

    def _parts(self) -> list[tuple[Tensor, Tensor]]:
        latest = [(torch.stack(self.keys, dim=2), torch.stack(self.values, dim=2))] if self.keys else []
        return latest if self.closed is None else [self.closed, *latest]
