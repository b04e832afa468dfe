"""Models to export: together every mixer on both sides, all directions and merges, all ways to read the encoder."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.onnx_export import export_onnx
from lively_models import make_lively

END = 5  # the id that ends a sequence
KEPT_FOLDERS: list[tempfile.TemporaryDirectory] = []  # until the process ends

# name -> what the model consists of
EXPORTED: dict[str, dict[str, Any]] = {
    "composite": {
        "encoder_mixers": ["gru+full_attention"],
        "encoder_directions": "forward",
        "decoder_mixers": ["lstm+full_attention"],
        "decoder_position_embedding": "learned",
        "decoder_init": "mean",
    },
    "bahdanau_gru": {
        "encoder_mixers": ["elman"],
        "encoder_directions": "backward",
        "decoder_mixers": ["bahdanau_gru"],
        "decoder_init": "last",
    },
    "conditional": {
        "encoder_mixers": ["gru", "gru"],
        "encoder_directions": ["both", "both_swapped"],
        "encoder_merge": "separate",
        "encoder_cell_depths": 2,
        "decoder_mixers": ["conditional_gru", "conditional_lstm", "gru"],
        "decoder_cell_depths": [3, 2, 2],
        "cell_norm": "layer_norm",
        "cross_attention": "none",
        "decoder_init": "mean",
        "decoder_init_cell": True,
        "readout": "deep",
        "embedding_size": 10,
    },
    "luong": {
        "encoder_mixers": ["lstm", "lstm", "gru"],
        "decoder_mixers": ["luong_lstm", "luong_gru"],
        "decoder_cell_depths": [2, 1],
        "cross_attention": "general",
        "decoder_init": "encoder_state",
    },
    "elman": {"encoder_mixers": ["full_attention"], "decoder_mixers": ["elman"], "norm_type": "rms_norm"},
    "full_attention": {
        "encoder_mixers": ["elman"],
        "encoder_merge": "concat",
        "decoder_mixers": ["full_attention", "full_attention"],
        "decoder_position_embedding": "sinusoidal",
    },
    "fused": {"encoder_mixers": ["fused"], "decoder_mixers": ["fused", "lstm+fused"], "decoder_init": "mean"},
    "rnmt": {
        "encoder_mixers": ["normed_lstm"],
        "encoder_hidden_size": 16,
        "decoder_mixers": ["rnmt_lstm", "normed_lstm"],
        "cross_attention": "none",
        "attention_size": 8,
        "feed_context": True,
        "readout": "concat",
    },
    "gru": {
        "encoder_mixers": ["gru"],
        "encoder_merge": "concat",
        "source_order": "reversed",
        "decoder_mixers": ["gru"],
        "decoder_init": "last",
    },
    "lstm": {
        "encoder_mixers": ["lstm"],
        "encoder_merge": "sum",
        "decoder_mixers": ["lstm"],
        "cross_attention": "additive",
        "decoder_init": "mean",
    },
    "mingru": {"encoder_mixers": ["mingru"], "encoder_merge": "concat_project", "decoder_mixers": ["mingru"]},
    "ntm": {
        "encoder_mixers": ["ntm"],
        "encoder_merge": "concat_project",
        "decoder_mixers": ["ntm", "ntm+full_attention"],
        "decoder_init": "mean",
    },
    "rglru": {
        "encoder_mixers": ["rglru"],
        "encoder_merge": "sum",
        "decoder_mixers": ["rglru", "rglru+full_attention"],
        "decoder_init": "last",
    },
    "sliding_attention": {
        "encoder_mixers": ["sliding_attention", "gru+full_attention"],
        "decoder_mixers": ["lstm+sliding_attention", "full_attention"],
    },
    "ssru": {
        "encoder_mixers": ["ssru", "kim_ssru"],
        "encoder_directions": "backward",
        "decoder_mixers": ["ssru", "kim_ssru"],
    },
    "mixed": {
        "encoder_mixers": ["lstm", "full_attention+ssru"],
        "decoder_mixers": ["ssru", "gru+full_attention", "bahdanau_gru", "full_attention+elman"],
        "norm_position": "post",
    },
    "additive": {
        "encoder_mixers": ["full_attention"],
        "source_order": "doubled",
        "decoder_mixers": ["full_attention", "mingru+lstm"],
        "cross_attention": "additive",
        "norm_position": "none",
    },
    "context": {
        "encoder_mixers": ["gru"],
        "decoder_mixers": ["gru", "lstm"],
        "cross_attention": "none",
        "context_vector": "sum",
        "decoder_init": "context",
        "feed_context": True,
    },
    "widths": {
        "encoder_mixers": ["gru"],
        "decoder_mixers": ["bahdanau_gru+full_attention", "lstm"],
        "embedding_size": 10,
        "encoder_hidden_size": 8,
        "decoder_init": "mean",
        "encoder_position_embedding": "none",
        "scale_embedding": True,
    },
}


@cache
def model_of(name: str) -> RnnAttnForConditionalGeneration:
    """The float32 model of this name; tests leave it as it is."""
    return make_lively(eos_token_id=END, **EXPORTED[name]).float()


@cache
def folder_of(name: str) -> Path:
    """A folder with the model's ONNX files."""
    KEPT_FOLDERS.append(tempfile.TemporaryDirectory(prefix="rnnattn-onnx-"))
    folder = Path(KEPT_FOLDERS[-1].name)
    export_onnx(model_of(name), folder)
    return folder
