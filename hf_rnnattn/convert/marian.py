"""Students of Marian, as Bergamot and Firefox run them: a transformer encoder and an SSRU decoder."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import Tensor
from transformers import GenerationConfig

from ..model.configuration_rnnattn import RnnAttnConfig
from ..model.modeling_rnnattn import RnnAttnForConditionalGeneration
from ..model.written_tokens import FORBIDDEN
from .marian_checkpoint import MarianCheckpoint
from .marian_names import (
    DECODER_TABLE,
    ENCODER_TABLE,
    LAYER,
    OLD_OUTPUT,
    OUTPUT,
    OUTPUT_BIAS,
    SHARED,
    Weight,
    weights,
)
from .marian_options import EPSILON, activation, check_options, guided_layer, number, tied_layers

MAX_LENGTH_FACTOR = 2.0  # Bergamot's: a target is at most so many times as long as its source


def model_from_marian(
    checkpoint: MarianCheckpoint, *, eos_token_id: int = 0, unk_token_id: int = 1
) -> RnnAttnForConditionalGeneration:
    """The model that computes what Marian computes with a checkpoint's weights, in floating point.

    Marian starts a target with a vector of zeros. Here it is the row of a token that is added to the vocabulary, one
    past Marian's last; it is also what pads, and what the output never chooses. It has one id on both sides: where
    source and target have vocabularies of different sizes, the smaller table is filled up with rows of zeros, which
    are no tokens, and which the output never chooses either. Layers that Marian ties
    (``transformer-tied-layers``) get copies of their weights: fine-tuning may then tell them apart.

    Args:
        checkpoint: as ``read_marian`` returns it.
        eos_token_id, unk_token_id: of the vocabulary. As in Marian, the unknown token is never written.

    Returns:
        The model in evaluation mode. Its generation config decodes as Bergamot does: one beam, scores divided by the
        length, targets at most twice as long as their source.

    Raises:
        ValueError: an option has no counterpart here; a weight is missing, left over or of another shape.
    """
    checkpoint = _with_one_output(checkpoint)
    config, table = _architecture(checkpoint, eos_token_id)
    sizes = vocabulary_sizes(checkpoint)
    for name, token in (("eos_token_id", eos_token_id), ("unk_token_id", unk_token_id)):
        if not 0 <= token < sizes[1]:
            raise ValueError(f"{name} must be in [0, {sizes[1]}), got {token}")
    with torch.device("meta"):
        model = RnnAttnForConditionalGeneration(config)
    model.load_state_dict(_state(checkpoint, model, table), strict=False, assign=True)
    model.tie_weights()
    model.generation_config = generation_config(config, unk_token_id)
    layer = guided_layer(checkpoint.options, len(config.decoder_mixers), checkpoint.source)
    model.generation_config.alignment_heads = [[layer, 0]]  # what Marian prints alignments of
    return model.eval()


def generation_config(config: RnnAttnConfig, unk_token_id: int) -> GenerationConfig:
    """How Bergamot decodes: see ``model_from_marian``."""
    return GenerationConfig(
        num_beams=1,
        length_penalty=1.0,
        max_length_factor=MAX_LENGTH_FACTOR,
        suppress_tokens=[unk_token_id, config.pad_token_id],
        pad_token_id=config.pad_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
    )


def vocabulary_sizes(checkpoint: MarianCheckpoint) -> tuple[int, int]:
    """How many pieces source and target have.

    Raises:
        ValueError: there is no table of embeddings, or it is no matrix.
    """
    shared = SHARED in checkpoint.tensors
    names = (SHARED, SHARED) if shared else (ENCODER_TABLE, DECODER_TABLE)
    source, target = (len(_table(checkpoint, name)) for name in names)
    return source, target


def _with_one_output(checkpoint: MarianCheckpoint) -> MarianCheckpoint:
    """The checkpoint with its output matrix, if it has one of its own, in the newer of two layouts."""
    old = checkpoint.tensors.get(OLD_OUTPUT)
    if old is None:
        return checkpoint
    tensors = {name: values for name, values in checkpoint.tensors.items() if name != OLD_OUTPUT}
    return replace(checkpoint, tensors={**tensors, OUTPUT: np.ascontiguousarray(old.T)})


def _architecture(checkpoint: MarianCheckpoint, eos_token_id: int) -> tuple[RnnAttnConfig, list[Weight]]:
    """The config, and the table of weights. Widths and depths are those of the weights; the options must agree."""
    options, tensors, source = checkpoint.options, checkpoint.tensors, checkpoint.source
    check_options(options, source)
    shared = SHARED in tensors
    sizes = vocabulary_sizes(checkpoint)
    start = max(sizes)
    encoder_depth, decoder_depth = (_depth(checkpoint, side) for side in ("enc", "dec"))
    layers = tied_layers(options, decoder_depth, source)
    tied = OUTPUT not in tensors
    table = weights(encoder_depth, layers, shared=shared, tied_output=tied, output_bias=OUTPUT_BIAS in tensors)
    _check_names(table, checkpoint)
    width = _table(checkpoint, SHARED if shared else DECODER_TABLE).shape[1]
    _agree(checkpoint, "dim-emb", width)
    heads = number(options, "transformer-heads", 8, source)
    inner = [tensors[f"{side}_l1_ffn_W1"].shape[-1] for side in ("encoder", "decoder")]
    _agree(checkpoint, "transformer-dim-ffn", inner[0])
    fields: dict[str, Any] = {
        "vocab_size": start + 1,
        "encoder_vocab_size": start + 1,
        "hidden_size": width,
        "encoder_mixers": ["full_attention"] * encoder_depth,
        "encoder_directions": "forward",
        "decoder_mixers": ["kim_ssru"] * len(layers),
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": inner[0],
        "decoder_ffn_dim": inner[1],
        "norm_position": "post",
        "layer_norm_eps": EPSILON,
        "activation_function": activation(options),
        "encoder_position_embedding": "sinusoidal",
        "decoder_position_embedding": "sinusoidal",
        "type_vocab_size": 0,
        "embedding_norm": False,
        "scale_embedding": True,
        "share_encoder_decoder_embeddings": shared,
        "tie_word_embeddings": tied,
        "output_bias": True,
        "written_vocab_size": sizes[1],
        "pad_token_id": start,
        "bos_token_id": start,
        "eos_token_id": eos_token_id,
        "decoder_start_token_id": start,
    }
    try:
        return RnnAttnConfig(**fields), table
    except StrictDataclassClassValidationError as error:
        raise ValueError(f"{source}: {error.__cause__}") from error


def _table(checkpoint: MarianCheckpoint, name: str) -> np.ndarray[Any, Any]:
    table = checkpoint.tensors.get(name)
    if table is None:
        raise ValueError(f"{checkpoint.source} has neither {SHARED} nor {name}: there are no embeddings to read")
    if table.ndim != 2:
        raise ValueError(f"{name} in {checkpoint.source} must have 2 dimensions, got shape {table.shape}")
    return table


def _depth(checkpoint: MarianCheckpoint, side: str) -> int:
    pattern = re.compile(LAYER.format(side=f"{side}oder"))
    numbers = sorted(int(match[1]) for name in checkpoint.tensors if (match := pattern.fullmatch(name)))
    tied = checkpoint.options.get("transformer-tied-layers") if side == "dec" else None
    if not numbers or (not tied and numbers != list(range(1, len(numbers) + 1))):
        raise ValueError(f"the {side}oder's layers in {checkpoint.source} must be numbered from 1, got {numbers}")
    depth = len(tied) if isinstance(tied, list) and tied else len(numbers)
    _agree(checkpoint, f"{side}-depth", depth)
    return depth


def _agree(checkpoint: MarianCheckpoint, key: str, found: int) -> None:
    if checkpoint.options.get(key, found) != found:
        raise ValueError(f"{key} is {checkpoint.options[key]!r} in {checkpoint.source}, but its weights say {found}")


def _check_names(table: list[Weight], checkpoint: MarianCheckpoint) -> None:
    wanted = {name for weight in table for name in weight.sources if name is not None}
    missing, left = sorted(wanted - checkpoint.tensors.keys()), sorted(checkpoint.tensors.keys() - wanted)
    if missing or left:
        raise ValueError(
            f"{checkpoint.source} does not have the weights of a student; missing: {', '.join(missing) or 'none'}; "
            f"not understood: {', '.join(left) or 'none'}"
        )


def _state(checkpoint: MarianCheckpoint, model: Any, table: list[Weight]) -> dict[str, Tensor]:
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for target in model.get_expanded_tied_weights_keys(all_submodels=True):
        shapes.pop(target)
    unset = sorted(shapes.keys() - {weight.target for weight in table})
    if unset:
        raise ValueError(f"no weight of {checkpoint.source} is mapped to {', '.join(unset)}")
    return {weight.target: _made(weight, shapes[weight.target], checkpoint) for weight in table}


def _made(weight: Weight, shape: tuple[int, ...], checkpoint: MarianCheckpoint) -> Tensor:
    """One of our weights, of this shape, from Marian's."""
    source, target = vocabulary_sizes(checkpoint)
    pieces = source if weight.target.startswith("model.encoder.") else target
    rows = shape[0] // len(weight.sources)
    wanted = {"matrix": (*shape[1:], rows), "table": (pieces, *shape[1:]), "output_bias": (1, pieces)}
    parts = [_values(name, wanted.get(weight.form, (1, rows)), checkpoint) for name in weight.sources]
    if weight.form == "matrix":
        return torch.cat([part.T for part in parts]).contiguous()
    if weight.form == "table":
        return torch.cat([*parts, torch.zeros(shape[0] - pieces, shape[1])])
    if weight.form == "output_bias":
        return torch.cat([*parts, torch.full((1, shape[0] - pieces), FORBIDDEN)], dim=1)[0]
    return torch.cat(parts, dim=1)[0]


def _values(name: str | None, shape: tuple[int, ...], checkpoint: MarianCheckpoint) -> Tensor:
    """One of Marian's weights; zeros for one that it does not have."""
    if name is None:
        return torch.zeros(shape)
    values = checkpoint.tensors[name]
    if values.shape != shape:
        raise ValueError(f"{name} in {checkpoint.source} must have shape {shape}, got {values.shape}")
    return torch.from_numpy(values.copy())
