"""Sentences about words that were never seen: the picture of a model that copies.

``telephone came before symphony`` becomes ``symphony came after telephone``. The words are those of CMUdict; two of
those that training never shows are drawn.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from learning import Batch

from .drawing import Panel
from .looking import attention, outputs_of
from .pronouncing import BUDGET, END, build, read_words, trained

SPECIAL = ("<pad>", "<s>", "</s>", "came", "before", "after")
OTHER = {"before": "after", "after": "before"}
NEW = ("telephone", "symphony")
KNOWN = 1000  # words of the training


def vocabulary() -> list[str]:
    """Words that are seen, and the new ones at the end."""
    words = [word for word, _ in read_words()[0] if word not in SPECIAL]
    return [*SPECIAL, *dict.fromkeys(words[:: len(words) // KNOWN]), *NEW]


def pair(first: str, order: str, second: str) -> tuple[str, str]:
    """A sentence, and what is to be made of it."""
    return f"{first} came {order} {second}", f"{second} came {OTHER[order]} {first}"


def encode(pairs: list[tuple[str, str]], words: list[str]) -> Batch:
    """All sentences have as many words."""
    ids = {word: i for i, word in enumerate(words)}
    source, target = ([[ids[word] for word in text.split()] for text in side] for side in zip(*pairs, strict=True))
    return {"input_ids": torch.tensor(source), "labels": torch.tensor([[*row, END] for row in target])}


def batches(words: list[str]) -> Iterator[Batch]:
    """Sentences about the words that are seen, for ever."""
    generator = torch.Generator().manual_seed(0)
    seen = words[len(SPECIAL) : -len(NEW)]
    while True:
        chosen = torch.randint(len(seen), (BUDGET["batch_size"], 2), generator=generator).tolist()
        orders = torch.randint(2, (len(chosen),), generator=generator).tolist()
        told = [pair(seen[i], list(OTHER)[order], seen[j]) for (i, j), order in zip(chosen, orders, strict=True)]
        yield encode(told, words)


def copying(folder: Path) -> list[Panel]:
    """Which words were pointed at, and how much of each word that was written was copied."""
    words = vocabulary()
    sizes = {"vocab_size": len(words), "encoder_vocab_size": len(words), "encoder_position_embedding": "sinusoidal"}
    model = trained("pointer", folder, lambda: build("pointer", **sizes), batches(words))
    source = encode([pair(NEW[0], "before", NEW[1])], words)["input_ids"]
    written = model.generate(source, max_new_tokens=8, do_sample=False)[:, 1:]
    batch = {"input_ids": source, "labels": written}
    (gate,) = outputs_of(model, batch, model.distribution.gate)
    rows = ["·" if i == END else words[i] for i in written[0].tolist()]
    columns = [words[i] for i in source[0].tolist()]
    return [
        Panel(attention(model, batch)[-1].mean(0), rows, columns, "pointed at", "written", "read"),
        Panel(torch.sigmoid(-gate), rows, ["copied"], "1 − g"),
    ]
