"""Whether a neural Turing machine learns to copy, and copies sequences twice as long as any that it was trained on.

    python benchmarks/learn_ntm_copy.py

A language model reads random symbols and a mark, then writes the symbols again and an end. It is trained on new
sequences at every step, of 1 to ``longest`` symbols (of few at first), and tested on ``longest`` and twice as many.
Beside it an LSTM that is larger than the machine, with the same budget.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from learning import run, train
from torch import Tensor

from hf_rnnattn.presets import preset_model

PAD, START, END, MARK, FIRST = range(5)  # special ids, and the first symbol
BUDGET: dict[str, Any] = {
    "symbols": 16,
    "longest": 20,
    "lengthened_every": 25,  # steps after which training sequences may be longer by one
    "batch": 32,
    "steps": 1000,
    "learning_rate": 0.01,
    "tests": 200,
    "ntm": {"hidden_size": 32, "memory_slots": 48, "memory_slot_size": 8},
    "lstm": {"hidden_size": 48},
}


def main() -> None:
    run("ntm_copy", __doc__ or "", learn, BUDGET)


def learn(seed: int) -> dict[str, Any]:
    """What each of the two copies after training: the share of sequences without any mistake, by their length."""
    return {cell: learn_with(cell) for cell in ("ntm", "lstm")}


def learn_with(cell: str) -> dict[str, Any]:
    special = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    model = preset_model("ntm", vocab_size=FIRST + BUDGET["symbols"], decoder_mixers=[cell], **special, **BUDGET[cell])
    train(model, batches(BUDGET, 1, sequences), steps=BUDGET["steps"], learning_rate=BUDGET["learning_rate"])
    lengths = (BUDGET["longest"], 2 * BUDGET["longest"])
    return {"parameters": model.num_parameters(), "copied": {str(n): share_copied(model, n) for n in lengths}}


def batches(
    budget: dict[str, Any], shortest: int, sequences: Callable[[int, int], Tensor]
) -> Iterator[dict[str, Tensor]]:
    """``sequences`` of one random length a batch; what is read up to the mark is not to be predicted."""
    for step in range(budget["steps"]):
        longest = min(budget["longest"], 2 + step // budget["lengthened_every"])
        length = int(torch.randint(shortest, longest + 1, ()))
        ids = sequences(budget["batch"], length)
        read = (ids == MARK).cumsum(1) - (ids == MARK).long() == 0  # up to the mark, and the mark
        yield {"input_ids": ids, "labels": ids.masked_fill(read, -100)}


def sequences(rows: int, length: int) -> Tensor:
    """Symbols, the mark, the symbols again, the end: (rows, 2 length + 2)."""
    symbols = torch.randint(FIRST, FIRST + BUDGET["symbols"], (rows, length))
    mark, end = (torch.full((rows, 1), token) for token in (MARK, END))
    return torch.cat([symbols, mark, symbols, end], dim=1)


def share_copied(model: Any, length: int) -> float:
    """The share of new sequences of ``length`` symbols that are written without any mistake, their end too."""
    ids = sequences(BUDGET["tests"], length)
    written = model.generate(ids[:, : length + 1], max_new_tokens=length + 1, do_sample=False)
    return sum(row.tolist() == wanted.tolist() for row, wanted in zip(written, ids, strict=True)) / len(ids)


if __name__ == "__main__":
    main()
