"""Encoder-decoders that start from a trained encoder of transformers: BERT and what has its weights."""

from collections.abc import Iterator
from typing import Any

from transformers import AutoModel, AutoTokenizer

from .configuration_rnnattn import RnnAttnConfig

# A layer's names in BERT -> ours.
LAYER = {
    "attention.self.query": "mixers.0.q_proj",
    "attention.self.key": "mixers.0.k_proj",
    "attention.self.value": "mixers.0.v_proj",
    "attention.output.dense": "mixers.0.out_proj",
    "attention.output.LayerNorm": "mixer_connections.0.norm_after",
    "intermediate.dense": "feed_forward.fc1",
    "output.dense": "feed_forward.fc2",
    "output.LayerNorm": "feed_forward_connection.norm_after",
}
EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight": "embeddings.position_embeddings.weight",
    "embeddings.token_type_embeddings.weight": "embeddings.token_type_embeddings.weight",
    "embeddings.LayerNorm.weight": "embeddings.norm.weight",
    "embeddings.LayerNorm.bias": "embeddings.norm.bias",
}
# Knowingly left out: the pooler, and what older versions saved beside the weights.
DROPPED = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids")


class PretrainedEncoderMixin:
    """Gives an encoder-decoder the class method ``from_encoder_pretrained``."""

    @classmethod
    def from_encoder_pretrained(
        cls, pretrained_model_name_or_path: Any, decoder: Any = "gru", **overrides: Any
    ) -> Any:
        """A new encoder-decoder whose encoder is a trained BERT, with its embeddings, and whose decoder is random.

        Source and target share BERT's vocabulary and table, and BERT's tokenizer serves the model as it is: targets
        begin with its ``cls`` and end with its ``sep``.

        Args:
            pretrained_model_name_or_path: a folder, or a name on the Hub, of a ``BertModel`` or a model around one.
            decoder: the config's ``decoder_mixers``: one name for a single layer, or a list.
            **overrides: other fields of the config, such as ``decoder_ffn_dim`` or ``cross_attention``; where
            ``bos_token_id`` and ``eos_token_id`` are among them, no tokenizer is looked for.

        Returns:
            The model in evaluation mode, as from ``from_pretrained``.

        Raises:
            ValueError: the model is no BERT, or has something that this family does not; the message names it.
            OSError: there is no such model.
        """
        bert = AutoModel.from_pretrained(pretrained_model_name_or_path, add_pooling_layer=False)
        fields = {**_fields(bert.config), "decoder_mixers": [decoder] if isinstance(decoder, str) else decoder}
        if not {"bos_token_id", "eos_token_id"} <= overrides.keys():
            tokenizer = AutoTokenizer.from_pretrained(pretrained_model_name_or_path)
            fields |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
        build: Any = cls
        model = build(RnnAttnConfig(**{**fields, **overrides}))
        report = model.get_encoder().load_state_dict(dict(_renamed(bert.state_dict())), strict=False)
        if report.missing_keys or report.unexpected_keys:
            raise ValueError(
                f"the weights of {pretrained_model_name_or_path} are not those of a BERT; missing: "
                f"{', '.join(report.missing_keys) or 'none'}; not understood: "
                f"{', '.join(report.unexpected_keys) or 'none'}"
            )
        return model.eval()


def _fields(bert: Any) -> dict[str, Any]:
    """The config fields of a model with this encoder."""
    kind = getattr(bert, "model_type", None)
    if kind != "bert":
        raise ValueError(f"model_type must be 'bert', got {kind!r}")
    position = getattr(bert, "position_embedding_type", "absolute") or "absolute"
    if position != "absolute":
        raise ValueError(f"position_embedding_type must be 'absolute', got {position!r}")
    return {
        "vocab_size": bert.vocab_size,
        "hidden_size": bert.hidden_size,
        "encoder_mixers": ["full_attention"] * bert.num_hidden_layers,
        "encoder_directions": "forward",
        "encoder_attention_heads": bert.num_attention_heads,
        "decoder_attention_heads": bert.num_attention_heads,
        "encoder_ffn_dim": bert.intermediate_size,
        "decoder_ffn_dim": bert.intermediate_size,
        "activation_function": bert.hidden_act,
        "norm_position": "post",
        "norm_type": "layer_norm",
        "layer_norm_eps": bert.layer_norm_eps,
        "dropout": bert.hidden_dropout_prob,
        "attention_dropout": bert.attention_probs_dropout_prob,
        "encoder_position_embedding": "learned",
        "max_position_embeddings": bert.max_position_embeddings,
        "type_vocab_size": bert.type_vocab_size,
        "embedding_norm": True,
        "share_encoder_decoder_embeddings": True,
        "pad_token_id": bert.pad_token_id,
    }


def _renamed(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Our encoder's names and BERT's weights."""
    for name, values in state.items():
        if name.startswith(DROPPED):
            continue
        if name in EMBEDDINGS:
            yield EMBEDDINGS[name], values
            continue
        _, _, number, *parts = name.split(".")
        part, kind = ".".join(parts[:-1]), parts[-1]
        yield f"layers.{number}.{LAYER.get(part, part)}.{kind}", values
