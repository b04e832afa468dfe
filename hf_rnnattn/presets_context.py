"""Presets in which a context is fed to the decoder's layers, or the source is read in an order of its own."""

from .preset_fields import BARE, ONE_VECTOR, Fields, Preset

SOURCES = {
    "last": "Sutskever et al. 2014, Sequence to Sequence Learning with Neural Networks",
    "linear": "Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder",
    "sum": "Kalchbrenner and Blunsom 2013, Recurrent Continuous Translation Models, whose vector is a sum over words",
}
VECTORS = {
    "last": "where the encoder ended",
    "linear": "a projection of where the encoder ended",
    "sum": "a projection of the sum of the encoder's outputs",
}
USES: dict[str, tuple[str, Fields]] = {
    "": ("starts the states and is an input of every step", {"decoder_init": "context", "feed_context": True}),
    "-init": ("starts the states", {"decoder_init": "context"}),
    "-feed": ("is an input of every step", {"feed_context": True}),
}
# The vector is the whole source: one token, or one row of inputs_embeds.
VECTOR_IN: Fields = {**ONE_VECTOR, "encoder_layers": 0, "encoder_mixers": [], "decoder_mixers": ["lstm"]}

# Stacks of LSTMs, the decoder's starting where the encoder's ended.
STACKS: Fields = {**ONE_VECTOR, "encoder_directions": "forward", "decoder_init": "encoder_state"}


def _lstms(depth: int) -> Fields:
    return {"encoder_mixers": ["lstm"] * depth, "decoder_mixers": ["lstm"] * depth}


CONTEXT_PRESETS: dict[str, Preset] = {
    **{
        f"seq2seq-{kind}{suffix}": Preset(
            f"one context vector, {vector}, {use}",
            SOURCES[kind],
            {
                **ONE_VECTOR,
                "encoder_mixers": ["gru"],
                "encoder_directions": "forward",
                "decoder_mixers": ["gru"],
                "context_vector": kind,
                **fields,
            },
        )
        for kind, vector in VECTORS.items()
        for suffix, (use, fields) in USES.items()
    },
    "seq2seq-reversed": Preset(
        "four LSTM layers a side, one vector between them, the source read from its end",
        "Sutskever et al. 2014, Sequence to Sequence Learning with Neural Networks",
        {**STACKS, "hidden_size": 1000, **_lstms(4), "source_order": "reversed"},
    ),
    "seq2seq-doubled": Preset(
        "two LSTM layers a side, one vector between them, the source read twice",
        "Zaremba and Sutskever 2014, Learning to Execute",
        {**STACKS, "hidden_size": 400, **_lstms(2), "source_order": "doubled"},
    ),
    "rnmt-plus": Preset(
        "six bidirectional and eight unidirectional LSTM layers, normalised gates, additive attention of four heads",
        "Chen et al. 2018, The Best of Both Worlds: Combining Recent Advances in Neural Machine Translation",
        {
            **BARE,
            "vocab_size": 32000,
            "hidden_size": 1024,
            "encoder_hidden_size": 2048,
            "encoder_mixers": ["normed_lstm"] * 6,
            "encoder_directions": "both",
            "decoder_mixers": ["rnmt_lstm"] + ["normed_lstm"] * 7,
            "decoder_attention_heads": 4,
            "cross_attention": "none",
            "feed_context": True,
            "readout": "concat",
            "residual": True,
            "residual_start": 2,
            "share_encoder_decoder_embeddings": False,
            "tie_word_embeddings": False,
            "output_bias": True,
            "dropout": 0.3,
            "attention_dropout": 0.3,
        },
    ),
    "vec2seq-first": Preset(
        "one vector in, a sequence out: the vector enters the first step",
        "Karpathy and Fei-Fei 2015, Deep Visual-Semantic Alignments for Generating Image Descriptions",
        {**VECTOR_IN, "decoder_init": "last_linear"},
    ),
    "vec2seq-every": Preset(
        "one vector in, a sequence out: the vector enters every step",
        "Mao et al. 2015, Deep Captioning with Multimodal Recurrent Neural Networks",
        {**VECTOR_IN, "context_vector": "last", "feed_context": True},
    ),
}
