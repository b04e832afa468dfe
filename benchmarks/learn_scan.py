"""SCAN: what small models learn of commands and actions, and what of it holds for longer or newly joined commands.

    python benchmarks/learn_scan.py

Commands and splits come from scan_commands.py. "trained" is the share of training commands answered without a mistake
at the end, "held_out" that of the commands held out. In the second split "jump", alone, is every tenth example of the
training, as Lake and Baroni 2018 have it.
"""

import random
from typing import Any

import torch
from learning import Measured, run, train
from narrow_presets import INIT_STD, has_norms, narrow
from scan_commands import Meanings, split_by_length, split_by_primitive
from sequence_pairs import END, FIRST_SYMBOL, Pair, batches, share, written

LEARNERS = ("lstm", "luong-general", "hybrid-transformer-rnn")
SPLITS = {"length": split_by_length, "jump": split_by_primitive}
BUDGET: dict[str, Any] = {
    "steps": 3000,
    "batch": 32,
    "learning_rate": {"without norms": 1e-2, "with norms": 3e-3},
    "init_std": INIT_STD,
    "width": 64,
    "layers": 1,
}
JUMP_EVERY = 10


def pairs_of(meanings: Meanings) -> list[Pair]:
    """Ids of commands and actions, from one vocabulary of both; the same for every part of SCAN."""
    every, _ = split_by_length()
    words = sorted({word for command, actions in every.items() for word in (*command, *actions)})
    ids = {word: number for number, word in enumerate(words, FIRST_SYMBOL)}
    return [([ids[w] for w in command], [*(ids[a] for a in actions), END]) for command, actions in meanings.items()]


def training_pairs(split: str) -> list[Pair]:
    """The commands to train on; in the split that holds out "jump", with "jump" itself every tenth one."""
    trained, _ = SPLITS[split]()
    pairs = pairs_of(trained)
    if split == "jump":
        (alone,) = pairs_of({("jump",): trained["jump",]})
        pairs += [alone] * (len(pairs) // (JUMP_EVERY - 1))
    return pairs


def learn(seed: int) -> Measured:
    """Per cent of commands answered without a mistake, of each model and split."""
    measured: Measured = {name: {} for name in LEARNERS}
    vocabulary = 1 + max(token for pair in training_pairs("length") for side in pair for token in side)
    for split, parts in SPLITS.items():
        training, testing = training_pairs(split), pairs_of(parts()[1])
        seen = random.Random(0).sample(pairs_of(parts()[0]), 1000)
        for name in LEARNERS:
            torch.manual_seed(seed)
            model = narrow(name, width=BUDGET["width"], layers=BUDGET["layers"], vocab_size=vocabulary)
            drawn = batches(training, BUDGET["batch"], seed)
            rate = BUDGET["learning_rate"][has_norms(name)]
            losses = train(model, drawn, steps=BUDGET["steps"], learning_rate=rate)
            measured[name][split] = {
                "trained": share(written(model, seen)),
                "held_out": share(written(model, testing)),
                "loss": round(sum(losses[-50:]) / 50, 4),
            }
            measured[name]["parameters"] = model.num_parameters()
            print(name, split, measured[name][split], flush=True)
    return measured


if __name__ == "__main__":
    run("scan", __doc__, learn, BUDGET)
