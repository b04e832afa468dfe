"""The task of most pictures: English pronunciation, letters to phones, learnt from CMUdict by small models."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from learning import Batch, train
from narrow_presets import narrow
from transformers import set_seed

import hf_rnnattn
from hf_rnnattn.presets import PRESETS
from hf_rnnattn.pronunciation import load_cmudict

PAD, BEGIN, END = range(3)
LETTERS = ("<pad>", "<s>", "</s>", "'", *"abcdefghijklmnopqrstuvwxyz")
VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = (
    "B",
    "CH",
    "D",
    "DH",
    "F",
    "G",
    "HH",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "NG",
    "P",
    "R",
    "S",
    "SH",
    "T",
    "TH",
    "V",
)
PHONES = ("<pad>", "<s>", "</s>", *VOWELS, *CONSONANTS, "W", "Y", "Z", "ZH")
WIDTH, LAYERS = 64, 2
BUDGET = {"steps": 800, "batch_size": 64, "learning_rate": 4e-3}
# Of those whose steps take the longest.
FEWER_STEPS = dict.fromkeys(
    ("transformer", "fused", "interleaved", "ssru-student-tiny", "hybrid-transformer-rnn", "rnmt-plus"), 400
)
Words = list[tuple[str, list[str]]]


@cache
def read_words() -> tuple[Words, Words]:
    """Words with their phones: those to train on, and the held-out ones."""
    splits = load_cmudict()
    parts = [zip(splits[part]["source"], splits[part]["target"], strict=True) for part in ("train", "test")]
    training, test = ([(word, phones.split()) for word, phones in part] for part in parts)
    return training, test


def build(name: str, **overrides: Any) -> Any:
    """A small model of a preset, by default for this task."""
    vocabularies = {"vocab_size": len(PHONES), "encoder_vocab_size": len(LETTERS), "written_vocab_size": None}
    return narrow(name, width=WIDTH, layers=LAYERS, **{**vocabularies, **overrides})


def encode(words: Words) -> Batch:
    """Letters and phones as ids, padded to the right; a target has an end."""
    source = [torch.tensor([LETTERS.index(letter) for letter in word]) for word, _ in words]
    target = [torch.tensor([*(PHONES.index(phone) for phone in phones), END]) for _, phones in words]
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad(source, batch_first=True, padding_value=PAD)
    return {
        "input_ids": ids,
        "attention_mask": (ids != PAD).long(),
        "labels": pad(target, batch_first=True, padding_value=-100),
    }


def batches(size: int = BUDGET["batch_size"], seed: int = 0) -> Iterator[Batch]:
    """Words for ever, those of one length together, so that little is padded."""
    training, _ = read_words()
    generator = torch.Generator().manual_seed(seed)
    while True:
        chosen = sorted(
            torch.randint(len(training), (size * 16,), generator=generator).tolist(), key=lambda i: len(training[i][0])
        )
        for part in torch.randperm(16, generator=generator).tolist():
            yield encode([training[i] for i in chosen[part * size : (part + 1) * size]])


def kept(name: str, folder: Path, kind: Any, make: Callable[[], Any]) -> Any:
    """The model of the class ``kind`` that the folder has under this name; where it has none, the one that is made."""
    if not (folder / name).is_dir():
        make().save_pretrained(folder / name)
    return kind.from_pretrained(folder / name).eval()


def trained(
    name: str,
    folder: Path,
    make: Callable[[], Any] | None = None,
    given: Iterator[Batch] | None = None,
    learning_rate: float = BUDGET["learning_rate"],
) -> Any:
    """The preset after its training, with the words of ``batches`` or what else is given."""

    def learn() -> Any:
        set_seed(0)
        model = make() if make else build(name)
        train(model, given or batches(), steps=FEWER_STEPS.get(name, BUDGET["steps"]), learning_rate=learning_rate)
        return model

    return kept(name, folder, getattr(hf_rnnattn, PRESETS[name].model), learn)


@torch.no_grad()
def pronounce(model: Any, words: list[str]) -> list[list[str]]:
    """The phones of words, chosen greedily."""
    batch = encode([(word, []) for word in words])
    written = model.generate(
        batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=24, do_sample=False
    )
    return [[PHONES[i] for i in row if i > END] for row in written.tolist()]


def phone_error_rate(model: Any, count: int = 500) -> float:
    """Wrong phones in 100 of the first held-out words: insertions, deletions and substitutions."""
    words = read_words()[1][:count]
    told = pronounce(model, [word for word, _ in words])
    wrong = sum(_distance(mine, phones) for mine, (_, phones) in zip(told, words, strict=True))
    return 100 * wrong / sum(len(phones) for _, phones in words)


def _distance(one: list[str], other: list[str]) -> int:
    """The edit distance of two sequences."""
    row = list(range(len(other) + 1))
    for i, mine in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, theirs in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (mine != theirs))
    return row[-1]


def example(model: Any, word: str) -> tuple[Batch, list[str], list[str]]:
    """What the model is given and writes for a word: inputs with the written phones as labels; letters; phones."""
    phones = pronounce(model, [word])[0]
    return encode([(word, phones)]), list(word), [*phones, "·"]
