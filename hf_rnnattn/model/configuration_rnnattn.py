"""Configuration of the RnnAttn family."""

import copy
import logging
import os
from functools import partial
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .config_checks import check_config
from .saving_rnnattn import save_at_once
from .transformers_versions import JsonFileHook

logger = logging.getLogger(__name__)

# Keys that transformers itself puts into a config.json or passes on; any other key that is no field is a mistake.
KNOWN_EXTRA_KEYS = {
    "_commit_hash",
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "experts_implementation",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "per_layer_config",
    "quantization_config",
    "torch_dtype",
}


@strict
class RnnAttnConfig(JsonFileHook, PreTrainedConfig):
    r"""Configuration of a recurrent + self-attention encoder-decoder.

    Every layer is: its mixers, then (decoder) attention to the encoder, then a feed-forward network, each a sublayer
    with its own norm and residual. All values are validated: see ``config_checks``.

    Args:
        vocab_size: size of the output vocabulary, which is also the decoder's input vocabulary.
        encoder_vocab_size: size of the source vocabulary; defaults to ``vocab_size``.
        hidden_size: width of the decoder and of its output.
        encoder_hidden_size: width of the encoder; defaults to ``hidden_size``.
        embedding_size: width of the embeddings of both sides; defaults to ``hidden_size``.
        encoder_layers, decoder_layers: number of layers; default to the number of mixers given, else 6.
        encoder_mixers, decoder_mixers: what mixes information over time: one name of ``MIXERS`` a layer, or several
            joined with ``+`` (``"gru+full_attention"``: a recurrent sublayer, then self-attention). A single string
            stands for every layer. Default: ``"gru+full_attention"`` in the encoder, ``"ssru"`` in the decoder, whose
            memory then does not grow with the output.
        encoder_directions: ``forward``, ``backward``, ``both`` or ``both_swapped`` (the backward half first), one a
            layer or one string for all: the direction in which recurrent mixers of the encoder read.
        encoder_merge: how the two directions are joined: ``concat`` (two cells of half the width), ``separate`` (the
            same, and above the first layer each direction reads only its own half of the layer below: two stacks),
            ``concat_project`` (two cells of full width, projected), ``sum`` (two cells of full width).
        source_order: in which order the encoder reads: as ``given``, ``reversed`` (padding stays in its place), or
            ``doubled``, all of it twice. Its output is that of each token at its place, of the second reading.
        encoder_cell_depths, decoder_cell_depths: how many cells one step of a recurrent layer passes through, one
            number a layer or one for all: deep transition in ``elman``, ``gru``, ``lstm`` and ``conditional_…``, the
            cells of the stack in ``luong_…``. Other mixers have one cell. Default: 2 for ``conditional_…``, else 1.
        cell_norm: norms inside those mixers, of what enters their gates: ``none``, ``layer_norm`` or
            ``split_layer_norm``, see ``SteppingMixer``; then the projections of ``decoder_init`` and of a deep
            read-out are normalised too.
        memory_slots, memory_slot_size: number and width of the slots of the memory that the mixer ``ntm`` writes.
        memory_heads: how many heads read that memory, and how many write it.
        encoder_attention_heads, decoder_attention_heads: heads of multi-head attention; the decoder's also serve its
            attention to the encoder. The mixer ``rglru`` has as many blocks of gates.
        attention_window: how far ``sliding_attention`` reads: in the decoder the last so many tokens, the reading one
            among them; in the encoder so many on either side.
        encoder_ffn_dim, decoder_ffn_dim: width of the feed-forward networks; 0 means none.
        cross_attention: ``multi_head``, ``additive`` (Bahdanau et al. 2015), ``dot`` or ``general`` (Luong et al.
            2015), ``cosine`` (Graves et al. 2014), ``euclidean``, ``hops`` (Sukhbaatar et al. 2015), or ``none``.
            Mixers that read the encoder inside their recurrence get none; those of Luong read it with this score.
        attention_hops: how often in a row ``hops`` reads.
        hop_tying: which of its matrices are one: ``adjacent`` or ``layer_wise``, see ``HopCrossAttention``.
        hard_attention: ``none``; or one position of the encoder a step, read by the decoder's last layer alone:
            ``reinforce``, drawn in training and taught by reward (Xu et al. 2015), the likeliest otherwise;
            ``marginal``, the exact distribution of the next token over all of them (Wu et al. 2018), whose logarithm
            ``logits`` are.
        hard_attention_entropy: how much ``reinforce`` values choices that stay open.
        encoder_pooling: ``none``; or ``sum`` or ``position``: the decoder reads one slot a segment of the source, the
            sum of its vectors, weighted by their place in it or not, see ``SegmentPooling``. ``token_type_ids`` are
            the numbers of the slots; their embeddings tell the decoder which is which.
        copy_from_source: whether the next token may also be one of the source, by the weights of the decoder's last
            reading of it (See et al. 2017); then both sides share a vocabulary, and ``logits`` are log-probabilities.
            Needs weights of one head: any ``cross_attention`` but ``multi_head``, or a mixer that reads the encoder.
        input_feeding: whether the mixers of Luong read what they found at the step before.
        attentional_activation: what the mixers of Luong apply to the projection of what they found: ``tanh`` or
            ``none``.
        attention_size: width of the comparison in additive scores; defaults to ``hidden_size``. The heads of
            ``rnmt_lstm``, as many as ``decoder_attention_heads``, share it.
        decoder_init: the state in which recurrent decoder layers start: ``zeros``; ``mean``, tanh of a projection of
            the mean of the encoder's output; ``last``, the same of its output where its last layer ended: at
            the last real token, at the first if it reads backward, each half at its own if it concatenates both;
            ``last_linear``, that projection without tanh; ``encoder_state``, the states in which the encoder's own
            cells ended, the first cell's for the first cell, projected where the widths differ; ``context``, tanh of a
            projection of the context vector.
        decoder_init_cell: whether ``mean``, ``last``, ``last_linear`` and ``context`` also set the cell state of an
            LSTM.
        context_vector: one vector of the source: ``none``; ``last``, the encoder's output where it ended; ``linear``,
            a projection of that; ``sum``, a projection of the sum of its outputs over the real tokens.
        feed_context: whether every decoder layer reads, beside its input, the context vector; or, if there is none,
            what the layers below it read of the encoder at this step.
        norm_position: ``pre``, ``post`` or ``none``. With ``pre`` a norm follows the last layer.
        norm_type: ``layer_norm`` or ``rms_norm``.
        layer_norm_eps: added to the variance in every norm.
        residual: whether sublayers add their input to their output; where the widths differ they never do.
        residual_start: the first layer, counted from 0, in which they do.
        activation_function: activation of the feed-forward networks, a name of transformers' ``ACT2FN``.
        dropout: probability after embeddings and sublayers.
        attention_dropout: probability on attention weights.
        activation_dropout: probability inside the feed-forward networks.
        encoder_position_embedding, decoder_position_embedding: ``learned``, ``sinusoidal`` or ``none``.
        max_position_embeddings: rows of each learned position table; other kinds have no limit.
        type_vocab_size: rows of each side's segment table; 0 means no segments.
        embedding_norm: whether a norm follows the sum of the embeddings, as in BERT.
        scale_embedding: whether token embeddings are multiplied by sqrt(embedding_size).
        share_encoder_decoder_embeddings: one token table for both sides; defaults to whether the vocabularies have one
            size.
        tie_word_embeddings: whether the output matrix is the decoder's token table.
        readout: what the logits are made of: ``hidden``, the decoder's output; ``deep``, tanh of the sum of
            projections of the token that was read, the decoder's output, and what it read from the encoder (Bahdanau
            et al. 2015), of the width of the embeddings; ``concat``, the last two side by side (Wu et al. 2016). What
            it read is the context vector if it attends to nothing.
        output_bias: whether the logits have a bias.
        classifier_pooling: what a label of a whole sequence is read from: the ``mean`` of the encoder's output, its
            ``last`` vector as ``decoder_init`` has it, or ``attention``, a mean whose weights are learnt.
        written_vocab_size: how many tokens, from id 0, are ever written; None: all. Training leaves the logits of the
            others alone; that they are far below is for ``lm_head.bias`` to say. Students of Marian never write
            padding. A vocabulary that is resized is written as a whole.
        init_std: standard deviation of the normal distribution that initialises linear layers and embeddings;
            recurrent cells have initialisations of their own.
        use_cache: whether the decoder returns its cache.
        is_decoder: whether the model is a decoder only; every model class sets this in its own config.
        add_cross_attention: whether a language model (``RnnAttnForCausalLM``) attends to an encoder's output, as the
            decoder of transformers' ``EncoderDecoderModel`` and its like does.
        cross_attention_hidden_size: the width of that output; ``hidden_size`` if None.
        pad_token_id: padding on both sides.
        bos_token_id, eos_token_id: begin and end of a sequence.
        decoder_start_token_id: first token fed to the decoder; defaults to ``bos_token_id``.

    Raises:
        StrictDataclassFieldValidationError: a value has the wrong type.
        StrictDataclassClassValidationError: values out of bounds or against one another, see ``check_config``.
    """

    model_type = "rnnattn"
    keys_to_ignore_at_inference = ["cache", "past_key_values", "encoder_last_hidden_state"]
    attribute_map = {
        "num_hidden_layers": "encoder_layers",
        "num_attention_heads": "encoder_attention_heads",
        # On the decoder's view of this config, transformers stores decoder_X under X. The mixers must find their way
        # back, or a cache built from that view would not know which layers are recurrent.
        "mixers": "decoder_mixers",
        "layer_types": "decoder_layer_types",
    }

    vocab_size: int = 32000
    encoder_vocab_size: int | None = None
    hidden_size: int = 512
    encoder_hidden_size: int | None = None
    embedding_size: int | None = None
    encoder_layers: int | None = None
    decoder_layers: int | None = None
    encoder_mixers: str | list[str] | None = None
    decoder_mixers: str | list[str] | None = None
    encoder_directions: str | list[str] = "both"
    encoder_merge: str = "concat"
    source_order: str = "given"
    encoder_cell_depths: int | list[int] | None = None
    decoder_cell_depths: int | list[int] | None = None
    cell_norm: str = "none"
    memory_slots: int = 128
    memory_slot_size: int = 20
    memory_heads: int = 1
    encoder_attention_heads: int = 8
    decoder_attention_heads: int = 8
    attention_window: int = 128
    encoder_ffn_dim: int = 2048
    decoder_ffn_dim: int = 2048
    cross_attention: str = "multi_head"
    attention_size: int | None = None
    copy_from_source: bool = False
    attention_hops: int = 1
    hop_tying: str = "adjacent"
    hard_attention: str = "none"
    hard_attention_entropy: float = 0.01
    encoder_pooling: str = "none"
    input_feeding: bool = True
    attentional_activation: str = "tanh"
    decoder_init: str = "zeros"
    decoder_init_cell: bool = False
    context_vector: str = "none"
    feed_context: bool = False
    norm_position: str = "pre"
    norm_type: str = "layer_norm"
    layer_norm_eps: float = 1e-5
    residual: bool = True
    residual_start: int = 0
    activation_function: str = "gelu"
    dropout: float | int = 0.1
    attention_dropout: float | int = 0.0
    activation_dropout: float | int = 0.0
    encoder_position_embedding: str = "learned"
    decoder_position_embedding: str = "none"
    max_position_embeddings: int = 1024
    type_vocab_size: int = 2
    embedding_norm: bool = True
    scale_embedding: bool = False
    share_encoder_decoder_embeddings: bool | None = None
    tie_word_embeddings: bool = True
    readout: str = "hidden"
    output_bias: bool = False
    classifier_pooling: str = "mean"
    written_vocab_size: int | None = None
    init_std: float = 0.02
    use_cache: bool = True
    is_encoder_decoder: bool = True
    is_decoder: bool = False
    add_cross_attention: bool = False
    cross_attention_hidden_size: int | None = None
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        for alias, field in self.attribute_map.items():
            if alias in kwargs and alias != "layer_types":
                setattr(self, field, kwargs.pop(alias))
        self._fill_widths()
        self._fill_layers()
        if self.decoder_start_token_id is None:
            self.decoder_start_token_id = self.bos_token_id
        unused = sorted(key for key in kwargs if key not in KNOWN_EXTRA_KEYS and not key.startswith("_"))
        before = set(vars(self))
        super().__post_init__(**kwargs)
        unused = [key for key in unused if key in vars(self) and key not in before]  # generation settings are dropped
        if unused:
            logger.warning("unused config keys: %s", ", ".join(unused))

    def __setattr__(self, key: str, value: Any) -> None:
        if key == "vocab_size" and vars(self).get("vocab_size", value) != value:
            super().__setattr__("written_vocab_size", None)
        super().__setattr__(key, value)
        if key == "vocab_size" and vars(self).get("share_encoder_decoder_embeddings") is True:
            super().__setattr__("encoder_vocab_size", value)  # there is one vocabulary, so it has one size

    def _fill_widths(self) -> None:
        self.encoder_vocab_size = _default(self.encoder_vocab_size, self.vocab_size)
        self.encoder_hidden_size = _default(self.encoder_hidden_size, self.hidden_size)
        self.embedding_size = _default(self.embedding_size, self.hidden_size)
        self.attention_size = _default(self.attention_size, self.hidden_size)
        if self.share_encoder_decoder_embeddings is None:
            self.share_encoder_decoder_embeddings = self.encoder_vocab_size == self.vocab_size

    def _fill_layers(self) -> None:
        self.encoder_layers = _default(self.encoder_layers, _length(self.encoder_mixers, 6))
        self.decoder_layers = _default(self.decoder_layers, _length(self.decoder_mixers, 6))
        self.encoder_mixers = _one_a_layer(_default(self.encoder_mixers, "gru+full_attention"), self.encoder_layers)
        self.decoder_mixers = _one_a_layer(_default(self.decoder_mixers, "ssru"), self.decoder_layers)
        self.encoder_directions = _one_a_layer(self.encoder_directions, self.encoder_layers)

    @property
    def decoder_layer_types(self) -> list[str]:
        """The kind of cache that each decoder layer needs. Derived, so that it never goes stale: see the setter."""
        return ["rnnattn"] * len(self.decoder_mixers or [])

    @decoder_layer_types.setter
    def decoder_layer_types(self, value: Any) -> None:
        """Ignores the value: ``decoder_mixers`` decides. transformers assigns it when it copies a config."""

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> Any:
        """The decoder's view for ``decoder=True``, where ``decoder_X`` is called ``X``, also of a language model.

        transformers makes such a view of encoder-decoders; it counts the layers of caches with it.
        """
        if not (decoder and self.is_decoder) or encoder or "decoder_layers" not in vars(self):
            return super().get_text_config(decoder=decoder, encoder=encoder)
        view = copy.deepcopy(self)
        view.is_encoder_decoder = True
        view = PreTrainedConfig.get_text_config(view, decoder=True)
        view.is_encoder_decoder = self.is_encoder_decoder
        return view

    def validate_architecture(self) -> None:
        """Checks every field; called by transformers when a config is built and when it is saved."""
        check_config(self)

    def validate_layer_type(self) -> None:
        """Layer types are derived from the mixers, which ``validate_architecture`` checks."""

    def validate_token_ids(self) -> None:
        """Special ids are checked by ``validate_architecture``."""

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """As ever, but an error, as on a full disk, leaves an earlier config.json as it was."""
        save_at_once(partial(super().save_pretrained, **kwargs), save_directory, push_to_hub)

    @classmethod
    def checked_json(cls, content: Any) -> dict[str, Any]:
        if not isinstance(content, dict):
            raise ValueError(f"config.json must be a JSON object, got {type(content).__name__}")
        return content


def _default(value: Any, default: Any) -> Any:
    return default if value is None else value


def _length(mixers: str | list[str] | None, default: int) -> int:
    return len(mixers) if isinstance(mixers, list) else default


def _one_a_layer(entry: Any, layers: int) -> Any:
    """``"gru"`` for 3 layers -> ``["gru", "gru", "gru"]``; lists stay as they are."""
    return [entry] * layers if isinstance(entry, str) and 0 <= layers <= 65536 else entry
