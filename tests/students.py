"""Students of Marian for the tests: one with Marian's own translations, and tiny ones of random weights."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from hf_rnnattn.convert.marian_checkpoint import MarianCheckpoint
from hf_rnnattn.convert.marian_names import weights

FOLDER = Path(__file__).parent / "fixtures" / "marian"
MODEL, VOCABULARY, SHORTLIST = (
    FOLDER / name for name in ("model.intgemm.alphas.bin", "vocab.spm", "lex.50.50.s2t.bin")
)
SENTENCES = (FOLDER / "sentences.txt").read_text(encoding="utf-8").splitlines()

# What the released students say of themselves, and what says nothing.
OPTIONS: dict[str, Any] = {
    "type": "transformer",
    "transformer-decoder-autoreg": "rnn",
    "dec-cell": "ssru",
    "transformer-preprocess": "",
    "transformer-postprocess": "dan",
    "transformer-postprocess-emb": "d",
    "transformer-ffn-activation": "relu",
    "transformer-ffn-depth": 2,
    "transformer-heads": 2,
    "transformer-tied-layers": [],
    "transformer-train-position-embeddings": False,
    "layer-normalization": False,
    "dim-rnn": 1024,
    "enc-cell": "gru",
    "bert-type-vocab-size": 2,
    "transformer-dim-aan": 2048,
}


def recorded(name: str) -> list[str]:
    """What Marian translates the sentences to, see the folder's README."""
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


def student(
    *,
    shared: bool = True,
    tied_output: bool = True,
    output_bias: bool = True,
    pieces: int = 13,
    source_pieces: int | None = None,
    seed: int = 0,
    **options: Any,
) -> MarianCheckpoint:
    """A tiny student of 1 + 2 layers; its options as overridden (``transformer_heads=4``)."""
    width, inner = 8, 12
    draw = np.random.default_rng(seed)
    sizes = {"encoder_Wemb": (source_pieces or pieces, width), "logit_out_Wt": (pieces, width)}
    sizes |= {"ffn_W1": (width, inner), "ffn_b1": (1, inner), "ffn_W2": (inner, width), "logit_out_b": (1, pieces)}
    tensors: dict[str, Any] = {}
    layers = sorted(set(options.get("transformer_tied_layers") or [1, 2]))
    for weight in weights(1, layers, shared=shared, tied_output=tied_output, output_bias=output_bias):
        for name in filter(None, weight.sources):
            square = (width, width) if re.search(r"_W.?$", name) else (1, width)
            shape = (pieces, width) if "Wemb" in name else square
            shape = next((size for suffix, size in sizes.items() if name.endswith(suffix)), shape)
            tensors[name] = draw.normal(size=shape, scale=0.4).astype(np.float32)
    return MarianCheckpoint(
        OPTIONS | {key.replace("_", "-"): value for key, value in options.items()}, tensors, (), "a student"
    )
