"""Output classes of the models: those of transformers, which answer to ``cache`` and to ``past_key_values``."""

from dataclasses import dataclass

import torch
from transformers.modeling_outputs import (
    BaseModelOutputWithPastAndCrossAttentions,
    CausalLMOutputWithCrossAttentions,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
)

from .transformers_versions import BothCacheNames


@dataclass
class RnnAttnDecoderOutput(BothCacheNames, BaseModelOutputWithPastAndCrossAttentions):
    """What the decoder returns.

    reading: what the distribution of the next token is told of the decoder's last reading of the encoder, see
        ``output_distribution``; None where that distribution is one of the vocabulary alone.
    """

    reading: tuple[torch.Tensor, ...] | None = None


@dataclass
class RnnAttnModelOutput(BothCacheNames, Seq2SeqModelOutput):
    """What encoder and decoder return together; ``reading`` is the decoder's."""

    reading: tuple[torch.Tensor, ...] | None = None


@dataclass
class RnnAttnSeq2SeqLMOutput(BothCacheNames, Seq2SeqLMOutput):
    """Output of the encoder-decoder with an output matrix."""


@dataclass
class RnnAttnCausalLMOutput(BothCacheNames, CausalLMOutputWithCrossAttentions):
    """Output of the language model."""
