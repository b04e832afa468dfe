"""What the decoder and the encoder-decoder return beyond the output classes of transformers."""

from dataclasses import dataclass

import torch
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions, Seq2SeqModelOutput


@dataclass
class RnnAttnDecoderOutput(BaseModelOutputWithPastAndCrossAttentions):
    """What the decoder returns.

    reading: what the distribution of the next token is told of the decoder's last reading of the encoder, see
        ``output_distribution``; None where that distribution is one of the vocabulary alone.
    """

    reading: tuple[torch.Tensor, ...] | None = None


@dataclass
class RnnAttnModelOutput(Seq2SeqModelOutput):
    """What encoder and decoder return together; ``reading`` is the decoder's."""

    reading: tuple[torch.Tensor, ...] | None = None
