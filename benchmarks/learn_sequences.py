"""Copy, reverse and sort: what small models of each preset that writes learn of them, with one budget for all.

    python benchmarks/learn_sequences.py

The first token of a source names the task, so that one model learns all three. A tenth of all sequences, drawn by a
hash, is never trained on. An answer counts if every token of it and its end are right.
"""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import torch
from learning import Batch, Measured, run, train
from narrow_presets import INIT_STD, has_norms, narrow
from sequence_pairs import END, FIRST_SYMBOL, Pair, batch_of, check_generation, share, written

TASKS = ("copy", "reverse", "sort")
SYMBOLS, SHORTEST, LONGEST = 10, 3, 5
LEARNERS = (
    *("elman", "lstm", "gru", "bahdanau", "nematus", "luong-general", "luong-feed", "attention-cosine"),
    *("transformer", "hybrid-transformer-rnn", "ssru-student-tiny", "interleaved"),
)
BUDGET: dict[str, Any] = {
    "steps": 500,
    "batch": 64,
    "learning_rate": {"without norms": 1e-2, "with norms": 3e-3},
    "init_std": INIT_STD,
    "width": 64,
    "layers": 1,
    "symbols": SYMBOLS,
    "lengths": [SHORTEST, LONGEST],
    "tested": 500,
}


def held_out(sequence: tuple[int, ...]) -> bool:
    return hashlib.sha256(bytes(sequence)).digest()[0] % 10 == 0


def sequences(draw: random.Random, length: int, testing: bool) -> Iterator[tuple[int, ...]]:
    """Symbols at random, of those to test with or of the others."""
    while True:
        sequence = tuple(draw.choices(range(SYMBOLS), k=length))
        if held_out(sequence) == testing:
            yield sequence


def pair_of(task: str, sequence: tuple[int, ...]) -> Pair:
    """Source and target as ids."""
    answer = {"copy": sequence, "reverse": sequence[::-1], "sort": sorted(sequence)}[task]
    symbol = FIRST_SYMBOL + len(TASKS)
    return [FIRST_SYMBOL + TASKS.index(task), *(symbol + x for x in sequence)], [*(symbol + x for x in answer), END]


def training_batches(seed: int) -> Iterator[Batch]:
    """Batches without end, each of one length, the three tasks in turn."""
    draw = random.Random(seed)
    while True:
        drawn = sequences(draw, draw.randint(SHORTEST, LONGEST), testing=False)
        yield batch_of([pair_of(TASKS[i % len(TASKS)], next(drawn)) for i in range(BUDGET["batch"])])


def tests() -> dict[str, list[Pair]]:
    """The held-out questions of each task, all of the same sequences, each once."""
    draw, found = random.Random(0), dict[tuple[int, ...], None]()
    while len(found) < BUDGET["tested"]:
        found[next(sequences(draw, draw.randint(SHORTEST, LONGEST), testing=True))] = None
    return {task: [pair_of(task, sequence) for sequence in found] for task in TASKS}


def learn(seed: int) -> Measured:
    """Per cent of held-out sequences answered without a mistake, of each preset and task."""
    questions = tests()
    measured: Measured = {}
    for name in LEARNERS:
        torch.manual_seed(seed)
        vocabulary = FIRST_SYMBOL + len(TASKS) + SYMBOLS
        model = narrow(name, width=BUDGET["width"], layers=BUDGET["layers"], vocab_size=vocabulary)
        rate = BUDGET["learning_rate"][has_norms(name)]
        losses = train(model, training_batches(seed), steps=BUDGET["steps"], learning_rate=rate)
        right = {task: written(model, questions[task]) for task in TASKS}
        for task in TASKS:
            check_generation(model, questions[task][:20], right[task][:20])
        measured[name] = {task: share(right[task]) for task in TASKS}
        measured[name] |= {"parameters": model.num_parameters(), "loss": round(sum(losses[-50:]) / 50, 4)}
        print(name, measured[name], flush=True)
    return measured


if __name__ == "__main__":
    run("sequences", __doc__, learn, BUDGET)
