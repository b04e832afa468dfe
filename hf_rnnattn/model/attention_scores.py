"""Scores that compare a query with the slots of a memory, one number a pair: additive, dot and general."""

import torch
from torch import Tensor, nn

from .norms import build_cell_norm

SCORES = ("additive", "dot", "general")


class AdditiveScore(nn.Module):
    """The additive (concat) score of Bahdanau et al. 2015.

        e_tj = v . tanh(W q_t + U h_j + u)   (1)

    ``U h_j + u`` does not depend on the query, so it is prepared once a sequence. Cost: O(B T S A) time and memory.

    Args:
        query_size: width D of a query q_t.
        key_size: width C of a memory slot h_j.
        attention_size: width A of the comparison.
        cell_norm: ``none``, or a norm of W q_t and another of U h_j + u, as in Marian.
        norm_eps: of these norms.
    """

    def __init__(
        self,
        *,
        query_size: int,
        key_size: int,
        attention_size: int,
        cell_norm: str = "none",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.key_width = attention_size
        self.query_proj = nn.Linear(query_size, attention_size, bias=False)
        self.key_proj = nn.Linear(key_size, attention_size)
        self.score_proj = nn.Linear(attention_size, 1, bias=False)
        self.query_norm = build_cell_norm(cell_norm, [attention_size], norm_eps)
        self.key_norm = build_cell_norm(cell_norm, [attention_size], norm_eps)

    def prepare_keys(self, memory: Tensor) -> Tensor:
        """(B, S, C) -> (B, S, A)."""
        keys: Tensor = self.key_norm(self.key_proj(memory))
        return keys

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """query (B, T, D), keys (B, S, A) -> scores (B, T, S)."""
        asked = self.query_norm(self.query_proj(query))
        compared = torch.tanh(asked[:, :, None] + keys[:, None])  # (B, T, S, A)
        # Three dimensions: the 8-bit layers of bitsandbytes take no more.
        scores: Tensor = self.score_proj(compared.flatten(0, 1))  # (B T, S, 1)
        return scores.view(compared.shape[:-1])  # (B, T, S)


class DotScore(nn.Module):
    """The dot score of Luong et al. 2015: e_tj = q_t . h_j, of queries and slots of one width.

    Args:
        size: that width.
    """

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.key_width = size

    def prepare_keys(self, memory: Tensor) -> Tensor:
        """(B, S, C) as it is."""
        return memory

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """query (B, T, C), keys (B, S, C) -> scores (B, T, S)."""
        return torch.matmul(query, keys.transpose(1, 2))


class GeneralScore(DotScore):
    """The general score of Luong et al. 2015: e_tj = (W q_t) . h_j.

    Args:
        query_size: width D of a query q_t.
        key_size: width C of a memory slot h_j.
    """

    def __init__(self, *, query_size: int, key_size: int) -> None:
        super().__init__(size=key_size)
        self.query_proj = nn.Linear(query_size, key_size, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """query (B, T, D), keys (B, S, C) -> scores (B, T, S)."""
        return super().forward(self.query_proj(query), keys)


def build_score(
    kind: str, *, query_size: int, key_size: int, attention_size: int, cell_norm: str = "none", norm_eps: float = 1e-5
) -> AdditiveScore | DotScore:
    """The score of this kind.

    Raises:
        ValueError: the kind is none of ``SCORES``, or it is ``dot`` and the widths differ.
    """
    if kind not in SCORES:
        raise ValueError(f"a score must be one of {', '.join(SCORES)}, got {kind!r}")
    if kind == "dot" and query_size != key_size:
        raise ValueError(f"the score 'dot' needs queries and slots of one width, got {query_size} and {key_size}")
    if kind == "dot":
        return DotScore(size=key_size)
    if kind == "general":
        return GeneralScore(query_size=query_size, key_size=key_size)
    return AdditiveScore(
        query_size=query_size,
        key_size=key_size,
        attention_size=attention_size,
        cell_norm=cell_norm,
        norm_eps=norm_eps,
    )
