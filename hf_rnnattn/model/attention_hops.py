"""Attention that asks again with what it found: the hops of an end-to-end memory network."""

from typing import Any

import torch
import transformers.initialization as init
from torch import Tensor, nn

from .attention import masked_softmax

HOP_TYINGS = ("adjacent", "layer_wise")


class HopCrossAttention(nn.Module):
    """Reads the encoder K times in a row, each time with the query that the last reading left.

        u_1 = x_t                                                              (1)
        p_k = softmax_j(u_k . A_k m_j)                                         (2)
        o_k = sum_j p_kj C_k m_j                                               (3)
        u_{k+1} = u_k + o_k                        A_{k+1} = C_k: adjacent     (4)
        u_{k+1} = H u_k + o_k                      A_k = A, C_k = C: layer-wise
        y_t = u_{K+1}                                                          (5)

    Sukhbaatar et al. embed words by tables A_k and C_k of their own; here the m_j are made of one table, and A_k and
    C_k are matrices: the same where the table is as wide as the vocabulary. Their B, of the question, is what made
    x_t.

    Args:
        hops: the number K.
        tying: ``adjacent`` or ``layer_wise``.
        query_size: width D of x_t, and of y_t.
        memory_size: width C of a slot m_j.
        dropout: probability on the weights.

    Shapes: x (B, T, D), memory (B, S, C) -> y (B, T, D), weights (B, K, T, S), context o_K (B, T, D).
    Padding: a masked slot gets weight 0; where all are, o_k is 0.
    Cost: O(B K S D (C + T)) time; K keys and values of D numbers a slot, one if layer-wise.
    Source: Sukhbaatar et al. 2015, End-To-End Memory Networks, NeurIPS.
    Reference: tests/reference_attention.py::hop_attention.
    """

    maps: Any  # a ModuleList: A_1, C_1 = A_2, ..., C_K; or A, C

    def __init__(self, *, hops: int, tying: str, query_size: int, memory_size: int, dropout: float) -> None:
        super().__init__()
        self.hops = hops
        self.attention_dropout = dropout
        count = hops + 1 if tying == "adjacent" else 2
        self.maps = nn.ModuleList([nn.Linear(memory_size, query_size, bias=False) for _ in range(count)])
        self.query_map = None if tying == "adjacent" else nn.Linear(query_size, query_size, bias=False)

    def init_weights(self) -> None:
        """Xavier-uniform matrices, and the identity for H: the hops then start as those of adjacent tying."""
        for layer in self.maps:
            init.xavier_uniform_(layer.weight)
        if self.query_map is not None:
            init.eye_(self.query_map.weight)

    def prepare_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys A_k m_j and values C_k m_j, (B, K, S, D) each, of (B, S, C); layer-wise (B, 1, S, D)."""
        mapped = torch.stack([layer(memory) for layer in self.maps], dim=1)  # (B, K + 1 or 2, S, D)
        return mapped[:, :-1].contiguous(), mapped[:, 1:].contiguous()

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        attention_mask: Tensor | None,
        mask: Tensor | None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reads the memory for each x_t; ``mask`` (B, S) is True where the memory is real."""
        # In float32 at least: scores are exponents, and what one hop rounds off the next one asks with.
        wide = torch.promote_types(x.dtype, torch.float32)
        query = found = x.to(wide)
        weights = []
        for k in range(self.hops):
            key, value = (part[:, min(k, part.shape[1] - 1)].to(wide) for part in (keys, values))  # (B, S, D)
            scores = torch.matmul(query, key.transpose(1, 2))  # (B, T, S)
            p = masked_softmax(scores, None if mask is None else mask[:, None])
            weights.append(p)
            kept = nn.functional.dropout(p, p=self.attention_dropout, training=self.training)
            found = torch.matmul(kept, value)  # (B, T, D)
            query = found + (query if self.query_map is None else self.query_map(query.to(x.dtype)).to(wide))
        return query.to(x.dtype), torch.stack(weights, dim=1).to(x.dtype), found.to(x.dtype)
