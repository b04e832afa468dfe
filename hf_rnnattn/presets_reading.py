"""Presets that read the source in ways of their own: copying from it, choosing one position, asking several times."""

from .preset_fields import BARE, Preset

READING: dict[str, Preset] = {
    "pointer": Preset(
        "pointer-generator: the next token comes from the vocabulary or, by attention, from the source",
        "See et al. 2017, Get To The Point: Summarization with Pointer-Generator Networks",
        {
            **BARE,
            "vocab_size": 50000,
            "hidden_size": 256,
            "encoder_hidden_size": 512,
            "embedding_size": 128,
            "attention_size": 512,
            "encoder_mixers": ["lstm"],
            "encoder_directions": "both",
            "decoder_mixers": ["luong_lstm"],
            "cross_attention": "additive",
            "attentional_activation": "none",
            "decoder_init": "encoder_state",
            "copy_from_source": True,
            "tie_word_embeddings": False,
        },
    ),
    "memory-network": Preset(
        "a story's sentences as slots of a memory, which the question reads three times in a row",
        "Sukhbaatar et al. 2015, End-To-End Memory Networks",
        {
            **BARE,
            "encoder_mixers": [],
            "encoder_pooling": "position",
            "type_vocab_size": 50,
            "decoder_mixers": ["gru"],
            "cross_attention": "hops",
            "attention_hops": 3,
            "hop_tying": "layer_wise",
            "init_std": 0.1,
            "tie_word_embeddings": False,
        },
    ),
    "hard-attention": Preset(
        "one position of the source a step, drawn in training and taught by reward",
        "Xu et al. 2015, Show, Attend and Tell",
        {
            **BARE,
            "encoder_mixers": ["lstm"],
            "encoder_directions": "both",
            "decoder_mixers": ["lstm"],
            "cross_attention": "additive",
            "hard_attention": "reinforce",
            "decoder_init": "mean",
            "readout": "deep",
            "residual": True,
            "tie_word_embeddings": False,
        },
    ),
}
