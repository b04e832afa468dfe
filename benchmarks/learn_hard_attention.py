"""A monotone task for attention that reads one position a step: taught by reward, and as an exact sum.

A cipher: token t of the target is a fixed substitute of token t of the source, and the encoder has no layers, so that
position t alone tells it. Measured is how many sequences greedy search gets right, and how often the position that was
read (of the exact sum: the likeliest) is the right one.

    python benchmarks/learn_hard_attention.py
"""

from collections.abc import Iterator
from typing import Any

import torch
from learning import Batch, Measured, run, train

from hf_rnnattn.presets import preset_model

FIRST = 3  # the first id that may stand in a sequence
BUDGET = {
    "steps": 400,
    "rows": 32,
    "learning_rate": 1e-2,
    "symbols": 10,
    "shortest": 3,
    "longest": 8,
    "hidden_size": 32,
    "tested_sequences": 400,
}
KINDS = ("reinforce", "marginal")


def model_of(kind: str) -> Any:
    """The preset at a small width over embeddings and positions."""
    width = BUDGET["hidden_size"]
    return preset_model(
        "hard-attention",
        vocab_size=FIRST + BUDGET["symbols"],
        hidden_size=width,
        encoder_layers=0,
        encoder_mixers=[],
        encoder_position_embedding="sinusoidal",
        decoder_mixers=["gru"],
        decoder_init="zeros",
        attention_size=width,
        init_std=0.3,  # as large as what tells the positions; from 0.02 neither kind finds anything in 800 steps
        dropout=0.0,
        hard_attention=kind,
    )


def cipher(rows: int, generator: torch.Generator) -> Batch:
    """Sources of one random length, and their substitutes."""
    length = int(torch.randint(BUDGET["shortest"], BUDGET["longest"] + 1, (), generator=generator))
    symbols = torch.randint(0, BUDGET["symbols"], (rows, length), generator=generator)
    return {"input_ids": FIRST + symbols, "labels": FIRST + (symbols * 3 + 1) % BUDGET["symbols"]}


def batches(rows: int, generator: torch.Generator) -> Iterator[Batch]:
    while True:
        yield cipher(rows, generator)


@torch.no_grad()
def measure(model: Any, generator: torch.Generator) -> Measured:
    """Shares of right sequences and of right positions."""
    right = found = tokens = 0
    rows = 50
    for _ in range(BUDGET["tested_sequences"] // rows):
        batch = cipher(rows, generator)
        length = batch["labels"].shape[1]
        written = model.generate(batch["input_ids"], do_sample=False, min_new_tokens=length, max_new_tokens=length)[
            :, 1:
        ]
        right += int((written == batch["labels"]).all(1).sum())
        weights = model(**batch, output_attentions=True).cross_attentions[0][:, 0]
        found += int((weights.argmax(-1) == torch.arange(length)).sum())
        tokens += rows * length
    return {"sequences": right / BUDGET["tested_sequences"], "positions": round(found / tokens, 4)}


def learn(seed: int) -> Measured:
    """Trains both kinds on the same sequences."""
    measured: Measured = {}
    for kind in KINDS:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        model = model_of(kind)
        given = batches(BUDGET["rows"], generator)
        train(model, given, steps=BUDGET["steps"], learning_rate=BUDGET["learning_rate"])
        measured[kind] = measure(model, generator.manual_seed(seed + 1000))
    return measured


if __name__ == "__main__":
    run("hard_attention", __doc__ or "", learn, BUDGET)
