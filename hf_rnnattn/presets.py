"""Named architectures of the literature, each a set of config values and nothing else.

    from hf_rnnattn.presets import preset_config

    config = preset_config("bahdanau", vocab_size=8000, hidden_size=256)

``python -m hf_rnnattn presets`` prints them with their sizes.
"""

from typing import Any

from .model.configuration_rnnattn import RnnAttnConfig
from .preset_fields import BARE, LUONG, ONE_VECTOR, STUDENT, TRANSFORMER, Preset
from .presets_context import CONTEXT_PRESETS
from .presets_fused import FUSED
from .presets_machines import MACHINES
from .presets_pretrained import PRETRAINED_PRESETS
from .presets_reading import READING

PRESETS: dict[str, Preset] = {
    "elman": Preset(
        "simple recurrent network on both sides, one vector between them",
        "Elman 1990, Finding Structure in Time",
        {
            **ONE_VECTOR,
            "encoder_mixers": ["elman"],
            "encoder_directions": "forward",
            "decoder_mixers": ["elman"],
            "decoder_init": "encoder_state",
        },
    ),
    "lstm": Preset(
        "long short-term memory on both sides, one vector between them",
        "Hochreiter and Schmidhuber 1997; Sutskever et al. 2014, Sequence to Sequence Learning",
        {
            **ONE_VECTOR,
            "encoder_mixers": ["lstm"],
            "encoder_directions": "forward",
            "decoder_mixers": ["lstm"],
            "decoder_init": "encoder_state",
        },
    ),
    "gru": Preset(
        "gated recurrent units on both sides, one vector between them",
        "Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder",
        {
            **ONE_VECTOR,
            "encoder_mixers": ["gru"],
            "encoder_directions": "forward",
            "decoder_mixers": ["gru"],
            "decoder_init": "encoder_state",
        },
    ),
    "birnn": Preset(
        "encoder that reads in both directions",
        "Schuster and Paliwal 1997, Bidirectional Recurrent Neural Networks",
        {
            **ONE_VECTOR,
            "encoder_mixers": ["gru"],
            "encoder_directions": "both",
            "decoder_mixers": ["gru"],
            "decoder_init": "last",
        },
    ),
    **CONTEXT_PRESETS,
    "seq2vec": Preset(
        "a sequence in, one label out",
        "Elman 1990; the last state read out",
        {**BARE, "encoder_mixers": ["lstm"], "decoder_mixers": ["lstm"], "classifier_pooling": "last"},
        model="RnnAttnForSequenceClassification",
    ),
    "bahdanau": Preset(
        "additive attention inside the recurrence, bidirectional GRU encoder, deep output",
        "Bahdanau et al. 2015, Neural Machine Translation by Jointly Learning to Align and Translate",
        {
            **BARE,
            "hidden_size": 1000,
            "encoder_hidden_size": 2000,
            "embedding_size": 620,
            "attention_size": 1000,
            "encoder_mixers": ["gru"],
            "encoder_directions": "both",
            "decoder_mixers": ["bahdanau_gru"],
            "decoder_init": "last",
            "readout": "deep",
            "tie_word_embeddings": False,
        },
    ),
    "nematus": Preset(
        "conditional GRU: attention between two cells of a step, deep output",
        "Sennrich et al. 2017, Nematus: a Toolkit for Neural Machine Translation",
        {
            **BARE,
            "hidden_size": 1024,
            "encoder_hidden_size": 2048,
            "embedding_size": 512,
            "attention_size": 2048,
            "encoder_mixers": ["gru"],
            "encoder_directions": "both",
            "decoder_mixers": ["conditional_gru"],
            "cross_attention": "none",
            "decoder_init": "mean",
            "readout": "deep",
        },
    ),
    **{
        f"luong-{name}": Preset(
            f"attention above the decoder's stack, {name} score",
            "Luong et al. 2015, Effective Approaches to Attention-based Neural Machine Translation",
            {**LUONG, "cross_attention": score, "input_feeding": False},
        )
        for name, score in (("dot", "dot"), ("general", "general"), ("concat", "additive"))
    },
    "luong-feed": Preset(
        "the same, and the attentional vector fed to the next step",
        "Luong et al. 2015, Effective Approaches to Attention-based Neural Machine Translation",
        {**LUONG, "cross_attention": "general", "input_feeding": True},
    ),
    **{
        f"attention-{name}": Preset(
            f"a recurrent decoder that reads by {what}",
            source,
            {**LUONG, "cross_attention": score, "input_feeding": False},
        )
        for name, score, what, source in (
            ("cosine", "cosine", "cosine similarity, with a learnt temperature", "Graves et al. 2014, NTM"),
            ("euclid", "euclidean", "distance, with a learnt precision", "Nadaraya 1964 and Watson 1964"),
        )
    },
    "transformer": Preset(
        "self-attention and cross-attention with several heads, no recurrence",
        "Vaswani et al. 2017, Attention Is All You Need",
        {**TRANSFORMER, "encoder_mixers": ["full_attention"] * 6, "decoder_mixers": ["full_attention"] * 6},
    ),
    "hybrid-transformer-rnn": Preset(
        "self-attention encoder, recurrent decoder with feed-forward networks and multi-head cross-attention",
        "Chen et al. 2018, The Best of Both Worlds; Domhan 2018, How Much Attention Do You Need?",
        {
            **TRANSFORMER,
            "norm_position": "pre",
            "encoder_mixers": ["full_attention"] * 6,
            "decoder_mixers": ["lstm"] * 6,
            "decoder_position_embedding": "none",
        },
    ),
    **{
        f"ssru-student-{name}": Preset(
            f"Firefox's translation student, {name}: transformer encoder, SSRU decoder",
            "Kim et al. 2019, From Research to Production and Back; Bogoychev et al. 2020, Edinburgh's Submissions",
            {
                **STUDENT,
                "vocab_size": 32001,
                "hidden_size": size,
                "encoder_ffn_dim": inner,
                "decoder_ffn_dim": inner,
                "decoder_mixers": ["ssru"] * depth,
            },
        )
        for name, size, inner, depth in (("tiny", 256, 1536, 2), ("base", 512, 2048, 2), ("base-memory", 384, 1536, 4))
    },
    "interleaved": Preset(
        "a recurrent sublayer, then self-attention, in every layer of both sides",
        "Hao et al. 2019, Modeling Recurrence for Transformer; the default of this package is of this kind",
        {"encoder_mixers": ["lstm+full_attention"] * 6, "decoder_mixers": ["lstm+full_attention"] * 6},
    ),
    **FUSED,
    "bert-encoder": Preset(
        "token, segment and learned position embeddings, norm, then post-norm layers with GELU",
        "Devlin et al. 2019, BERT",
        {
            "vocab_size": 30522,
            "hidden_size": 768,
            "encoder_mixers": ["full_attention"] * 12,
            "decoder_mixers": ["gru"],
            "encoder_attention_heads": 12,
            "decoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "max_position_embeddings": 512,
            "norm_position": "post",
            "layer_norm_eps": 1e-12,
            "dropout": 0.1,
        },
        model="RnnAttnEncoderModel",
    ),
    "reader": Preset(
        "reads question and text, told apart by their segments, and answers with a span",
        "Hermann et al. 2015, Teaching Machines to Read and Comprehend",
        {**BARE, "type_vocab_size": 2, "encoder_mixers": ["lstm", "lstm"], "decoder_mixers": ["lstm"]},
        model="RnnAttnForQuestionAnswering",
    ),
    "parser": Preset(
        "sentence to linearised tree: three LSTM layers a side with attention",
        "Vinyals et al. 2015, Grammar as a Foreign Language",
        {
            **BARE,
            "hidden_size": 256,
            "encoder_mixers": ["lstm"] * 3,
            "encoder_directions": "forward",
            "source_order": "reversed",
            "decoder_mixers": ["luong_lstm"],
            "decoder_cell_depths": 3,
            "cross_attention": "additive",
            "input_feeding": False,
            "decoder_init": "encoder_state",
            "tie_word_embeddings": False,
        },
    ),
    **READING,
    "captioner": Preset(
        "decoder of transformers' VisionEncoderDecoderModel: reads a grid of image features",
        "Xu et al. 2015, Show, Attend and Tell",
        {**BARE, "decoder_mixers": ["bahdanau_gru"], "add_cross_attention": True},
        model="RnnAttnForCausalLM",
    ),
    "listener": Preset(
        "decoder of transformers' SpeechEncoderDecoderModel: reads acoustic features",
        "Chan et al. 2016, Listen, Attend and Spell",
        {**BARE, "decoder_mixers": ["conditional_lstm"], "cross_attention": "none", "add_cross_attention": True},
        model="RnnAttnForCausalLM",
    ),
    **PRETRAINED_PRESETS,
    **MACHINES,
}


def preset_config(name: str, **overrides: Any) -> RnnAttnConfig:
    """The config of a preset, with any of its fields given otherwise.

    Raises:
        ValueError: there is no such preset.
        StrictDataclassClassValidationError: the fields contradict one another.
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
    return RnnAttnConfig(**{**PRESETS[name].fields, **overrides})


def preset_model(name: str, **overrides: Any) -> Any:
    """A model with random weights of the class that the preset needs; see ``preset_config``."""
    import hf_rnnattn

    config = preset_config(name, **overrides)
    return getattr(hf_rnnattn, PRESETS[name].model)(config)
