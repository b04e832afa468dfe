"""Scores that compare a query with the slots of a memory, one number a pair."""

import math

import torch
import transformers.initialization as init
from torch import Tensor, nn

from .norms import build_cell_norm

SCORES = ("additive", "dot", "general", "cosine", "euclidean")


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


class MultiHeadAdditiveScore(nn.Module):
    """Additive scores of several heads, Chen et al. 2018.

        p_j = W_p h_j + b_p                                        (1)
        e_tj of head k = v . tanh(A (W_q q_t + b_q)_k + B p_jk)    (2)

    of the parts of equal width of query and slot; A, B and v serve every head. What a head finds is made of p_jk.

    Args:
        query_size, key_size: widths of a query q_t and of a memory slot h_j.
        attention_size: width A of p_j, a multiple of ``num_heads``.
        num_heads: number H of heads, of width d = A / H.
    """

    def __init__(self, *, query_size: int, key_size: int, attention_size: int, num_heads: int) -> None:
        super().__init__()
        width = attention_size // num_heads
        self.num_heads = num_heads
        self.key_width = attention_size
        self.query_proj = nn.Linear(query_size, attention_size)
        self.value_proj = nn.Linear(key_size, attention_size)
        self.head_query_proj = nn.Linear(width, width, bias=False)
        self.head_key_proj = nn.Linear(width, width, bias=False)
        self.score_proj = nn.Linear(width, 1, bias=False)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, S, A) -> (B, H, S, d)."""
        return x.view(*x.shape[:-1], self.num_heads, -1).transpose(1, 2)

    def prepare(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, key_size) -> keys, B p_jk side by side, and values p_j: (B, S, A) each."""
        values = self.value_proj(memory)
        return self._by_head(self.head_key_proj, values), values

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """query (B, T, query_size), keys (B, S, A) -> scores (B, H, T, S)."""
        asked = self.split_heads(self._by_head(self.head_query_proj, self.query_proj(query)))  # (B, H, T, d)
        compared = torch.tanh(asked[:, :, :, None] + self.split_heads(keys)[:, :, None])  # (B, H, T, S, d)
        scores: Tensor = self.score_proj(compared.flatten(0, 2))  # (B H T, S, 1)
        return scores.view(compared.shape[:-1])

    def _by_head(self, linear: nn.Linear, x: Tensor) -> Tensor:
        """The same projection of every head's part of (B, S, A)."""
        parts = x.view(*x.shape[:-1], self.num_heads, -1).flatten(1, 2)  # (B, S H, d)
        projected: Tensor = linear(parts)
        return projected.view(x.shape)


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
        """query (B, T, C), keys (B, S, C) -> scores (B, T, S), in float32 at least.

        A score is an exponent: rounded to half precision, those of 8 and more would be off by a percent and more.
        """
        wide = torch.promote_types(query.dtype, torch.float32)
        return torch.matmul(query.to(wide), keys.to(wide).transpose(1, 2))


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


class CosineScore(GeneralScore):
    """The cosine of the angle between query and slot, with a learnt temperature, Graves et al. 2014.

        e_tj = exp(s) (W q_t) . h_j / (|W q_t| |h_j|)   (1)

    So neither the length of a query nor that of a slot matters. s starts at log 10: of cosines alone, in [-1, 1], a
    softmax makes nearly equal weights.

    Args:
        query_size: width D of a query q_t.
        key_size: width C of a memory slot h_j.
    """

    def __init__(self, *, query_size: int, key_size: int) -> None:
        super().__init__(query_size=query_size, key_size=key_size)
        self.log_scale = nn.Parameter(torch.full((1,), math.log(10.0)))

    def init_weights(self) -> None:
        """The scale that it starts with."""
        init.constant_(self.log_scale, math.log(10.0))

    def prepare_keys(self, memory: Tensor) -> Tensor:
        """(B, S, C) -> the same directions with length 1; a slot of zeros stays one."""
        return nn.functional.normalize(memory, dim=-1)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """query (B, T, D), keys (B, S, C) -> scores (B, T, S)."""
        cosines = DotScore.forward(self, nn.functional.normalize(self.query_proj(query), dim=-1), keys)
        return self.log_scale.exp() * cosines


class EuclideanScore(GeneralScore):
    """Minus the squared distance between query and slot, with a learnt precision.

        e_tj = -exp(p) |W q_t - h_j|^2   (1)

    So a shift of query and slots together changes nothing: the softmax of this score is the kernel regression of
    Nadaraya and Watson with a Gaussian kernel. p starts at -log C, so that scores do not grow with the width.

    Args:
        query_size: width D of a query q_t.
        key_size: width C of a memory slot h_j.
    """

    def __init__(self, *, query_size: int, key_size: int) -> None:
        super().__init__(query_size=query_size, key_size=key_size)
        self.log_precision = nn.Parameter(torch.full((1,), -math.log(key_size)))

    def init_weights(self) -> None:
        """The precision that it starts with."""
        init.constant_(self.log_precision, -math.log(self.key_width))

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """query (B, T, D), keys (B, S, C) -> scores (B, T, S)."""
        asked = self.query_proj(query)
        # The square multiplied out: differences of all pairs would take (B, T, S, C) numbers.
        products = DotScore.forward(self, asked, keys)
        asked, keys = asked.to(products.dtype), keys.to(products.dtype)
        distances = asked.square().sum(-1)[:, :, None] + keys.square().sum(-1)[:, None] - 2 * products
        scores: Tensor = -self.log_precision.exp() * distances
        return scores


PROJECTED = {"general": GeneralScore, "cosine": CosineScore, "euclidean": EuclideanScore}


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
    if kind in PROJECTED:
        return PROJECTED[kind](query_size=query_size, key_size=key_size)
    return AdditiveScore(
        query_size=query_size,
        key_size=key_size,
        attention_size=attention_size,
        cell_norm=cell_norm,
        norm_eps=norm_eps,
    )
