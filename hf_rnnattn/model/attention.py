"""How a query reads a memory: score functions, multi-head attention, and the one masked softmax behind them all."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .plain_linear import linear
from .transformers_versions import attention_implementation


class Memory(NamedTuple):
    """What a cell reads inside its recurrence, prepared once: keys (B, S, A), values (B, S, C), mask (B, S)."""

    keys: Tensor
    values: Tensor
    mask: Tensor | None


class Reading(NamedTuple):
    """What a layer of the decoder read of the encoder; None where it read nothing, or does not say.

    context: (B, T, C), what was found there; of ``EveryCrossAttention`` (S, B, T, C).
    weights: (B, H, T, S), where.
    log_weights: (B, T, S), with which probability a hard attention reads each position.
    """

    context: Tensor | None = None
    weights: Tensor | None = None
    log_weights: Tensor | None = None


NOTHING_READ = Reading()


def masked_softmax(scores: Tensor, mask: Tensor | None, dim: int = -1) -> Tensor:
    """Softmax over the allowed entries of ``scores``; the others get exactly 0, and so does a row with none allowed.

    Args:
        scores: any shape; the arithmetic is float32 at least.
        mask: boolean, broadcastable to ``scores``, True where reading is allowed; None allows everything.

    Returns:
        Weights in the dtype of ``scores``. Gradients are finite for rows that allow nothing.
    """
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is None:
        return wide.softmax(dim).to(scores.dtype)
    # The lowest finite number, not -inf: the softmax of a row of -inf is NaN, and so is its gradient.
    weights = wide.masked_fill(~mask, torch.finfo(wide.dtype).min).softmax(dim)
    return weights.masked_fill(~mask, 0.0).to(scores.dtype)


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention that also returns its weights.

    Args:
        query, key, value: (B, H, T, D), (B, H, S, D), (B, H, S, D).
        attention_mask: broadcastable to (B, H, T, S); boolean (True = read) or additive (0 = read).

    Returns:
        (B, T, H, D) and the weights (B, H, T, S). A row that may read nothing gets zeros.
    """
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling  # (B, H, T, S)
    allowed = attention_mask
    if attention_mask is not None and attention_mask.dtype != torch.bool:
        allowed = attention_mask > torch.finfo(attention_mask.dtype).min
        scores = scores + attention_mask
    weights = masked_softmax(scores, allowed)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2), weights


class MultiHeadAttention(nn.Module):
    """Multi-head scaled dot-product attention, Vaswani et al. 2017, through transformers' attention interface.

        head_i = softmax(q_i K_i^T / sqrt(d)) V_i,   q, K, V linear in the query and the memory   (1)
        y = W_o [head_1; ...; head_H] + b_o                                                        (2)

    Args:
        config: read for the name of its attention implementation only.
        query_size, memory_size: widths of what asks and of what is read.
        hidden_size: width of queries, keys, values and the output; a multiple of ``num_heads``.

    Shapes: query (B, T, query_size), memory (B, S, memory_size) -> (B, T, hidden_size), weights (B, H, T, S) or None.
    Reference: tests/reference_attention.py::multi_head_attention.
    """

    def __init__(
        self,
        config: Any,
        *,
        query_size: int,
        memory_size: int,
        hidden_size: int,
        num_heads: int,
        dropout: float = 0.0,
        is_causal: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.head_dim = hidden_size // num_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = dropout
        self.is_causal = is_causal
        self.q_proj = nn.Linear(query_size, hidden_size)
        self.k_proj = nn.Linear(memory_size, hidden_size)
        self.v_proj = nn.Linear(memory_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], -1, self.head_dim).transpose(1, 2)  # (B, H, T, d)

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, (B, H, S, d) each, of a memory (B, S, memory_size)."""
        return self._split_heads(linear(self.k_proj, memory)), self._split_heads(linear(self.v_proj, memory))

    def read(
        self, query: Tensor, keys: Tensor, values: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Reads prepared keys and values for each query (B, T, query_size)."""
        interface = ALL_ATTENTION_FUNCTIONS.get_interface(
            attention_implementation(self.config), eager_attention_forward
        )
        heads, weights = interface(
            self,
            self._split_heads(linear(self.q_proj, query)),
            keys,
            values,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return linear(self.out_proj, heads.reshape(query.shape[0], query.shape[1], -1)), weights
