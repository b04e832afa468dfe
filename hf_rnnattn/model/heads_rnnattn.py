"""Heads on the encoder alone: labels for sequences, for tokens, spans that answer questions, masked tokens.

Names of parameters are those of an encoder-decoder, so that the one's checkpoint initialises the other.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import (
    BaseModelOutput,
    MaskedLMOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .inputs import as_bool_mask
from .loss_rnnattn import classification_loss, problem_type_of, seq2seq_loss, span_loss
from .modeling_rnnattn import RnnAttnEncoder, RnnAttnPreTrainedModel, as_kind
from .output_distribution import build_output
from .plain_linear import linear
from .pooling import build_pooling
from .transformers_versions import drop_weight_conversions

# What says where a checkpoint's config.json is.
PLACE = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
# The one table of both sides is stored under the decoder's name.
SHARED_TABLE = {r"decoder\.embeddings\.word_embeddings\.": "encoder.embeddings.word_embeddings."}


class _EncoderOnly(RnnAttnPreTrainedModel):
    """Loads an encoder from a checkpoint of any model of the family that has one."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(as_kind(config, is_encoder_decoder=False), *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As ever; an encoder-decoder's one table of embeddings becomes the encoder's."""
        config: Any = kwargs.get("config")
        if not hasattr(config, "share_encoder_decoder_embeddings"):
            place = {name: kwargs[name] for name in PLACE if name in kwargs}
            config = cls.config_class.from_pretrained(config or pretrained_model_name_or_path, **place)
        if config.is_encoder_decoder and config.share_encoder_decoder_embeddings:
            kwargs["key_mapping"] = {**SHARED_TABLE, **(kwargs.get("key_mapping") or {})}
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        # Saving would rename the table back, but what is saved is no encoder-decoder.
        drop_weight_conversions(model, {*SHARED_TABLE})
        return loaded


class RnnAttnEncoderModel(_EncoderOnly):
    """The encoder alone.

    Shapes: input_ids (B, S) -> last_hidden_state (B, S, encoder_hidden_size).
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.encoder = RnnAttnEncoder(self.config)
        self.post_init()

    def get_encoder(self, *args: Any, **kwargs: Any) -> RnnAttnEncoder:
        return self.encoder

    def get_input_embeddings(self) -> nn.Embedding:
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.encoder.set_input_embeddings(value)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the source vocabulary."""
        return self.encoder.resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """Encodes a batch: see ``RnnAttnEncoder.forward``."""
        outputs: BaseModelOutput = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        return outputs


class _EncoderHead(_EncoderOnly):
    """What the heads below share: the encoder, and its dropped-out output."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.width = int(config.encoder_hidden_size)
        self.model = RnnAttnEncoderModel(self.config)
        self.dropout = nn.Dropout(self.config.dropout)

    def get_encoder(self, *args: Any, **kwargs: Any) -> RnnAttnEncoder:
        return self.model.encoder

    def get_input_embeddings(self) -> nn.Embedding:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.model.set_input_embeddings(value)


class RnnAttnForSequenceClassification(_EncoderHead):
    """One label a sequence, several, or numbers: a linear layer over the encoder's output, pooled.

    Shapes: input_ids (B, S) -> logits (B, num_labels).
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.pooling = build_pooling(self.config)
        self.classifier = nn.Linear(self.width, self.config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        """Classifies a batch.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds: see ``RnnAttnEncoder.forward``.
            labels: (B,) classes, or (B,) numbers if ``num_labels`` is 1, or (B, num_labels) of 0 and 1. What they are
                is ``config.problem_type``; where that is None, their type and ``num_labels`` tell.
            num_items_in_batch: what the summed loss is divided by, see ``seq2seq_loss``.
        """
        outputs = self.model(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **kwargs)
        hidden = outputs.last_hidden_state
        mask = as_bool_mask(attention_mask, batch=hidden.shape[0], length=hidden.shape[1], name="attention_mask")
        logits = self.classifier(self.dropout(self.pooling(hidden, mask)))  # (B, num_labels)
        loss = None
        if labels is not None:
            if self.config.problem_type is None:
                self.config.problem_type = problem_type_of(labels, self.config.num_labels)
            loss = classification_loss(logits, labels, self.config.problem_type, num_items_in_batch)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class RnnAttnForTokenClassification(_EncoderHead):
    """A label for every token.

    Shapes: input_ids (B, S) -> logits (B, S, num_labels).
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(self.width, self.config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> TokenClassifierOutput:
        """Labels the tokens of a batch.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds: see ``RnnAttnEncoder.forward``.
            labels: (B, S) classes; -100 is ignored.
            num_items_in_batch: what the summed loss is divided by, see ``seq2seq_loss``.
        """
        outputs = self.model(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **kwargs)
        logits = self.classifier(self.dropout(outputs.last_hidden_state))  # (B, S, num_labels)
        return TokenClassifierOutput(
            loss=None if labels is None else seq2seq_loss(logits, labels, num_items_in_batch),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class RnnAttnForQuestionAnswering(_EncoderHead):
    """Where the answer to a question begins and ends in a text; question and text are one sequence of two segments.

    Shapes: input_ids (B, S) -> start_logits (B, S), end_logits (B, S).
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.qa_outputs = nn.Linear(self.width, 2)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> QuestionAnsweringModelOutput:
        """Scores where the answer begins and ends.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds: see ``RnnAttnEncoder.forward``.
            start_positions, end_positions: (B,) the answer's first and last token; those outside of the sequence, in
                which a longer text's answer was cut off, are ignored.
        """
        outputs = self.model(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **kwargs)
        start_logits, end_logits = self.qa_outputs(self.dropout(outputs.last_hidden_state)).unbind(-1)  # (B, S) each
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = (span_loss(start_logits, start_positions) + span_loss(end_logits, end_positions)) / 2
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start_logits.contiguous(),
            end_logits=end_logits.contiguous(),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class RnnAttnForMaskedLM(_EncoderHead):
    """The tokens behind masks.

    Shapes: input_ids (B, S) -> logits (B, S, encoder_vocab_size).
    """

    _tied_weights_keys = {"mlm_head.weight": "model.encoder.embeddings.word_embeddings.weight"}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        config = self.config
        self.mlm_readout, self.mlm_head = build_output(config, config.encoder_hidden_size, config.encoder_vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.mlm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.mlm_head = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MaskedLMOutput:
        """Scores the tokens that may stand at every position.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds: see ``RnnAttnEncoder.forward``.
            labels: (B, S) tokens; -100 is ignored.
            num_items_in_batch: what the summed loss is divided by, see ``seq2seq_loss``.
        """
        outputs = self.model(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **kwargs)
        logits = linear(self.mlm_head, self.mlm_readout(outputs.last_hidden_state))  # (B, S, V)
        return MaskedLMOutput(
            loss=None if labels is None else seq2seq_loss(logits, labels, num_items_in_batch),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
