"""A language model: the decoder with an output matrix, alone or as the decoder of transformers' wrapper models."""

from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .loss_rnnattn import IGNORED
from .mixers import reads_memory
from .modeling_rnnattn import RnnAttnDecoder, RnnAttnPreTrainedModel, as_kind
from .output_distribution import build_distribution, build_output
from .outputs_rnnattn import RnnAttnCausalLMOutput
from .plain_linear import linear
from .self_attention_masks import create_masks_for_generate
from .transformers_versions import GenerationHooks, named_cache, one_cache
from .written_tokens import build_written_tokens


class RnnAttnDecoderModel(RnnAttnPreTrainedModel):
    """The decoder alone, under the names that it has in an encoder-decoder, whose checkpoints it can load.

    It attends to an encoder's output if ``config.add_cross_attention``, and then reads vectors of the width
    ``config.cross_attention_hidden_size``, or ``hidden_size`` if that is not set: what transformers'
    ``EncoderDecoderModel`` and its like hand over.

    Raises:
        ValueError: a field needs an encoder, and there is none.
    """

    def __init__(self, config: Any) -> None:
        config = as_kind(config, is_encoder_decoder=False, is_decoder=True)
        has_encoder = config.add_cross_attention
        if has_encoder:
            config = as_kind(config, encoder_hidden_size=config.cross_attention_hidden_size or config.hidden_size)
        else:
            _check_needs_no_encoder(config)
        if config.copy_from_source:
            raise ValueError("copy_from_source must be False: a decoder alone does not know the ids of a source")
        super().__init__(config)
        self.decoder = RnnAttnDecoder(self.config, has_encoder=has_encoder)
        self.post_init()

    def get_decoder(self, *args: Any, **kwargs: Any) -> RnnAttnDecoder:
        return self.decoder

    def get_input_embeddings(self) -> nn.Embedding:
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.decoder.set_input_embeddings(value)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the vocabulary."""
        return self.decoder.resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    @can_return_tuple
    def forward(self, *args: Any, **kwargs: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        """Reads T more tokens: see ``RnnAttnDecoder.forward``."""
        outputs: BaseModelOutputWithPastAndCrossAttentions = self.decoder(*args, **kwargs)
        return outputs


# field -> the value with which a decoder needs no encoder, and what it does with another one
NEEDS_NO_ENCODER: dict[str, tuple[Any, str]] = {
    "decoder_init": ("zeros", "starts from"),
    "context_vector": ("none", "is made of"),
    "feed_context": (False, "reads"),
    "hard_attention": ("none", "reads"),
    "readout": ("hidden", "reads"),
}


def _check_needs_no_encoder(config: Any) -> None:
    for entry in config.decoder_mixers:
        if reads_memory(entry):
            raise ValueError(f"decoder_mixers has {entry!r}, which reads an encoder: add_cross_attention must be True")
    for name, (value, does) in NEEDS_NO_ENCODER.items():
        given = getattr(config, name)
        if given != value:
            raise ValueError(
                f"{name} {given!r} {does} an encoder's output: it must be {value!r}, or add_cross_attention True"
            )


class RnnAttnForCausalLM(RnnAttnPreTrainedModel, GenerationHooks, GenerationMixin):
    """Language model; also the decoder of EncoderDecoderModel, VisionEncoderDecoderModel, SpeechEncoderDecoderModel.

    Shapes: input_ids (B, T) -> logits (B, T, vocab_size).
    """

    _tied_weights_keys = {"lm_head.weight": "model.decoder.embeddings.word_embeddings.weight"}

    def __init__(self, config: Any) -> None:
        model = RnnAttnDecoderModel(config)
        super().__init__(model.config)
        self.model = model
        width = model.decoder.readout.output_size
        self.readout, self.lm_head = build_output(self.config, width, self.config.vocab_size)
        self.written_tokens = build_written_tokens(self.config)
        self.distribution = build_distribution(self.config)
        self.post_init()

    def get_decoder(self, *args: Any, **kwargs: Any) -> RnnAttnDecoder:
        return self.model.decoder

    def get_input_embeddings(self) -> nn.Embedding:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.lm_head = value
        self.written_tokens = build_written_tokens(self.config)  # the vocabulary may have been resized

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | dict[str, torch.Tensor | None] | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        cache: Cache | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        shift_labels: torch.LongTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> RnnAttnCausalLMOutput:
        """Logits of the next token at every position, and the loss if ``labels`` are given.

        Args:
            input_ids and the others up to ``use_cache``: see ``RnnAttnDecoder.forward``.
            labels: (B, T), as a rule ``input_ids`` themselves: they are shifted here. -100 is ignored.
            shift_labels: (B, T), labels that are shifted already.
            logits_to_keep: how many of the last logits to compute, 0 for all of them; or their indices.
            num_items_in_batch: what the summed loss is divided by, see ``seq2seq_loss``.
            past_key_values: the cache, by the name that it had before transformers 5.24.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            cache=one_cache(cache, past_key_values),
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        told = None if outputs.reading is None else tuple(part[:, kept] for part in outputs.reading)

        def score(hidden: torch.Tensor) -> torch.Tensor:  # (B, T, V) of the vocabulary
            return self.written_tokens(linear(self.lm_head, self.readout(hidden)))  # type: ignore[no-any-return]

        logits = self.distribution(score, outputs.last_hidden_state[:, kept], told)
        loss = None
        if shift_labels is None and labels is not None:
            shift_labels = nn.functional.pad(labels, (0, 1), value=IGNORED)[:, 1:]  # type: ignore[assignment]
        if shift_labels is not None:
            loss = self.distribution.loss(logits, shift_labels, num_items_in_batch, told)
        return RnnAttnCausalLMOutput(
            loss=loss,
            logits=logits,
            **named_cache(outputs.cache),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
        )

    create_masks_for_generate = staticmethod(create_masks_for_generate)
