"""Students of this family as files of Marian, for Bergamot, Firefox and whatever else reads those."""

import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from ..alignment import guided_head
from ..model.written_tokens import FORBIDDEN
from .marian_names import DECODER_TABLE, ENCODER_TABLE, OUTPUT, SHARED, Weight, weights
from .marian_options import ACTIVATIONS, EPSILON
from .marian_writing import binary_bytes, int8_bytes, npz_bytes

WITH_ALPHAS = "intgemm.alphas.bin"
FORMATS = {"npz": npz_bytes, "bin": binary_bytes, "intgemm8.bin": int8_bytes, WITH_ALPHAS: int8_bytes}
# The fields in which a model may not differ from what Marian computes.
FIXED: dict[str, Any] = {
    "cross_attention": "multi_head",
    "decoder_init": "zeros",
    "norm_position": "post",
    "norm_type": "layer_norm",
    "layer_norm_eps": EPSILON,
    "residual": True,
    "encoder_position_embedding": "sinusoidal",
    "decoder_position_embedding": "sinusoidal",
    "type_vocab_size": 0,
    "embedding_norm": False,
    "scale_embedding": True,
    "output_bias": True,
}
VERSION = "v1.12.0 hf_rnnattn"


def export_marian(
    model: Any, path: str | PathLike[str], alphas: Mapping[str, np.ndarray[Any, Any]] | None = None
) -> None:
    """Writes a model as a file of Marian; its ending says which.

    ``.npz`` and ``.bin`` hold float32, ``.intgemm8.bin`` weights in 8 bits, ``.intgemm.alphas.bin`` those and the
    multipliers of activations, which Bergamot's and Firefox's engines want.

    Args:
        model: an ``RnnAttnForConditionalGeneration`` of the form that ``model_from_marian`` makes, fine-tuned or not.
        path: the file; written at once or not at all.
        alphas: what ``measure_alphas`` returns; for ``.intgemm.alphas.bin``, and for no other.

    Raises:
        ValueError: another ending, the model computes what Marian cannot, in 8 bits or at all (the message names the
            field or weight), or alphas that are missing or not wanted.
        OSError: the file cannot be written.
    """
    file = Path(path)
    kind = kind_of(file)
    if (alphas is not None) != (kind == WITH_ALPHAS):
        wanted = "needs the multipliers of activations" if alphas is None else "holds no multipliers of activations"
        raise ValueError(f"{file.name} {wanted}: only .{WITH_ALPHAS} has them")
    check_exportable(model)
    layer, _ = guided_head(model)
    tensors = tensors_of(model)
    if FORMATS[kind] is int8_bytes:
        _check_8_bits(tensors)
    options = options_of(model.config, tensors)
    options["transformer-guided-alignment-layer"] = _layer_name(layer, model.config)
    data = FORMATS[kind](yaml.safe_dump(options), {**tensors, **(alphas or {})})
    part = file.with_name(f".{file.name}.saving")
    try:
        part.write_bytes(data)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _check_8_bits(tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """What intgemm's products need; with a file that has it not, Bergamot stops or writes nonsense."""
    if OUTPUT in tensors:
        raise ValueError("tie_word_embeddings must be True in 8 bits: Marian reads no output matrix of its own there")
    pieces = len(tensors[SHARED if SHARED in tensors else DECODER_TABLE])
    if pieces % 8:
        raise ValueError(f"the target's vocabulary must have a multiple of 8 pieces in 8 bits, got {pieces}")


def kind_of(file: Path) -> str:
    """Which of ``FORMATS`` the name of a file ends in.

    Raises:
        ValueError: none of them.
    """
    for ending in sorted(FORMATS, key=len, reverse=True):
        if file.name.endswith(f".{ending}"):
            return ending
    raise ValueError(f"the file must end in one of {', '.join(f'.{ending}' for ending in FORMATS)}, got {file.name}")


def options_of(config: Any, tensors: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Marian's training options of a model, as far as Marian reads them to build it."""
    shared, tied = config.share_encoder_decoder_embeddings, config.tie_word_embeddings
    tables = (SHARED, SHARED) if shared else (ENCODER_TABLE, DECODER_TABLE)
    activation = {ours: theirs for theirs, ours in ACTIVATIONS.items()}[config.activation_function]
    return {
        "version": VERSION,
        "type": "transformer",
        "dim-vocabs": [len(tensors[name]) for name in tables],
        "dim-emb": config.hidden_size,
        "enc-depth": config.encoder_layers,
        "dec-depth": config.decoder_layers,
        "dec-cell": "ssru",
        "tied-embeddings-all": shared and tied,
        "tied-embeddings": tied and not shared,
        "tied-embeddings-src": shared and not tied,
        "transformer-heads": config.encoder_attention_heads,
        "transformer-dim-ffn": config.encoder_ffn_dim,
        "transformer-ffn-depth": 2,
        "transformer-ffn-activation": activation,
        "transformer-decoder-autoreg": "rnn",
        "transformer-decoder-dim-ffn": 0
        if config.decoder_ffn_dim == config.encoder_ffn_dim
        else config.decoder_ffn_dim,
        "transformer-decoder-ffn-depth": 0,
        "transformer-preprocess": "",
        "transformer-postprocess": "dan",
        "transformer-postprocess-emb": "d",
        "transformer-postprocess-top": "",
        "transformer-tied-layers": [],
        "transformer-no-projection": False,
        "transformer-train-position-embeddings": False,
        "layer-normalization": False,
        "right-left": False,
        "skip": False,
        "ulr": False,
        "input-types": [],
        "lemma-dim-emb": 0,
        "output-omit-bias": False,
        # what a transformer with this decoder never reads, and some readers ask for all the same
        "dim-rnn": 1024,
        "enc-cell": "gru",
        "enc-cell-depth": 1,
        "enc-type": "bidirectional",
        "dec-cell-base-depth": 2,
        "dec-cell-high-depth": 1,
    }


def _layer_name(layer: int, config: Any) -> str:
    return "last" if layer in (-1, config.decoder_layers - 1) else str(layer + 1)


def tensors_of(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """A model's weights under Marian's names, in float32, matrices ``[in, out]``.

    Raises:
        ValueError: a weight that Marian takes for zero is another.
    """
    state = {name: _float32(values) for name, values in model.state_dict().items()}
    target, bias = model.config.written_vocab_size, state["lm_head.bias"]
    if (bias[target:] > FORBIDDEN / 2).any():
        raise ValueError(f"padding must never be written, but its lm_head.bias is {bias[target:].max().item()}")
    found: dict[str, np.ndarray[Any, Any]] = {}
    for weight in table_of(model.config):
        for name, part in zip(weight.sources, _parts(weight, state[weight.target], target), strict=True):
            if name is not None:
                found[name] = part.contiguous().numpy()
    return found


def _float32(values: Tensor) -> Tensor:
    """A weight on the CPU; one that torchao keeps in 8 bits as what it stands for."""
    plain = values if type(values) is Tensor else values.dequantize()
    return plain.detach().float().cpu()


def table_of(config: Any) -> list[Weight]:
    """Every weight of a model and Marian's names of it."""
    return weights(
        config.encoder_layers,
        range(1, config.decoder_layers + 1),
        shared=config.share_encoder_decoder_embeddings,
        tied_output=config.tie_word_embeddings,
        output_bias=True,
    )


def pieces_of(table: Tensor) -> int:
    """How many rows are those of pieces: up to the last that is not zeros."""
    real = table.any(dim=1)
    return int(real.nonzero().max()) + 1 if real.any() else 0


def _parts(weight: Weight, values: Tensor, pieces: int) -> list[Tensor]:
    """One of our weights as what Marian stacks it from; ``pieces`` are those of the target."""
    if not torch.isfinite(values).all():
        raise ValueError(f"{weight.target} has values that are not finite")
    if weight.form == "table":
        if weight.target.startswith("model.encoder."):
            pieces = pieces_of(values)
        elif weight.target != "lm_head.weight" and pieces_of(values) > pieces:
            raise ValueError(
                f"Marian starts from a vector of zeros, but {weight.target} has others after its {pieces} pieces"
            )
        if pieces == len(values):
            raise ValueError(f"padding must be a row of zeros, but the last of {weight.target} is another")
        return [values[:pieces]]
    if weight.form == "output_bias":
        return [values[None, :pieces]]
    parts = values.chunk(len(weight.sources))
    return [part.T if weight.form == "matrix" else part[None] for part in parts]


def check_exportable(model: Any) -> None:
    """Whether Marian can compute what the model does, as far as its config says.

    Raises:
        ValueError: it cannot; the message names the field.
    """
    config = model.config
    wanted = {
        **FIXED,
        "embedding_size": config.hidden_size,
        "encoder_hidden_size": config.hidden_size,
        "decoder_attention_heads": config.encoder_attention_heads,
        "encoder_mixers": ["full_attention"] * config.encoder_layers,
        "decoder_mixers": ["kim_ssru"] * config.decoder_layers,
        "pad_token_id": config.vocab_size - 1,
        "decoder_start_token_id": config.vocab_size - 1,
        "encoder_vocab_size": config.vocab_size,
    }
    for name, value in wanted.items():
        if getattr(config, name) != value:
            raise ValueError(f"{name} must be {value!r} in a model of Marian, got {getattr(config, name)!r}")
    if config.activation_function not in ACTIVATIONS.values():
        known = ", ".join(ACTIVATIONS.values())
        raise ValueError(f"activation_function must be one of {known}, got {config.activation_function!r}")
    written = config.written_vocab_size
    if written is None or written == config.vocab_size:
        raise ValueError(
            f"written_vocab_size must be below vocab_size ({config.vocab_size}) in a model of Marian, got {written}"
        )
    for name in ("encoder_layers", "encoder_ffn_dim", "decoder_ffn_dim"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1 in a model of Marian, got {getattr(config, name)}")
