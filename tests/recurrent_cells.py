"""Small recurrent cells with inputs, states and memories to run them on, for the tests of every cell alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hf_rnnattn.model import mixer_stepping
from hf_rnnattn.model.attention import Memory
from hf_rnnattn.model.mixer_base import RecurrentMixer
from hf_rnnattn.model.mixers import MIXERS
from hf_rnnattn.model.norms import SplitLayerNorm
from reference import RECURRENCES, Run

RECURRENT = sorted(name for name in MIXERS if MIXERS[name].kind == "recurrent")
SCANNED = ["kim_ssru", "mingru", "ssru"]
STEPPING = ["elman", "gru", "lstm"]
INPUT, HIDDEN, MEMORY, ATTENTION, SLOTS = 5, 4, 6, 3, 5
BATCH, LENGTH = 4, 7
CLOSE = {"rtol": 0.0, "atol": 1e-12}


def build(
    name: str,
    *,
    input_size: int = INPUT,
    hidden_size: int = HIDDEN,
    dtype: torch.dtype = torch.float64,
    noise: float = 0.3,
    **options: Any,
) -> Any:
    """The cell with random weights and biases everywhere, so that nothing hides behind a zero."""
    sizes = {"memory_size": MEMORY, "attention_size": ATTENTION} if MIXERS[name].reads_memory else {}
    if MIXERS[name].takes_heads:
        sizes = {"memory_size": MEMORY, "attention_size": 2 * ATTENTION, "num_heads": 2}
    if MIXERS[name].takes_slots:
        sizes = {"memory_slots": 5, "memory_slot_size": 3, "memory_heads": 2}
    if MIXERS[name].takes_blocks:
        sizes = {"num_blocks": 2}
    cell = MIXERS[name](input_size=input_size, hidden_size=hidden_size, **{**sizes, **options}).to(dtype)
    initialise(cell)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return cell


def initialise(cell: Any) -> None:
    """As a model initialises the cell, and each cell of a stack."""
    for module in cell.modules():
        if isinstance(module, RecurrentMixer):
            module.init_weights()


def random_state(cell: Any, batch: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """A state such as the cell could be in."""
    state = {name: torch.rand(batch, *shape, dtype=dtype) * 1.6 - 0.8 for name, shape in cell.state_shapes.items()}
    return {name: value.softmax(-1) if name.endswith("weights") else value for name, value in state.items()}


def holes(batch: int, length: int) -> Tensor:
    """A mask with left, right and inner padding; the first row is all real, the last all padding."""
    mask = torch.rand(batch, length) > 0.4
    mask[0], mask[-1] = True, False
    return mask


def memory_of(cell: Any, batch: int, dtype: torch.dtype = torch.float64) -> tuple[Memory | None, Any]:
    """A prepared memory, and the raw values and mask that the reference loop reads; (None, None) for other cells."""
    if not cell.reads_memory:
        return None, None
    values, mask = torch.randn(batch, SLOTS, MEMORY, dtype=dtype), torch.rand(batch, SLOTS) > 0.3
    mask[:, 1], mask[0] = True, False
    return Memory(*cell.prepare_memory(values, mask), mask), (values, mask)


def rows_of(memory: Memory | None, rows: Tensor | slice) -> Memory | None:
    """The memory of some rows of the batch."""
    if memory is None:
        return None
    return Memory(memory.keys[rows], memory.values[rows], None if memory.mask is None else memory.mask[rows])


def lengthened(cell: Any, memory: Any, out: Any) -> Any:
    """The memory for the tokens after those of ``out``: with their keys and values, for a cell that keeps any."""
    if not cell.keeps_keys:
        return memory
    new = (out.keys, out.values)
    return new if memory is None else tuple(torch.cat(pair, dim=2) for pair in zip(memory, new, strict=True))


def reference(name: str, cell: Any, x: Tensor, mask: Tensor | None, state: dict[str, Tensor], raw_memory: Any) -> Run:
    """The loop of tests/reference.py on the cell's own weights."""
    weights: dict[str, Any] = dict(cell.named_parameters())
    if isinstance(getattr(cell, "state_norm", None), SplitLayerNorm):
        weights["norm_blocks"] = cell.state_norm.blocks
    if isinstance(getattr(cell, "activation", None), nn.Identity):
        weights["attentional_activation"] = "none"
    if cell.keeps_keys:
        weights |= {"num_heads": cell.num_heads, "second_pass": cell.second_pass}
    return RECURRENCES[name](weights, x, mask, state, raw_memory)


def first_gates(cell: Any) -> Any:
    """The layer through which the input enters a cell, or the lowest cell of a stack."""
    if hasattr(cell, "cells"):
        return cell.cells[0].input_to_gates
    return cell.input_proj if cell.takes_blocks else cell.input_to_gates


def first_bias(cell: Any) -> Any:
    """The bias of the gates of that cell, wherever it stands."""
    owner = cell.cells[0] if hasattr(cell, "cells") else cell
    for name in ("gate_bias", "gate_norm"):
        if hasattr(owner, name):
            return getattr(owner, name) if name == "gate_bias" else owner.gate_norm.bias
    return first_gates(cell).bias


@contextmanager
def plain_arithmetic(monkeypatch: Any) -> Iterator[None]:
    """No kernel of torch stands in for the loop of a stepping cell."""
    with monkeypatch.context() as patch:
        patch.setattr(mixer_stepping, "fusible_weights", lambda *_: None)
        yield


def setting(
    name: str, masked: bool = False, batch: int = BATCH, length: int = LENGTH, **options: Any
) -> tuple[Any, ...]:
    """A cell, x, mask, state, and its memory: prepared for the cell, raw for the reference loop."""
    cell = build(name, **options)
    x = torch.randn(batch, length, INPUT, dtype=torch.float64)
    memory, raw = memory_of(cell, batch)
    return cell, x, holes(batch, length) if masked else None, random_state(cell, batch), memory, raw
