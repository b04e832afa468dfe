"""Self-attention as a mixer, and the attentions that read the encoder."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .attention import MultiHeadAttention, masked_softmax
from .attention_scores import build_score


class FullAttentionMixer(MultiHeadAttention):
    """Multi-head self-attention over all real tokens (encoder) or all tokens so far (decoder).

    Shapes: x (B, T, input_size) -> (B, T, hidden_size), weights (B, H, T, S) or None (fused kernels return none).
    Padding: the attention mask forbids reading padded keys.
    Cost: O(B T^2 D) time; keys and values of every token in the cache.
    Source: Vaswani et al. 2017, Attention Is All You Need, NeurIPS.
    Reference: tests/reference_attention.py::multi_head_attention.
    """

    kind: ClassVar[str] = "attention"
    reads_memory: ClassVar[bool] = False
    keeps_keys: ClassVar[bool] = True
    mask_kind: ClassVar[str] = "full_attention"  # which of the masks of ``self_attention_masks`` it takes
    takes_depth: ClassVar[bool] = False
    takes_blocks: ClassVar[bool] = False
    takes_score: ClassVar[bool] = False
    takes_heads: ClassVar[bool] = False  # of additive attention
    least_depth: ClassVar[int] = 1

    def __init__(
        self, config: Any, *, input_size: int, hidden_size: int, num_heads: int, dropout: float, is_causal: bool
    ) -> None:
        super().__init__(
            config,
            query_size=input_size,
            memory_size=input_size,
            hidden_size=hidden_size,
            num_heads=num_heads,
            dropout=dropout,
            is_causal=is_causal,
        )

    @property
    def slot_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Heads and width of a key, and of a value."""
        shape = (self.q_proj.out_features // self.head_dim, self.head_dim)
        return shape, shape

    def forward(
        self, x: Tensor, attention_mask: Tensor | None, cache_layer: Any = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Reads ``x`` (B, T, input_size) and what ``cache_layer`` holds of earlier tokens; appends to it."""
        keys, values = self.project_memory(x)
        if cache_layer is not None:
            keys, values = cache_layer.update(keys, values)
        return self.read(x, keys, values, attention_mask, **kwargs)


class SlidingAttentionMixer(FullAttentionMixer):
    """Multi-head self-attention to tokens that are near.

    The mask says which: in decoders the last ``window`` tokens, the reading one among them; in encoders those at most
    ``window`` tokens away on either side. Padding between two tokens does not count.

    Args:
        window: told to kernels that cut the window themselves instead of taking a mask (flash attention).

    Shapes, padding and errors: those of ``FullAttentionMixer``.
    Cost: O(B T^2 D) time where the kernel does not skip what is masked, else O(B T window D); keys and values of every
        token in the cache.
    Source: Beltagy et al. 2020, Longformer: the Long-Document Transformer.
    Reference: tests/reference_attention.py::multi_head_attention.
    """

    mask_kind: ClassVar[str] = "sliding_attention"

    def __init__(self, config: Any, *, window: int, **options: Any) -> None:
        super().__init__(config, **options)
        # Those kernels read sliding_window - 1 tokens to the left and as many to the right.
        self.kernel_window = window if self.is_causal else window + 1

    def forward(
        self, x: Tensor, attention_mask: Tensor | None, cache_layer: Any = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """See ``FullAttentionMixer.forward``."""
        return super().forward(x, attention_mask, cache_layer, sliding_window=self.kernel_window, **kwargs)


class MultiHeadCrossAttention(MultiHeadAttention):
    """Multi-head attention from the decoder to the encoder.

    ``prepare_memory`` runs once a sequence; its keys and values (B, H, S, d) live in the cross-attention cache.
    """

    def prepare_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, (B, H, S, d) each, of the encoder's output (B, S, memory_size)."""
        return self.project_memory(memory)

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        attention_mask: Tensor | None,
        mask: Tensor | None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Reads the memory for each x_t; ``attention_mask`` is what the attention interface wants of ``mask``.

        Returns:
            (B, T, hidden_size), weights (B, H, T, S) or None, and the context, which is the first once more.
        """
        read, weights = self.read(x, keys, values, attention_mask, **kwargs)
        return read, weights, read


class ScoredCrossAttention(nn.Module):
    """Single-head attention from the decoder to the encoder, after the recurrence.

        alpha_t = softmax_j(score(x_t, h_j))   (1)
        c_t = sum_j alpha_tj h_j               (2)
        y_t = W_o c_t + b_o                    (3)

    Args:
        score: how x_t and h_j are compared, one of ``attention_scores.SCORES``.
        attention_size: width of the comparison of additive scores.

    Shapes: x (B, T, query_size), memory (B, S, memory_size) -> y (B, T, hidden_size), weights (B, 1, T, S),
        context c (B, T, memory_size).
    Source: Bahdanau et al. 2015 and Luong et al. 2015.
    Reference: tests/reference_attention.py::scored_attention.
    """

    def __init__(
        self, *, score: str, query_size: int, memory_size: int, hidden_size: int, attention_size: int, dropout: float
    ) -> None:
        super().__init__()
        self.score = build_score(score, query_size=query_size, key_size=memory_size, attention_size=attention_size)
        self.attention_dropout = dropout
        self.out_proj = nn.Linear(memory_size, hidden_size)

    def prepare_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, 1, S, A) and values (B, 1, S, C) of the encoder's output (B, S, C)."""
        return self.score.prepare_keys(memory)[:, None], memory[:, None]

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
        scores = self.score(x, keys[:, 0])  # (B, T, S)
        weights = masked_softmax(scores, None if mask is None else mask[:, None]).to(values.dtype)
        kept = nn.functional.dropout(weights, p=self.attention_dropout, training=self.training)
        context = torch.matmul(kept, values[:, 0])  # (B, T, C)
        return self.out_proj(context), weights[:, None], context
