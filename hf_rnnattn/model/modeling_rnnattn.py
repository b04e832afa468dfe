"""The RnnAttn family of models: recurrent + self-attention encoder-decoders.

In one sentence: embeddings turn ids into vectors, every layer mixes them over time (recurrence, self-attention, or
both), the decoder's layers also read the encoder, and the output matrix turns the last vectors into logits.
"""

import copy
import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin, GenerationMode
from transformers.generation.candidate_generator import PromptLookupCandidateGenerator
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .attention import NOTHING_READ, Reading
from .attention_hops import HopCrossAttention
from .config_checks import check_config
from .configuration_rnnattn import RnnAttnConfig
from .context_vector import build_context_vector, reads_at_every_step
from .decoder_cache import check_cache, croppable_cache, keep_context, kept_context, new_cache
from .decoder_layer import Masks, RnnAttnDecoderLayer
from .embeddings import build_embeddings
from .encoder_layer import RnnAttnEncoderLayer, RnnAttnEncoderOutput
from .feed_forward import build_final_norm
from .initial_state import build_summary
from .inputs import (
    as_bool_mask,
    check_lengths,
    check_memory,
    check_one_of,
    check_states,
    continued,
    memory_mask_of,
    positions_of,
)
from .lookup_rnnattn import SourceLookupCandidateGenerator, real_tokens
from .loss_rnnattn import shift_tokens_right
from .mixer_attention import FullAttentionMixer, MultiHeadCrossAttention, ScoredCrossAttention
from .mixer_base import MixerOutput, RecurrentMixer
from .mixer_directions import DirectionalMixer
from .output_distribution import build_distribution, build_output, build_report
from .outputs_rnnattn import RnnAttnDecoderOutput, RnnAttnModelOutput, RnnAttnSeq2SeqLMOutput
from .plain_linear import linear
from .pretrained_encoder_rnnattn import PretrainedEncoderMixin
from .readout import build_readout
from .saving_rnnattn import is_weights, save_at_once
from .segment_pooling import SegmentPooling
from .self_attention_masks import bidirectional_masks, causal_masks, create_masks_for_generate, mask_kinds
from .shortlist_rnnattn import Candidates, ShortlistMixin
from .source_length_rnnattn import SourceLengthMixin
from .source_order import SOURCE_ORDERS
from .transformers_versions import CACHE, VersionedModel, named_cache, one_cache
from .written_tokens import build_written_tokens

logger = logging.getLogger(__name__)
SELF_WEIGHTS = MixerOutput._fields.index("self_weights")  # where cells put the weights of their self-attention


class RnnAttnPreTrainedModel(VersionedModel):
    """What all models of the family share: how weights are initialised and tied, and what transformers may do."""

    config: RnnAttnConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["RnnAttnEncoderLayer", "RnnAttnDecoderLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _can_compile_fullgraph = True
    _supports_context_parallel = False  # a recurrent state is not exchanged between ranks

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        check_config(config)  # again: what from_pretrained overrides is not validated by transformers
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        own = getattr(module, "init_weights", None)
        if callable(own) and not isinstance(module, PreTrainedModel):
            own()

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Target -> source of the weights that are one. transformers asks one flag for all of them, we have two."""
        if all_submodels:
            tied: dict[str, str] = super().get_expanded_tied_weights_keys(all_submodels=True)
            return tied
        own = self._tied_weights_keys or {}
        return {target: source for target, source in own.items() if self._is_tied(target)}

    def _is_tied(self, target: str) -> bool:
        output = target in ("lm_head.weight", "mlm_head.weight")
        return bool(self.config.tie_word_embeddings if output else self.config.share_encoder_decoder_embeddings)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, use_safetensors: bool | None = True, **kwargs: Any
    ) -> Any:
        """As ever, but without safetensors there is an error: a ``.bin`` file may hold code."""
        return super().from_pretrained(pretrained_model_name_or_path, *args, use_safetensors=use_safetensors, **kwargs)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, Any] | None = None,
        push_to_hub: bool = False,
        max_shard_size: int | str = "50GB",
        variant: str | None = None,
        **kwargs: Any,
    ) -> None:
        """As ever, but an error, as on a full disk, leaves an earlier checkpoint in the folder as it was."""

        def save(folder: str | os.PathLike[str], **more: Any) -> list[str]:
            weights = None if state_dict is None else dict(state_dict)  # it is emptied while it is saved
            options = {"max_shard_size": max_shard_size, "variant": variant, **kwargs, **more}
            super(RnnAttnPreTrainedModel, self).save_pretrained(folder, is_main_process, weights, **options)
            return sorted(path.name for path in Path(folder).glob("*.py"))

        if not is_main_process or kwargs.get("distributed_checkpoint"):  # here every process has files of its own
            save(save_directory, push_to_hub=push_to_hub)
            return
        code = save_at_once(save, save_directory, push_to_hub, partial(is_weights, variant=variant))
        if code:
            logger.warning("the model's code was written to %s: %s", save_directory, ", ".join(code))

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the vocabulary that the model writes, or reads if it writes none, and the output matrix.

        Where source and target share one vocabulary, that is both; where they do not,
        ``resize_encoder_token_embeddings`` resizes the source's.
        """
        table: nn.Embedding = self.base_model.resize_token_embeddings(
            new_num_tokens, pad_to_multiple_of, mean_resizing
        )
        output = self.get_output_embeddings()
        if output is not None:
            trained = output.weight.requires_grad
            output = self.resized_output(output, table.num_embeddings, mean_resizing=mean_resizing)
            self.set_output_embeddings(output.requires_grad_(trained))
            self.tie_weights()
        return table

    def _resize_table(self, size_field: str, *sizes: Any) -> nn.Embedding:
        """Resizes the input embeddings and notes their number in the config."""
        table = self.resized_embeddings(self.get_input_embeddings(), *sizes)
        fields = (
            ("vocab_size", "encoder_vocab_size") if self.config.share_encoder_decoder_embeddings else (size_field,)
        )
        for field in fields:
            setattr(self.config, field, table.num_embeddings)
        return table

    @property
    def vocab_size(self) -> int:
        """The size of the vocabulary that ``resize_token_embeddings`` resizes."""
        return int(self.config.vocab_size)

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """A batch of one short source and target."""
        ids = torch.tensor([[1, 2]], device=self.device)
        return {"input_ids": ids, "decoder_input_ids": ids}


def as_kind(config: Any, **flags: Any) -> Any:
    """The config with these flags set, a copy if that changes it: one config may serve several kinds of models."""
    if all(getattr(config, name) == value for name, value in flags.items()):
        return config
    config = copy.deepcopy(config)
    for name, value in flags.items():
        setattr(config, name, value)
    return config


class RnnAttnEncoder(RnnAttnPreTrainedModel):
    """Source ids to vectors: embeddings, then ``encoder_layers`` layers.

    Shapes: input_ids (B, S) -> last_hidden_state (B, S, encoder_hidden_size), that of each token at its place whatever
        ``source_order`` is; ``hidden_states`` and ``attentions`` are in the order of reading.
    Padding, wherever it stands, changes nothing at the real positions.
    """

    _can_record_outputs = {
        "hidden_states": RnnAttnEncoderLayer,
        "attentions": [
            OutputRecorder(FullAttentionMixer, index=1),
            OutputRecorder(DirectionalMixer, index=SELF_WEIGHTS),
        ],
    }

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embeddings = build_embeddings(config, "encoder")
        self.layers = nn.ModuleList([RnnAttnEncoderLayer(config, i) for i in range(config.encoder_layers)])
        self.norm = build_final_norm(config, config.encoder_hidden_size)
        self.mask_kinds = mask_kinds(config.encoder_mixers)
        # Without a decoder of ours nobody asks for the states, and a fused kernel that cannot give them may run.
        self.gives_states = config.is_encoder_decoder and config.decoder_init == "encoder_state"
        self.order = SOURCE_ORDERS[config.source_order]
        self.gives_ids = config.is_encoder_decoder and config.copy_from_source
        pools = config.is_encoder_decoder and config.encoder_pooling != "none"
        self.pooling = SegmentPooling(config.encoder_pooling) if pools else None
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embeddings.word_embeddings = value

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the source vocabulary."""
        return self._resize_table("encoder_vocab_size", new_num_tokens, pad_to_multiple_of, mean_resizing)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> RnnAttnEncoderOutput:
        """Encodes a batch.

        Args:
            input_ids: (B, S), or ``inputs_embeds`` (B, S, embedding_size) in place of the token table's rows.
            attention_mask: (B, S) bool or integer, non-zero for real tokens.
            token_type_ids: (B, S) segments; all 0 if not given.
            position_ids: (B, S); padding is not counted if not given.

        Raises:
            ValueError: no rows, no tokens, a mask of another shape, or more positions than a learned table has.
            TypeError: a floating-point mask.
        """
        inputs = check_one_of(input_ids, inputs_embeds, "")
        check_lengths(inputs, "source")
        batch, length = inputs.shape[:2]
        mask = as_bool_mask(attention_mask, batch=batch, length=length, name="attention_mask")
        order = self.order(mask, length, inputs.device)
        given, length, mask, positions = mask, order.length, order.mask, order.read(position_ids)
        self.embeddings.check_length(length, "source")
        if positions is None:
            positions = positions_of(mask, 0, length, inputs.device)
        read = (order.read(one) for one in (input_ids, inputs_embeds, token_type_ids))
        hidden_states = self.embeddings(*read, positions, mask)
        prepared = bidirectional_masks(self.config, self.mask_kinds, hidden_states, mask)
        ends: list[Tensor] = []
        for layer in self.layers:
            hidden_states, *states = layer(hidden_states, mask, prepared, self.gives_states, **kwargs)
            ends += states
        final_states = torch.stack(ends, dim=1).to(hidden_states.dtype) if ends else None
        hidden_states, memory_mask = order.put_back(self.norm(hidden_states)), None
        if self.pooling is not None:
            hidden_states, memory_mask = self.pooling(hidden_states, token_type_ids, given)
        return RnnAttnEncoderOutput(
            last_hidden_state=hidden_states,
            final_states=final_states,
            source_ids=input_ids if self.gives_ids else None,
            memory_mask=memory_mask,
        )


DECODER_STATES = OutputRecorder(RnnAttnDecoderLayer, index=0)
# Set here, since older versions of transformers have no such argument: where to count layers for ``[-1]``.
DECODER_STATES.num_hidden_layers_key = "decoder_layers"


class RnnAttnDecoder(RnnAttnPreTrainedModel):
    """Target ids so far, and the encoder's output, to vectors: embeddings, then ``decoder_layers`` layers.

    Shapes: input_ids (B, T), encoder_hidden_states (B, S, C) -> last_hidden_state (B, T, hidden_size).

    Args:
        has_encoder: False builds a language model's decoder, which has nothing to read but its own past.
    """

    _can_record_outputs = {
        "hidden_states": DECODER_STATES,
        "attentions": [
            OutputRecorder(FullAttentionMixer, index=1),
            OutputRecorder(RecurrentMixer, index=SELF_WEIGHTS),
        ],
        "cross_attentions": [
            OutputRecorder(MultiHeadCrossAttention, index=1),
            OutputRecorder(ScoredCrossAttention, index=1),
            OutputRecorder(HopCrossAttention, index=1),
            OutputRecorder(RecurrentMixer, index=3),  # the weights of cells that read the encoder, None of the others
        ],
    }

    def __init__(self, config: Any, *, has_encoder: bool = True) -> None:
        super().__init__(config)
        self.has_encoder = has_encoder
        self.embeddings = build_embeddings(config, "decoder")
        self.layers = nn.ModuleList(
            [RnnAttnDecoderLayer(config, i, has_encoder=has_encoder) for i in range(config.decoder_layers)]
        )
        self.norm = build_final_norm(config, config.hidden_size)
        self.readout = build_readout(config)
        self.report = build_report(config)
        self.mask_kinds = mask_kinds(config.decoder_mixers)
        self.summarise = build_summary(config)
        self.context_vector = build_context_vector(config)
        self.starts_from_states = config.decoder_init == "encoder_state"
        self.starts_from_context = config.decoder_init == "context"
        self.steps_read_context = reads_at_every_step(config)
        layers: Any = self.layers
        self.states_started = sum(len(names) for layer in layers for names in layer.start_names)
        self.attends_multi_head = any(isinstance(module, MultiHeadCrossAttention) for module in self.modules())
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embeddings.word_embeddings = value

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the target vocabulary."""
        return self._resize_table("vocab_size", new_num_tokens, pad_to_multiple_of, mean_resizing)

    @merge_with_config_defaults
    @capture_outputs
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
        use_cache: bool | None = None,
        encoder_final_states: torch.Tensor | None = None,
        encoder_source_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> RnnAttnDecoderOutput:
        """Decodes T more tokens.

        Args:
            input_ids: (B, T), or ``inputs_embeds`` (B, T, embedding_size).
            attention_mask: (B, past + T) bool or integer, non-zero for real tokens; or what
                ``RnnAttnForConditionalGeneration.create_masks_for_generate`` made.
            encoder_hidden_states: (B, S, encoder_hidden_size); None where there is no encoder.
            encoder_attention_mask: (B, S) bool or integer.
            cache: a cache built with the config, an ``EncoderDecoderCache`` where there is an encoder; made here if
                ``use_cache``. ``past_key_values`` is its name before transformers 5.24; both are taken.
            token_type_ids: (B, T) segments; all 0 if not given.
            position_ids: (B, T); padding is not counted if not given.
            encoder_final_states: (B, N, C), the encoder's ``final_states``, for ``decoder_init`` "encoder_state".
            encoder_source_ids: (B, S), the encoder's ``source_ids``, for ``copy_from_source``.

        Raises:
            ValueError: no rows, no tokens, encoder output, states or ids missing or unexpected, a mask of another
                shape, a cache of another kind, or too many positions.
            TypeError: a floating-point mask.
        """
        inputs = check_one_of(input_ids, inputs_embeds, "decoder_")
        check_lengths(inputs, "target")
        check_memory(encoder_hidden_states, inputs.shape[0], has_encoder=self.has_encoder)
        cache = one_cache(cache, past_key_values)
        if use_cache and cache is None:
            cache = new_cache(self.config, has_encoder=self.has_encoder)
        source_length = None if encoder_hidden_states is None else encoder_hidden_states.shape[1]
        check_cache(cache, len(self.layers), source_length)
        batch, length = inputs.shape[:2]
        past = 0 if cache is None else cache.get_seq_length()
        if isinstance(past, int):
            self.embeddings.check_length(past + length, "target")
        prepared: dict[str, Any] | None
        if isinstance(attention_mask, dict):
            mask, positions = attention_mask["recurrent"], attention_mask["positions"]
            prepared = {kind: attention_mask[kind] for kind in self.mask_kinds}
        else:
            whole = as_bool_mask(attention_mask, batch=batch, length=past + length, name="decoder_attention_mask")
            mask = None if whole is None else whole[:, -length:]
            prepared, positions = None, positions_of(whole, past, length, inputs.device)
        positions = positions if position_ids is None else position_ids
        embedded = hidden_states = self.embeddings(input_ids, inputs_embeds, token_type_ids, positions, mask)
        if prepared is None:
            prepared = causal_masks(self.config, self.mask_kinds, hidden_states, whole, cache)
        masks, memory, summary, vector = Masks(mask, prepared, None, None), None, None, None
        if encoder_hidden_states is not None:
            masks = self._masks(hidden_states, mask, prepared, encoder_hidden_states, encoder_attention_mask)
            memory, summary, vector = self.read_encoder(
                encoder_hidden_states, masks.memory_mask, cache, encoder_final_states
            )
        reading = NOTHING_READ
        for layer in self.layers:
            hidden_states, *read = layer(
                hidden_states,
                memory,
                summary,
                reading.context if vector is None else vector,
                masks,
                use_cache=use_cache,
                **named_cache(cache),  # by keyword: so gradient checkpointing knows what to drop
                **kwargs,
            )
            reading = reading if read[0] is None else Reading(*read)
        hidden_states = self.norm(hidden_states)
        read_out = self.readout(embedded, hidden_states, vector if reading.context is None else reading.context)
        last_hidden_state, told = self.report(read_out, embedded, hidden_states, reading, encoder_source_ids)
        return RnnAttnDecoderOutput(last_hidden_state=last_hidden_state, reading=told, **named_cache(cache))

    def _masks(
        self, x: Tensor, mask: Tensor | None, own: dict[str, Any], memory: Tensor, memory_mask: Tensor | None
    ) -> Masks:
        batch, length = memory.shape[:2]
        memory_mask = as_bool_mask(memory_mask, batch=batch, length=length, name="attention_mask")
        prepared = None
        if self.attends_multi_head:
            prepared = create_bidirectional_mask(self.config, x, memory_mask, encoder_hidden_states=memory)
        return Masks(mask, own, memory_mask, prepared)

    def read_encoder(
        self,
        encoder_hidden_states: Tensor,
        mask: Tensor | None,
        cache: Any,
        final_states: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """What the layers read of the encoder, made once a sequence.

        That is its output clean of padding, its summary (B, C) or its states, and the context vector (B, 1, C). The
        first two are None once the cache holds what the layers made of them; the last, which every step reads, is kept
        there, so that it follows beams and need not be summed up again.

        Raises:
            ValueError: the encoder's states are missing or have another shape than (B, N, C).
        """
        if cache is not None and cache.is_updated.get(len(self.layers) - 1):
            return None, None, kept_context(cache)
        memory = encoder_hidden_states
        if mask is not None:
            memory = torch.where(mask[..., None], memory, 0.0)
        summary = None if self.summarise is None else self.summarise(memory, mask)
        if self.starts_from_states:
            summary = check_states(final_states, memory, self.states_started)
        if self.context_vector is None:
            return memory, summary, None
        vector = self.context_vector(memory, mask)
        summary = vector if self.starts_from_context else summary
        if not self.steps_read_context:
            return memory, summary, None
        keep_context(cache, vector)
        return memory, summary, vector[:, None]


class RnnAttnModel(RnnAttnPreTrainedModel):
    """Encoder and decoder without an output matrix."""

    _tied_weights_keys = {"encoder.embeddings.word_embeddings.weight": "decoder.embeddings.word_embeddings.weight"}

    def __init__(self, config: Any) -> None:
        super().__init__(as_kind(config, is_encoder_decoder=True))
        config = self.config
        self.encoder = RnnAttnEncoder(config)
        self.decoder = RnnAttnDecoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The table that turns ``input_ids`` into vectors: the encoder's, which may also be the decoder's."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.encoder.set_input_embeddings(value)
        if self.config.share_encoder_decoder_embeddings:
            self.decoder.set_input_embeddings(value)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the output vocabulary (``vocab_size``), and with it the source vocabulary where the two are one.

        Where they are separate, ``resize_encoder_token_embeddings`` resizes the source vocabulary.
        """
        table = self.decoder.resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        if self.config.share_encoder_decoder_embeddings:
            self.set_input_embeddings(table)
        return table

    def resize_encoder_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the source vocabulary (``encoder_vocab_size``).

        Raises:
            ValueError: source and target have one vocabulary.
        """
        if self.config.share_encoder_decoder_embeddings:
            raise ValueError("share_encoder_decoder_embeddings is True: resize_token_embeddings resizes both sides")
        return self.encoder.resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | dict[str, torch.Tensor | None] | None = None,
        token_type_ids: torch.LongTensor | None = None,
        decoder_token_type_ids: torch.LongTensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> RnnAttnModelOutput:
        """Runs the encoder, unless ``encoder_outputs`` are given, then the decoder: see their ``forward``.

        Without a target the source is one, shifted to the right, as in BART: so the source alone gives features.

        Raises:
            ValueError: neither a target, nor a source in the target's vocabulary.
        """
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self._target_from_source(input_ids)
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                token_type_ids=token_type_ids,
                inputs_embeds=inputs_embeds,
                **kwargs,
            )
        elif not isinstance(encoder_outputs, BaseModelOutput):
            encoder_outputs = BaseModelOutput(*encoder_outputs)
        decoder_outputs = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=encoder_outputs.last_hidden_state,
            encoder_attention_mask=memory_mask_of(
                encoder_outputs, attention_mask, pooled=self.encoder.pooling is not None
            ),
            encoder_final_states=getattr(encoder_outputs, "final_states", None),
            encoder_source_ids=getattr(encoder_outputs, "source_ids", None),
            cache=one_cache(cache, past_key_values),
            token_type_ids=decoder_token_type_ids,
            position_ids=decoder_position_ids,
            inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        return RnnAttnModelOutput(
            last_hidden_state=decoder_outputs.last_hidden_state,
            **named_cache(decoder_outputs.cache),
            decoder_hidden_states=decoder_outputs.hidden_states,
            decoder_attentions=decoder_outputs.attentions,
            cross_attentions=decoder_outputs.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
            reading=decoder_outputs.reading,
        )

    def _target_from_source(self, input_ids: Tensor | None) -> Tensor:
        if input_ids is None or not self.config.share_encoder_decoder_embeddings:
            raise ValueError(
                "decoder_input_ids must be given (or decoder_inputs_embeds, or labels to a model with a loss): they "
                "are made from input_ids only where both sides have one table of embeddings"
            )
        return shift_tokens_right(input_ids, self.config.pad_token_id, self.config.decoder_start_token_id)


class RnnAttnForConditionalGeneration(
    RnnAttnPreTrainedModel, PretrainedEncoderMixin, ShortlistMixin, SourceLengthMixin, GenerationMixin
):
    """Encoder-decoder with an output matrix: translation, summaries, pronunciation, whatever maps text to text."""

    _tied_weights_keys = {"lm_head.weight": "model.decoder.embeddings.word_embeddings.weight"}

    def __init__(self, config: Any) -> None:
        super().__init__(as_kind(config, is_encoder_decoder=True))
        config = self.config
        self.model = RnnAttnModel(config)
        width = self.model.decoder.readout.output_size
        self.readout, self.lm_head = build_output(config, width, config.vocab_size)
        self.written_tokens = build_written_tokens(config)
        self.distribution = build_distribution(config)
        self.post_init()

    def get_encoder(self, *args: Any, **kwargs: Any) -> RnnAttnEncoder:
        return self.model.encoder

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

    def resize_encoder_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """As ``RnnAttnModel.resize_encoder_token_embeddings``."""
        return self.model.resize_encoder_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | dict[str, torch.Tensor | None] | None = None,
        token_type_ids: torch.LongTensor | None = None,
        decoder_token_type_ids: torch.LongTensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        decoder_candidates: Candidates | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> RnnAttnSeq2SeqLMOutput:
        """Logits of the next token at every position of the target, and the loss if ``labels`` are given.

        Args:
            input_ids, attention_mask, token_type_ids, inputs_embeds: the source, see ``RnnAttnEncoder.forward``.
            decoder_input_ids and the other ``decoder_`` arguments: the target, see ``RnnAttnDecoder.forward``. Made
                from ``labels`` if only those are given.
            encoder_outputs: what the encoder returned, in place of the source.
            cache: what an earlier call returned under this name; the target is then only what is new.
                ``past_key_values`` is its name before transformers 5.24; both are taken, and returned.
            labels: (B, T), -100 is ignored. They are aligned with the logits, not shifted against them.
            num_items_in_batch: what the summed loss is divided by, see ``seq2seq_loss``.
            decoder_candidates: what ``generate(shortlist=...)`` makes; other tokens are not scored.

        Returns:
            ``RnnAttnSeq2SeqLMOutput`` with logits (B, T, vocab_size).
        """
        if labels is not None:
            use_cache = False
            if decoder_input_ids is None and decoder_inputs_embeds is None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            token_type_ids=token_type_ids,
            decoder_token_type_ids=decoder_token_type_ids,
            decoder_position_ids=decoder_position_ids,
            encoder_outputs=encoder_outputs,
            cache=one_cache(cache, past_key_values),
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )

        def score(hidden: Tensor) -> Tensor:  # (B, T, V) of the vocabulary
            read = self.readout(hidden)
            if decoder_candidates is not None:
                return decoder_candidates.logits(self.lm_head, read)
            return self.written_tokens(linear(self.lm_head, read))  # type: ignore[no-any-return]

        logits = self.distribution(score, outputs.last_hidden_state, outputs.reading)
        loss = None
        if labels is not None:
            loss = self.distribution.loss(logits, labels, num_items_in_batch, outputs.reading)
        return RnnAttnSeq2SeqLMOutput(
            loss=loss,
            logits=logits,
            **named_cache(outputs.cache),
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
        )

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """What the decoder reads while it is taught ``labels`` (B, T)."""
        return shift_tokens_right(labels, self.config.pad_token_id, self.config.decoder_start_token_id)

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.LongTensor,
        next_sequence_length: int | None = None,
        cache: Cache | None = None,
        decoder_token_type_ids: torch.LongTensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """What one step of ``generate`` feeds to ``forward``.

        Beyond transformers' own: of a target that is already in the cache only the rest is fed (an assistant model is
        otherwise fed its whole prefix in every round), unless the target's mask says that all of it is new; and the
        target's positions and its last segment go on, also over the tokens that an assistant proposes.

        Raises:
            ValueError: more positions than a learned table has.
        """
        cache = one_cache(cache, past_key_values)
        past = 0 if cache is None else int(cache.get_seq_length())
        length, mask = input_ids.shape[1], kwargs.get("decoder_attention_mask")
        all_new = mask is not None and mask.shape[1] == past + length
        if next_sequence_length is None and 0 < past < length and not all_new:
            next_sequence_length = length - past
        if decoder_position_ids is not None:
            kwargs["decoder_position_ids"] = continued(decoder_position_ids, length, step=1)
        model_inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            input_ids, next_sequence_length=next_sequence_length, **named_cache(cache), **kwargs
        )
        fed = model_inputs["decoder_input_ids"].shape[1]
        self.model.decoder.embeddings.check_length(past + fed, "target")
        if decoder_token_type_ids is not None:
            model_inputs["decoder_token_type_ids"] = continued(decoder_token_type_ids, length, step=0)[:, -fed:]
        return model_inputs

    def prepare_cache(
        self, generation_config: Any, model_kwargs: dict[str, Any], generation_mode: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Puts the cache of a call into ``model_kwargs``, in assisted decoding one that can be cropped."""
        given = model_kwargs.get(CACHE) is not None
        done = super().prepare_cache(generation_config, model_kwargs, generation_mode, *args, **kwargs)
        if generation_mode == GenerationMode.ASSISTED_GENERATION and model_kwargs.get(CACHE) is not None:
            model_kwargs[CACHE] = croppable_cache(model_kwargs[CACHE], given=given)
        return done

    def read_prompt(self, input_ids: Tensor, generation_config: Any, *args: Any, **kwargs: Any) -> Any:
        """Reads the prompt.

        Raises:
            ValueError: it is to be read in chunks, for which transformers would cut the source's mask into pieces too.
        """
        chunk = generation_config.prefill_chunk_size
        if chunk is not None:
            raise ValueError(f"prefill_chunk_size must be None for encoder-decoders, got {chunk}")
        return super().read_prompt(input_ids, generation_config, *args, **kwargs)

    def candidate_generator(
        self, *args: Any, inputs_tensor: Tensor, model_kwargs: dict[str, Any], **kwargs: Any
    ) -> Any:
        """What proposes tokens in assisted decoding; prompt lookup finds them in the source too."""
        kwargs |= {"inputs_tensor": inputs_tensor, "model_kwargs": model_kwargs}
        generator = super().candidate_generator(*args, **kwargs)
        if type(generator) is not PromptLookupCandidateGenerator:
            return generator
        shares = self.config.share_encoder_decoder_embeddings
        source = real_tokens(inputs_tensor, model_kwargs.get("attention_mask")) if shares else None
        return SourceLookupCandidateGenerator(generator, source)

    create_masks_for_generate = staticmethod(create_masks_for_generate)
