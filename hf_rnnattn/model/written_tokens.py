"""Tokens that a model never writes: their logits are constant, so that training leaves their weights alone."""

from typing import Any

from torch import Tensor, nn

# Far below any other logit, so that no softmax counts it, and within the range of float16.
FORBIDDEN = -1e4


class WrittenTokens(nn.Module):
    """Logits (B, T, V) with a constant in place of those of tokens that are never written.

    Only where gradients flow. Elsewhere the output's bias says the same, and a step of decoding need not copy logits:
    no gradient reaches the weights of these tokens, label smoothing's included, so they stay as they were made.

    Args:
        written: how many tokens, from id 0, are written.
    """

    def __init__(self, written: int) -> None:
        super().__init__()
        self.written = written

    def forward(self, logits: Tensor) -> Tensor:
        if not logits.requires_grad:
            return logits
        others = logits.shape[-1] - self.written
        return nn.functional.pad(logits[..., : self.written], (0, others), value=FORBIDDEN)


def build_written_tokens(config: Any) -> nn.Module:
    """``WrittenTokens`` of a config's ``written_vocab_size``; nothing where every token is written."""
    written = config.written_vocab_size
    return nn.Identity() if written is None else WrittenTokens(written)
