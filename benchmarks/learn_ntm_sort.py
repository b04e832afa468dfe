"""Whether a neural Turing machine learns to sort by priorities, beside an LSTM that is larger than the machine.

    python benchmarks/learn_ntm_sort.py

After Graves et al. 2014. A language model reads pairs of an item and its priority, in random order, and a mark; then
it writes the items, that of the highest priority first, and an end. It is trained on new sequences at every step, of
2 to ``longest`` pairs (of few at first), and tested on ``longest`` and on two more than that. Priorities of a sequence
differ, items may repeat.
"""

from typing import Any

import torch
from learn_ntm_copy import END, FIRST, MARK, PAD, START, batches
from learning import run, train
from torch import Tensor

from hf_rnnattn.presets import preset_model

BUDGET: dict[str, Any] = {
    "items": 8,
    "priorities": 12,
    "longest": 6,
    "longer_in_tests": 2,
    "lengthened_every": 300,  # steps after which training sequences may be longer by one
    "batch": 64,
    "steps": 6000,
    "learning_rate": 0.01,
    "tests": 400,
    "ntm": {"hidden_size": 64, "memory_slots": 24, "memory_slot_size": 12},
    "lstm": {"hidden_size": 96},
}


def learn(seed: int) -> dict[str, Any]:
    """What each of the two sorts after training, by the number of items."""
    return {cell: learn_with(cell) for cell in ("ntm", "lstm")}


def learn_with(cell: str) -> dict[str, Any]:
    special = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    vocabulary = FIRST + BUDGET["items"] + BUDGET["priorities"]
    model = preset_model("ntm", vocab_size=vocabulary, decoder_mixers=[cell], **special, **BUDGET[cell])
    train(model, batches(BUDGET, 2, sequences), steps=BUDGET["steps"], learning_rate=BUDGET["learning_rate"])
    counts = (BUDGET["longest"], BUDGET["longest"] + BUDGET["longer_in_tests"])
    measured = {"parameters": model.num_parameters(), "sorted": {str(n): shares(model, n) for n in counts}}
    print(cell, measured, flush=True)
    return measured


def sequences(rows: int, count: int) -> Tensor:
    """Items, each with its priority behind it, the mark, the items sorted, the end: (rows, 3 count + 2)."""
    items = torch.randint(FIRST, FIRST + BUDGET["items"], (rows, count))
    ranks = torch.stack([torch.randperm(BUDGET["priorities"])[:count] for _ in range(rows)])
    pairs = torch.stack([items, FIRST + BUDGET["items"] + ranks], dim=2).flatten(1)
    ordered = items.gather(1, ranks.argsort(dim=1, descending=True))
    mark, end = (torch.full((rows, 1), token) for token in (MARK, END))
    return torch.cat([pairs, mark, ordered, end], dim=1)


def shares(model: Any, count: int) -> dict[str, float]:
    """Of new sequences of ``count`` pairs: those sorted without a mistake, and places that have the right item."""
    ids = sequences(BUDGET["tests"], count)
    prompt = 2 * count + 1
    written = model.generate(ids[:, :prompt], max_new_tokens=count + 1, min_new_tokens=count + 1, do_sample=False)
    right = written[:, prompt:-1] == ids[:, prompt:-1]
    return {"sequences": right.all(1).float().mean().item(), "places": right.float().mean().item()}


if __name__ == "__main__":
    run("ntm_sort", __doc__, learn, BUDGET)
