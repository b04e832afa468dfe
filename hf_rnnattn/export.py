"""Models as programs of ``torch.export``: encoder and decoder step, for any batch, source and number of tokens."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.exported_graphs import DecoderStepGraph, EncoderGraph, Named, dynamic_axes, holds_keys
from hf_rnnattn.model.alignment_rnnattn import eager_attention
from hf_rnnattn.model.plain_linear import has_usual_weights
from hf_rnnattn.model.source_order import READINGS

# Sizes of the example that is traced: all different, so that none is taken for another.
EXAMPLE = {"batch": 3, "source": 5, "past": 4}


class Graph(NamedTuple):
    """A program and the example that it was traced with: what went in, and what came out."""

    program: ExportedProgram
    inputs: dict[str, Any]
    outputs: Named


class Graphs(NamedTuple):
    """A model as two graphs: see ``exported_graphs`` for what they take and give.

    The programs take their inputs by name and return a dict. What the step takes of the past and of the encoder goes
    into one dict, ``state``: ``step(input_ids=…, attention_mask=…, state={"past.0.h": …, …})``.
    """

    encoder: Graph
    decoder_step: Graph


def export_programs(model: Any, *, limits: Mapping[str, int] | None = None, strict: bool = False) -> Graphs:
    """Exports encoder and decoder step for any batch size, source length and number of tokens so far.

    Recurrence over the source becomes one operation that loops (``torch.ops.higher_order.scan``). Attention is the
    eager one, so rows of padding only are safe. The model is left as it was.

    Args:
        model: an ``RnnAttnForConditionalGeneration`` in float32.
        limits: the largest ``batch``, ``source`` and ``past`` (tokens before a step) to be served, for backends that
            plan their memory ahead; what is not given has no limit but the model's own.
        strict: traces with TorchDynamo, which fails where a graph would break. The programs compute the same.

    Raises:
        TypeError: another kind of model.
        ValueError: weights that are not plain float32: quantised, in half precision, or not in memory; a model that
            copies from its source or pools its segments; or limits of unknown sizes or below those of the example (3,
            5 and 4).
    """
    check_exportable(model)
    bounds = _bounds(model, limits or {})
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with eager_attention(model), torch.no_grad():
            encoder, step = EncoderGraph(model), DecoderStepGraph(model)
            source = encoder_example(model)
            encoded = encoder(**source)
            target = step_example(model, encoded)
            return Graphs(
                Graph(_trace(encoder, source, bounds, strict), source, encoded),
                Graph(_trace(step, target, bounds, strict), target, step(**target)),
            )
    finally:
        for module, training in modes:
            module.training = training


def check_exportable(model: Any) -> None:
    """Raises what ``export_programs`` says."""
    if not isinstance(model, RnnAttnForConditionalGeneration):
        raise TypeError(
            f"only RnnAttnForConditionalGeneration can be exported, got {type(model).__name__}; adapters of PEFT are "
            "merged into their model with merge_and_unload()"
        )
    if model.config.copy_from_source:
        raise ValueError("copy_from_source must be False: an exported step does not know the ids of the source")
    if model.config.encoder_pooling != "none":
        pooling = model.config.encoder_pooling
        raise ValueError(f"encoder_pooling must be 'none', got {pooling!r}: an exported encoder has no segments")
    for name, parameter in model.named_parameters():
        if parameter.device.type == "meta":
            raise ValueError(f"weights must be in memory to be exported, {name} is not: load without device_map")
        if not has_usual_weights([parameter], torch.float32):
            kind = f"{type(parameter).__name__} of {parameter.dtype}"
            raise ValueError(f"weights must be plain float32 to be exported, {name} is {kind}: load with float32")


def max_length(model: Any, side: str) -> int | None:
    """How many tokens ``encoder`` or ``decoder`` can read; None: any number."""
    embeddings = getattr(model.model, side).embeddings
    limited = getattr(embeddings.position_embeddings, "limited", False)
    readings = READINGS[model.config.source_order] if side == "encoder" else 1
    return embeddings.max_position_embeddings // readings if limited else None


def encoder_example(model: Any) -> dict[str, Any]:
    """Some inputs of the encoder."""
    ids = torch.zeros(EXAMPLE["batch"], EXAMPLE["source"], dtype=torch.long, device=model.device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def step_example(model: Any, encoded: Named) -> dict[str, Any]:
    """Some inputs of a decoder step after some tokens; ``encoded``: what the encoder gives for its example."""
    rows, past = EXAMPLE["batch"], EXAMPLE["past"]
    ids, mask = (torch.ones(rows, size, dtype=torch.long, device=model.device) for size in (1, EXAMPLE["source"]))
    state = {}
    for name, tensor in encoded.items():
        if holds_keys(name):
            tensor = tensor.new_zeros(*tensor.shape[:2], past, tensor.shape[3])
        if name != "last_hidden_state":
            state[name] = tensor.contiguous()
    example = {"input_ids": ids, "attention_mask": mask, "state": state}
    if model.model.decoder.embeddings.position_embeddings is not None:
        example["position_ids"] = torch.full_like(ids, past)
    return example


def _bounds(model: Any, limits: Mapping[str, int]) -> dict[str, int | None]:
    """The largest batch, source and past."""
    own, target = max_length(model, "encoder"), max_length(model, "decoder")
    bounds: dict[str, int | None] = {"batch": None, "source": own, "past": None if target is None else target - 1}
    for name, limit in limits.items():
        if name not in EXAMPLE:
            raise ValueError(f"limits must name some of {', '.join(EXAMPLE)}, got {name!r}")
        if limit < EXAMPLE[name] or (name == "source" and own is not None and limit > own):
            most = f", at most {own}" if name == "source" and own is not None else ""
            raise ValueError(f"limits[{name!r}] must be at least {EXAMPLE[name]}{most}, got {limit}")
        bounds[name] = limit
    return bounds


def _trace(
    graph: nn.Module, example: dict[str, Any], bounds: Mapping[str, int | None], strict: bool
) -> ExportedProgram:
    dims = {name: Dim(name, min=0 if name == "past" else 1, max=most) for name, most in bounds.items()}

    def shapes_of(name: str, value: Any) -> dict[Any, Any]:
        if isinstance(value, dict):
            return {key: shapes_of(key, tensor) for key, tensor in value.items()}
        return {axis: dims[size] for axis, size in dynamic_axes(name, step="state" in example).items()}

    shapes = {name: shapes_of(name, value) for name, value in example.items()}
    return torch.export.export(graph, (), example, dynamic_shapes=shapes, strict=strict)
