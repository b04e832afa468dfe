"""Expressions of Python to linearised trees: the preset ``parser``.

    python benchmarks/learn_parser.py

Sentences and trees are those of python_trees.py, of this Python's standard library, each sentence once; a tenth of
them, drawn by a hash, is held out. Trees are what ``generate()`` writes greedily. F1 is that of labelled brackets, of
which a tree that is not well formed has none.
"""

import hashlib
import platform
from functools import cache
from typing import Any

from learning import Measured, run, train
from narrow_presets import INIT_STD, has_norms, narrow
from python_trees import Sentence, Tree, brackets_of, f1, standard_library
from sequence_pairs import END, FIRST_SYMBOL, Pair, batches, generated, share

BUDGET: dict[str, Any] = {
    "steps": 800,
    "batch": 32,
    "learning_rate": 1e-2,
    "init_std": INIT_STD[has_norms("parser")],
    "width": 64,
    "layers": 3,
    "tokens": [4, 20],
    "tested": 600,
}


class Treebank:
    """Sentences with their trees, and the ids of their symbols."""

    def __init__(self) -> None:
        self.trees = standard_library(*BUDGET["tokens"])
        ordered = sorted(self.trees, key=lambda sentence: _hash(sentence).hex())
        self.testing = [sentence for sentence in ordered if _hash(sentence)[0] < 26][: BUDGET["tested"]]
        self.training = [sentence for sentence in ordered if _hash(sentence)[0] >= 26]
        symbols = sorted({symbol for entry in self.trees.items() for side in entry for symbol in side})
        self.ids = {symbol: number for number, symbol in enumerate(symbols, FIRST_SYMBOL)}
        self.symbols = dict(enumerate(symbols, FIRST_SYMBOL))

    def pairs(self, sentences: list[Sentence]) -> list[Pair]:
        """As ids."""
        return [
            ([self.ids[word] for word in sentence], [*(self.ids[symbol] for symbol in self.trees[sentence]), END])
            for sentence in sentences
        ]

    def tree_of(self, ids: list[int]) -> Tree:
        """The symbols that a model wrote, up to its end; other special tokens as they are, which no tree has."""
        return tuple(self.symbols.get(number, str(number)) for number in ids if number != END)


def _hash(sentence: Sentence) -> bytes:
    return hashlib.sha256(" ".join(sentence).encode()).digest()


@cache
def treebank() -> Treebank:
    """Read once for all seeds."""
    return Treebank()


def learn(seed: int) -> Measured:
    """Per cent of held-out trees that are well formed and that are right, and the F1 of their brackets."""
    bank = treebank()
    model = narrow(
        "parser", width=BUDGET["width"], layers=BUDGET["layers"], vocab_size=FIRST_SYMBOL + len(bank.symbols)
    )
    drawn = batches(bank.pairs(bank.training), BUDGET["batch"], seed)
    losses = train(model, drawn, steps=BUDGET["steps"], learning_rate=BUDGET["learning_rate"])
    pairs = bank.pairs(bank.testing)
    parts = [generated(model, pairs[start : start + 100]) for start in range(0, len(pairs), 100)]
    written = [bank.tree_of(row) for part in parts for row in part]
    correct = [bank.trees[sentence] for sentence in bank.testing]
    lengths = [len(sentence) for sentence in bank.testing]
    return {
        "well_formed": share([brackets_of(*case) is not None for case in zip(written, lengths, strict=True)]),
        "right": share([ours == theirs for ours, theirs in zip(written, correct, strict=True)]),
        "f1": round(100 * f1([*zip(written, correct, strict=True)], lengths), 1),
        "loss": round(sum(losses[-50:]) / 50, 4),
        "parameters": model.num_parameters(),
        "sentences": {"train": len(bank.training), "test": len(bank.testing)},
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    run("parser", __doc__, learn, BUDGET)
