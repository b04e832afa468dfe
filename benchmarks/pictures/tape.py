"""Where a neural Turing machine writes and reads while it copies."""

from collections.abc import Iterator
from pathlib import Path

import torch
from learning import Batch
from torch import Tensor

from hf_rnnattn.cell_traces import trace_cells
from hf_rnnattn.presets import preset_model

from .drawing import Panel
from .pronouncing import BUDGET, trained

MARK, FIRST, SYMBOLS = 3, 4, 8
LONGEST, SHOWN = 6, 8
SIZES = {"hidden_size": 32, "memory_slots": 16, "memory_slot_size": 8, "vocab_size": FIRST + SYMBOLS}
GROWTH = 0.02  # how much longer a step may make the sequences


def copies(symbols: Tensor) -> Tensor:
    """Symbols (B, L), the mark, the symbols again: (B, 2 L + 1)."""
    return torch.cat([symbols, torch.full_like(symbols[:, :1], MARK), symbols], 1)


def batches() -> Iterator[Batch]:
    """Sequences of one length a batch, first of one or two symbols, later of up to ``LONGEST``."""
    generator, step = torch.Generator().manual_seed(0), 0
    while True:
        longest = min(LONGEST, 2 + int(GROWTH * step))
        length = int(torch.randint(1, longest + 1, (), generator=generator))
        ids = copies(FIRST + torch.randint(SYMBOLS, (BUDGET["batch_size"], length), generator=generator))
        labels = ids.clone()
        labels[:, : length + 1] = -100
        yield {"input_ids": ids, "labels": labels}
        step += 1


def copying_tape(folder: Path) -> list[Panel]:
    """The weight of each slot at each step, when it is written and when it is read; longer than in training."""
    model = trained("ntm", folder, lambda: preset_model("ntm", **SIZES), batches(), learning_rate=1e-2)
    source = copies(FIRST + (torch.arange(SHOWN) * 5 % SYMBOLS)[None])[:, : SHOWN + 1]
    tokens = model.generate(source, do_sample=False, min_new_tokens=SHOWN, max_new_tokens=SHOWN)[0].tolist()
    names = ["|" if token == MARK else chr(ord("a") + token - FIRST) for token in tokens]
    states = trace_cells(model, None, tokens)[0].states
    return [
        Panel(states[f"{kind}_weights"][:, 0].T, (), names, f"{kind} head", "slots", "read, then written")
        for kind in ("write", "read")
    ]
