"""Attention that reads one position of the encoder a step: chosen by chance and by reward, or each in its turn.

Both have the parameters of ``ScoredCrossAttention``, and stand in the last layer of the decoder, which alone reads the
encoder: so a choice bears on the token of its own step and on nothing else.
"""

from typing import Any

import torch
from torch import Tensor

from .mixer_attention import ScoredCrossAttention

HARD_ATTENTIONS = ("none", "reinforce", "marginal")


class _HardCrossAttention(ScoredCrossAttention):
    """What the two share: the logarithm of the weights."""

    def log_weights(self, x: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        """log alpha (B, T, S), in float32 at least; of masked positions the lowest number that there is."""
        scores: Tensor = self.score(x, keys[:, 0])  # (B, T, S)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)
        return scores.log_softmax(-1)


class ChosenCrossAttention(_HardCrossAttention):
    """Reads one position, drawn while training and the likeliest otherwise.

        alpha_t = softmax_j(score(x_t, h_j))          (1)
        j_t ~ alpha_t in training, else argmax_j alpha_tj   (2)
        y_t = W_o h_{j_t} + b_o                       (3)

    No gradient passes through (2): see ``reinforced_loss``.

    Shapes: x (B, T, query_size), memory (B, S, memory_size) -> y (B, T, hidden_size), the choice (B, 1, T, S) as zeros
        and a one, context h_{j_t} (B, T, memory_size), log alpha (B, T, S).
    Padding: is never chosen; where all is padding, nothing is.
    Source: Xu et al. 2015, Show, Attend and Tell, ICML.
    Reference: tests/model/test_hard_attention.py enumerates every choice.
    """

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        attention_mask: Tensor | None,
        mask: Tensor | None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reads the memory for each x_t; ``mask`` (B, S) is True where the memory is real."""
        log_weights = self.log_weights(x, keys, mask)
        places = torch.arange(log_weights.shape[-1], device=x.device)
        choice = places == self.choose(log_weights)[..., None]  # (B, T, S)
        if mask is not None:
            choice = choice & mask[:, None]
        weights = choice.to(values.dtype)
        context = torch.matmul(weights, values[:, 0])  # (B, T, C)
        return self.out_proj(context), weights[:, None], context, log_weights

    def choose(self, log_weights: Tensor) -> Tensor:
        """A position (B, T) for each row of (B, T, S)."""
        if self.training:  # the largest of log alpha plus noise of Gumbel is distributed as alpha
            log_weights = log_weights - torch.empty_like(log_weights).exponential_().log()
        return log_weights.argmax(-1)


class EveryCrossAttention(_HardCrossAttention):
    """Reads each position by itself, so that the distribution of the next token can be summed over all of them.

    Positions come before the batch, so that whatever follows in the layer and the read-out sees S decoders side by
    side; ``MarginalDistribution`` sums what they say.

    Shapes: x (B, T, query_size), memory (B, S, memory_size) -> y (S, B, T, hidden_size), alpha (B, 1, T, S), context
        (S, B, T, memory_size), log alpha (B, T, S).
    Padding: has weight 0.
    Cost: whatever follows, S times.
    Source: Wu et al. 2018, Hard Non-Monotonic Attention for Character-Level Transduction, EMNLP.
    Reference: tests/model/test_hard_attention.py enumerates every choice.
    """

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        attention_mask: Tensor | None,
        mask: Tensor | None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reads the memory for each x_t; ``mask`` (B, S) is True where the memory is real."""
        log_weights = self.log_weights(x, keys, mask)
        weights = log_weights.exp()
        if mask is not None:
            weights = weights * mask[:, None]
        slots = values[:, 0].transpose(0, 1)[:, :, None]  # (S, B, 1, C)
        context = slots.expand(-1, -1, x.shape[1], -1)
        found: Tensor = self.out_proj(slots).expand(-1, -1, x.shape[1], -1)
        return found, weights[:, None].to(values.dtype), context, log_weights


HARD: dict[str, type[_HardCrossAttention]] = {"reinforce": ChosenCrossAttention, "marginal": EveryCrossAttention}
