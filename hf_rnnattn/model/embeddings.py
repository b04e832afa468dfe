"""BERT-style embeddings: token + position + segment, then norm and dropout."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .norms import build_norm

POSITION_EMBEDDINGS = ("learned", "sinusoidal", "none")


class LearnedPositions(nn.Embedding):
    """One trained vector a position, Devlin et al. 2019. Positions (B, T) -> (B, T, E)."""

    limited = True


class SinusoidalPositions(nn.Module):
    """Fixed positions without a limit, Vaswani et al. 2017, in the layout of tensor2tensor and Marian.

        PE(p)[c]       = sin(p * 10000^(-c / (h - 1)))   for c in [0, h), h = E / 2   (1)
        PE(p)[h + c]   = cos(p * 10000^(-c / (h - 1)))                                (2)

    Positions (B, T) -> (B, T, E). Computed in float32: bf16 cannot tell large positions apart.
    """

    limited = False

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.width = embedding_size // 2

    def forward(self, positions: Tensor) -> Tensor:
        """Positions (B, T) -> (B, T, E)."""
        # Not a buffer: with the model, half() would round it, and then position 1001 is position 1000.
        exponents = torch.arange(self.width, dtype=torch.float32, device=positions.device) / max(self.width - 1, 1)
        frequencies = torch.exp(-math.log(10000.0) * exponents)  # (h,)
        angles = positions[..., None].float() * frequencies  # (B, T, h)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class RnnAttnEmbeddings(nn.Module):
    """What one side of the model reads: token + position + segment, norm, dropout.

    Args:
        vocab_size: rows of the token table.
        embedding_size: width E.
        type_vocab_size: rows of the segment table; 0 means no segments.
        position_embedding: ``learned``, ``sinusoidal`` or ``none``.
        pad_token_id: its row is zero and gets no gradient; None if there is no padding.
        norm_type: kind of the norm after the sum; None means no norm.
        scale: whether token vectors are multiplied by sqrt(E).
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        embedding_size: int,
        type_vocab_size: int,
        position_embedding: str,
        max_position_embeddings: int,
        pad_token_id: int | None,
        norm_type: str | None,
        norm_eps: float,
        scale: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, embedding_size, padding_idx=pad_token_id)
        self.position_embeddings: nn.Module | None = None
        if position_embedding == "learned":
            self.position_embeddings = LearnedPositions(max_position_embeddings, embedding_size)
        elif position_embedding == "sinusoidal":
            self.position_embeddings = SinusoidalPositions(embedding_size)
        self.token_type_embeddings = nn.Embedding(type_vocab_size, embedding_size) if type_vocab_size else None
        self.norm = nn.Identity() if norm_type is None else build_norm(norm_type, embedding_size, norm_eps)
        self.max_position_embeddings = max_position_embeddings
        self.scale = math.sqrt(embedding_size) if scale else 1.0
        self.dropout = dropout

    def check_length(self, length: int, side: str) -> None:
        """Raises ValueError if ``length`` positions are more than a learned table has."""
        if getattr(self.position_embeddings, "limited", False) and length > self.max_position_embeddings:
            raise ValueError(f"{side} length {length} exceeds max_position_embeddings {self.max_position_embeddings}")

    def forward(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        mask: Tensor | None,
    ) -> Tensor:
        """Embeds ids (B, T), or vectors (B, T, E) that take the place of the token table's rows.

        Padding is cleaned here, once: whatever stands there, NaN included, the result is 0 and no gradient flows back.

        Raises:
            ValueError: segments are given and there is no segment table.
        """
        x = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds  # (B, T, E)
        if inputs_embeds is not None and mask is not None:
            # Before the norm as well as after it: the norm's own gradient would be NaN.
            x = torch.where(mask[..., None], x, 0.0)
        if self.scale != 1.0:
            x = x * self.scale
        if self.position_embeddings is not None:
            x = x + self.position_embeddings(position_ids).to(x.dtype)
        x = self._add_segments(x, token_type_ids)
        x = nn.functional.dropout(self.norm(x), p=self.dropout, training=self.training)
        return x if mask is None else torch.where(mask[..., None], x, 0.0)

    def _add_segments(self, x: Tensor, token_type_ids: Tensor | None) -> Tensor:
        if self.token_type_embeddings is None:
            if token_type_ids is not None:
                raise ValueError("token_type_ids were given, but type_vocab_size is 0")
            return x
        if token_type_ids is None:
            token_type_ids = torch.zeros(1, 1, dtype=torch.long, device=x.device)
        segments: Tensor = self.token_type_embeddings(token_type_ids)
        return x + segments


def build_embeddings(config: Any, side: str) -> RnnAttnEmbeddings:
    """The embeddings of ``encoder`` or ``decoder``, as the config says."""
    return RnnAttnEmbeddings(
        vocab_size=config.encoder_vocab_size if side == "encoder" else config.vocab_size,
        embedding_size=config.embedding_size,
        type_vocab_size=config.type_vocab_size,
        position_embedding=getattr(config, f"{side}_position_embedding"),
        max_position_embeddings=config.max_position_embeddings,
        pad_token_id=config.pad_token_id,
        norm_type=config.norm_type if config.embedding_norm else None,
        norm_eps=config.layer_norm_eps,
        scale=config.scale_embedding,
        dropout=config.dropout,
    )
