"""Architectures whose encoder is trained before: what ``from_encoder_pretrained`` makes of the models of others."""

from .preset_fields import Fields, Preset

# Devlin et al. 2019, the base model. The ids of its begin and end are those of its tokenizer.
BERT: Fields = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "encoder_mixers": ["full_attention"] * 12,
    "encoder_directions": "forward",
    "encoder_attention_heads": 12,
    "decoder_attention_heads": 12,
    "encoder_ffn_dim": 3072,
    "decoder_ffn_dim": 3072,
    "max_position_embeddings": 512,
    "norm_position": "post",
    "layer_norm_eps": 1e-12,
    "dropout": 0.1,
    "attention_dropout": 0.1,
}
PRETRAINED_PRESETS: dict[str, Preset] = {
    "bert2rnn": Preset(
        "a trained BERT as encoder, a recurrent decoder that attends to it; weights by from_encoder_pretrained",
        "Rothe et al. 2020, Leveraging Pre-trained Checkpoints for Sequence Generation; Devlin et al. 2019, BERT",
        {**BERT, "decoder_mixers": ["gru"]},
    ),
}
