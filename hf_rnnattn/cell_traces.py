"""What recurrent cells of a model do while it reads a text: their states and their gates, token by token."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .model.alignment_rnnattn import target_side

Call = tuple[str, Any, tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class CellTrace:
    """One cell while the model read T tokens; all tensors in float32 on the CPU.

    name:   where the cell stands, ``encoder.layers.0.mixers.0.backward_cell``.
    tokens: what was read, in the order of reading: see the config's ``source_order``.
    states: name -> (T, ...), the state after each token. A cell that reads from the right has read token t after all
        those that follow it.
    gates:  letter of the cell's equations -> (T, ...), how far each gate was open, in [0, 1].
    """

    name: str
    tokens: list[str]
    states: dict[str, Tensor]
    gates: dict[str, Tensor]


def trace_cells(
    model: Any, tokenizer: Any, text: str | Sequence[int], *, target: str | Sequence[int] | None = None
) -> list[CellTrace]:
    """Every recurrent cell of a model while it reads a text, in the order in which they read.

        >>> {cell.name: cell.gates["z"].shape for cell in trace_cells(model, tokenizer, "a text")}  # a model of GRUs

    The model's own computation is not changed: each cell then reads once more what it read, and tells of each step.

    Args:
        model: of this package; an encoder-decoder, an encoder, or a language model.
        tokenizer: reads the texts and names the tokens; None if ids are given, which then are the names.
        text: what the encoder reads, or the language model; or the ids.
        target: what the decoder of an encoder-decoder writes, as ``labels``; without one only the encoder is traced.

    Raises:
        ValueError: a text has no tokens, or no cell of the model is recurrent.
        TypeError: a text was given without a tokenizer.
    """
    ids = {"input_ids": _ids("text", text, tokenizer)}
    names = {"decoder": _names(ids["input_ids"], tokenizer)}  # of a language model
    names["encoder"] = _in_order_of_reading(model, names["decoder"])
    reader = model
    if model.config.is_encoder_decoder and target is None:
        reader = model.get_encoder()
    elif model.config.is_encoder_decoder:
        with target_side(tokenizer):
            labels = torch.tensor([_ids("target", target, tokenizer, text_target=True)], device=model.device)
            ids["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=labels)[0].tolist()
            names["decoder"] = _names(ids["decoder_input_ids"], tokenizer)
    with torch.inference_mode(), _recorded_calls(model) as calls:
        reader(**{name: torch.tensor([value], device=model.device) for name, value in ids.items()}, use_cache=False)
    with torch.inference_mode():
        traces = [_trace(*call, names) for call in calls]
    if not traces:
        raise ValueError("the model has no recurrent cells: all of its mixers are self-attention")
    return traces


def _ids(name: str, text: Any, tokenizer: Any, **how: Any) -> list[int]:
    if isinstance(text, str):
        if tokenizer is None:
            raise TypeError(f"tokenizer is None, so {name} must be ids, got {text!r}")
        text = tokenizer(**{"text_target" if how else "text": text})["input_ids"]
    ids = [int(i) for i in text]
    if not ids:
        raise ValueError(f"{name} has no tokens")
    return ids


def _names(ids: list[int], tokenizer: Any) -> list[str]:
    if tokenizer is None:
        return [str(i) for i in ids]
    found = zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)
    return [f"<{i}>" if name is None else name for i, name in found]  # an embedding may have more rows than names


def _in_order_of_reading(model: Any, names: list[str]) -> list[str]:
    """What the encoder reads at each place, which may be from the end of the source, or each token twice."""
    order = next((part.order for part in model.modules() if hasattr(part, "order")), None)
    places = None if order is None else order(None, len(names), model.device).tokens
    return names if places is None else [names[i] for i in places.tolist()]


@contextmanager
def _recorded_calls(model: Any) -> Iterator[list[Call]]:
    """Gathers the calls of the recurrent cells."""
    calls: list[Call] = []

    def recorder(name: str) -> Any:
        return lambda cell, args, kwargs, output: calls.append((name, cell, args, kwargs))

    # By what they have, not by class: a model that came with its code has classes of its own.
    cells = [(name, part) for name, part in model.named_modules() if hasattr(part, "gate_activations")]
    hooks = [cell.register_forward_hook(recorder(name), with_kwargs=True) for name, cell in cells]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _trace(
    name: str, cell: Any, args: tuple[Any, ...], kwargs: dict[str, Any], names: dict[str, list[str]]
) -> CellTrace:
    steps = cell(*args, **{**kwargs, "return_steps": True}).steps
    x = args[0]
    first = cell.first_state(len(x), dtype=x.dtype, device=x.device)
    if len(args) > 2 and args[2] is not None:
        first |= args[2]
    before = {state: torch.cat([first[state][:, None], after[:, :-1]], dim=1) for state, after in steps.items()}
    backward = name.endswith("backward_cell")

    def row(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: (value.flip(1) if backward else value)[0].float().cpu() for key, value in tensors.items()}

    side = "encoder" if "encoder" in name.split(".") else "decoder"
    return CellTrace(name, names[side], row(steps), row(cell.gate_activations(x, before)))
