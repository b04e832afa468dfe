"""Copying tokens that training never showed: the preset ``pointer`` beside the same model without its pointer.

Both learn to copy sequences over one half of a vocabulary and are tested on the other half, whose embeddings and
output weights are those that chance gave them. The encoder is told positions.

    python benchmarks/learn_copy_unseen.py
"""

from collections.abc import Iterator
from typing import Any

import torch
from learning import Batch, Measured, run, train

from hf_rnnattn.presets import preset_model

END, FIRST = 2, 3  # the id that ends a sequence, and the first that may stand in one
BUDGET = {
    "steps": 600,
    "rows": 64,
    "learning_rate": 3e-3,
    "seen_tokens": 50,
    "unseen_tokens": 50,
    "shortest": 4,
    "longest": 8,
    "hidden_size": 64,
    "tested_sequences": 500,
}
SEEN = range(FIRST, FIRST + BUDGET["seen_tokens"])
UNSEEN = range(SEEN.stop, SEEN.stop + BUDGET["unseen_tokens"])


def model_of(*, copies: bool) -> Any:
    """The preset at a small width."""
    width = BUDGET["hidden_size"]
    return preset_model(
        "pointer",
        vocab_size=UNSEEN.stop,
        hidden_size=width,
        encoder_hidden_size=2 * width,
        embedding_size=width,
        attention_size=width,
        encoder_position_embedding="sinusoidal",
        input_feeding=False,  # so that all steps are trained at once
        dropout=0.0,
        copy_from_source=copies,
    )


def sequences(tokens: range, rows: int, generator: torch.Generator) -> Batch:
    """Sources that are their own targets, all of one random length."""
    length = int(torch.randint(BUDGET["shortest"], BUDGET["longest"] + 1, (), generator=generator))
    ids = torch.randint(tokens.start, tokens.stop, (rows, length), generator=generator)
    ids = torch.nn.functional.pad(ids, (0, 1), value=END)
    return {"input_ids": ids, "labels": ids}


def batches(tokens: range, rows: int, generator: torch.Generator) -> Iterator[Batch]:
    while True:
        yield sequences(tokens, rows, generator)


@torch.no_grad()
def share_copied(model: Any, tokens: range, generator: torch.Generator) -> float:
    """The share of sequences that greedy search copies whole."""
    right, rows = 0, 50
    for _ in range(BUDGET["tested_sequences"] // rows):
        ids = sequences(tokens, rows, generator)["input_ids"]
        length = ids.shape[1]  # with the end, which may come after length - 1 tokens at the earliest
        written = model.generate(ids, do_sample=False, min_new_tokens=length - 1, max_new_tokens=length)
        right += int((written[:, 1:] == ids).all(1).sum())
    return right / BUDGET["tested_sequences"]


def learn(seed: int) -> Measured:
    """Trains both models on the same sequences."""
    measured: Measured = {}
    for name, copies in (("pointer", True), ("without_pointer", False)):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = model_of(copies=copies)
        given = batches(SEEN, BUDGET["rows"], generator)
        train(model, given, steps=BUDGET["steps"], learning_rate=BUDGET["learning_rate"])
        generator.manual_seed(seed + 1000)
        measured[name] = {
            "seen": share_copied(model, SEEN, generator),
            "unseen": share_copied(model, UNSEEN, generator),
            "parameters": model.num_parameters(),
        }
    return measured


if __name__ == "__main__":
    run("copy_unseen", __doc__ or "", learn, BUDGET)
