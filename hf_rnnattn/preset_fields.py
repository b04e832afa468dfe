"""What a preset is, and the config values that several of them share."""

from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, Any]


@dataclass(frozen=True)
class Preset:
    """One architecture.

    Args:
        system: what it is, in a line.
        source: where it was published.
        fields: values of ``RnnAttnConfig``.
        model: the class of the package that the system needs.
    """

    system: str
    source: str
    fields: Fields = field(default_factory=dict)
    model: str = "RnnAttnForConditionalGeneration"


# Recurrent layers as they were before norms, residuals and feed-forward networks.
BARE: Fields = {
    "norm_position": "none",
    "residual": False,
    "encoder_ffn_dim": 0,
    "decoder_ffn_dim": 0,
    "embedding_norm": False,
    "encoder_position_embedding": "none",
    "decoder_position_embedding": "none",
    "type_vocab_size": 0,
}
# One vector is all that the decoder knows of the source.
ONE_VECTOR: Fields = {**BARE, "cross_attention": "none"}
LUONG: Fields = {
    **BARE,
    "encoder_mixers": ["lstm", "lstm"],
    "encoder_directions": "forward",
    "decoder_mixers": ["luong_lstm"],
    "decoder_cell_depths": 2,
    "decoder_init": "encoder_state",
    "tie_word_embeddings": False,
}
# Vaswani et al. 2017, the base model; biases and norms as in torch.nn.Transformer.
TRANSFORMER: Fields = {
    "hidden_size": 512,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "norm_position": "post",
    "activation_function": "relu",
    "encoder_position_embedding": "sinusoidal",
    "decoder_position_embedding": "sinusoidal",
    "scale_embedding": True,
    "embedding_norm": False,
    "type_vocab_size": 0,
}
STUDENT: Fields = {
    **TRANSFORMER,
    "encoder_mixers": ["full_attention"] * 6,
    "layer_norm_eps": 1e-6,
    "output_bias": True,
}
