"""How a sequence of vectors becomes one, for labels of whole sequences."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from .attention import masked_softmax
from .initial_state import encoder_ends, where_it_ended
from .inputs import mean_over_real

POOLINGS = ("mean", "last", "attention")


class Pooling(nn.Module):
    """What the ways of pooling share.

    Shapes: hidden (B, S, C), mask (B, S) bool or None -> (B, C); zeros for a row without real tokens.
    """

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """hidden (B, S, C) -> (B, C). What stands in padding is not read."""
        return self.pool(hidden if mask is None else torch.where(mask[..., None], hidden, 0.0), mask)

    @abstractmethod
    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """``forward`` of vectors whose padding is zero."""


class MeanPooling(Pooling):
    """The mean over the real tokens."""

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        return mean_over_real(hidden, mask)


class LastPooling(Pooling):
    """The output where the encoder ended, which is its last state read out.

    Args:
        ends: where that is: see ``encoder_ends``.
    """

    def __init__(self, ends: str) -> None:
        super().__init__()
        self.ends = ends

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        return where_it_ended(self.ends, hidden, mask)


class AttentionPooling(Pooling):
    """A weighted mean whose weights are learnt.

        e_j = v . tanh(W h_j + b)            (1)
        y = sum_j softmax_j(e_j) h_j         (2)

    Args:
        size: width C of h_j and of the comparison.

    Source: Yang et al. 2016, Hierarchical Attention Networks for Document Classification, NAACL.
    Reference: tests/reference_attention.py::attention_pooling.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.key_proj = nn.Linear(size, size)
        self.score_proj = nn.Linear(size, 1, bias=False)

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        scores = self.score_proj(torch.tanh(self.key_proj(hidden))).squeeze(-1)  # (B, S)
        weights = masked_softmax(scores, mask)
        return torch.matmul(weights[:, None], hidden).squeeze(1)


def build_pooling(config: Any) -> Pooling:
    """What makes one vector of the encoder's output, as ``classifier_pooling`` says."""
    if config.classifier_pooling == "last":
        return LastPooling(encoder_ends(config))
    return AttentionPooling(config.encoder_hidden_size) if config.classifier_pooling == "attention" else MeanPooling()
