"""How many syllables a word has, after each of its letters: the picture of a model that gives one value."""

from pathlib import Path
from typing import Any

import torch
from learning import Batch

from .drawing import Panel
from .pronouncing import LETTERS, VOWELS, batches, build, encode, trained

MOST = 5


def syllables(batch: Batch) -> Batch:
    """Words with the number of their vowels as label, 0 for one, 4 for five or more."""
    vowels = (batch["labels"] >= 3) & (batch["labels"] < 3 + len(VOWELS))
    return {**batch, "labels": (vowels.sum(1) - 1).clamp(0, MOST - 1)}


def counter(folder: Path) -> Any:
    """The trained preset ``seq2vec``."""
    given = (syllables(batch) for batch in batches())
    return trained("seq2vec", folder, lambda: build("seq2vec", vocab_size=len(LETTERS), num_labels=MOST), given)


def prefixes(folder: Path, word: str) -> list[Panel]:
    """The probability of each number after each letter."""
    model = counter(folder)
    batch = encode([(word[: i + 1], []) for i in range(len(word))])
    with torch.no_grad():
        odds = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.softmax(-1)  # (T, 5)
    names = [*(str(i) for i in range(1, MOST)), f"{MOST}+"]
    return [Panel(odds.T.flip(0), names[::-1], list(word), "probability after each letter", "syllables", "read")]
