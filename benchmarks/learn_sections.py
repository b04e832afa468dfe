"""The section of the archive that a package of Debian belongs to, told from its description: the preset ``seq2vec``.

    python benchmarks/learn_sections.py

The descriptions, and how a fresh machine gets them, are those of debian_descriptions.py: test packages share no family
with those trained on. A multinomial naive Bayes over the same pieces of words, and always naming the commonest
section, stand beside it.
"""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from debian_descriptions import Description, descriptions, lists, release
from learning import Batch, Measured, run, train
from narrow_presets import INIT_STD, has_norms, narrow
from sequence_pairs import PAD, like_lengths, padded
from torch import Tensor

from hf_rnnattn.tokenizer_training import train_tokenizer

BUDGET: dict[str, Any] = {
    "steps": 800,
    "batch": 64,
    "learning_rate": 3e-3,
    "init_std": INIT_STD[has_norms("seq2vec")],
    "width": 96,
    "layers": 1,
    "dropout": 0.2,
    "vocabulary": 6000,
    "longest": 32,
}

Example = tuple[list[int], int]


@cache
def data() -> tuple[dict[str, list[Example]], list[str], int]:
    """Examples of both parts as ids, the names of the sections, and the size of the vocabulary.

    Sections that no package to train on has are left out, and so are packages without one.
    """
    parts = descriptions(lists())
    sections = sorted({each.section for each in parts["train"]} - {""})
    texts = {part: [text_of(each) for each in rows] for part, rows in parts.items()}
    tokenizer = train_tokenizer(
        texts["train"][:20000], kind="wordpiece", vocab_size=BUDGET["vocabulary"], min_frequency=2, lowercase=True
    )
    examples = {}
    for part, rows in parts.items():
        ids = tokenizer(texts[part], truncation=True, max_length=BUDGET["longest"])["input_ids"]
        named = zip(ids, rows, strict=True)
        examples[part] = [(row, sections.index(each.section)) for row, each in named if each.section in sections]
    return examples, sections, len(tokenizer)


def text_of(description: Description) -> str:
    return f"{description.short}. {description.long}"


def batches(examples: list[Example], seed: int) -> Iterator[Batch]:
    """Batches without end, see ``like_lengths``."""
    for rows in like_lengths([len(ids) for ids, _ in examples], BUDGET["batch"], seed):
        yield batch_of([examples[i] for i in rows])


def batch_of(examples: list[Example]) -> Batch:
    input_ids = padded([ids for ids, _ in examples], PAD)
    labels = torch.tensor([label for _, label in examples])
    return {"input_ids": input_ids, "attention_mask": (input_ids != PAD).long(), "labels": labels}


@torch.no_grad()
def ranked(model: Any, examples: list[Example], size: int = 256) -> Tensor:
    """The place, from 0, of each example's section among all by the model's score."""
    places = []
    for start in range(0, len(examples), size):
        batch = batch_of(examples[start : start + size])
        scores = model(**batch).logits
        places.append((scores > scores.gather(1, batch["labels"][:, None])).sum(-1))
    return torch.cat(places)


def naive_bayes(examples: dict[str, list[Example]], sections: int, vocabulary: int) -> float:
    """Per cent of test packages that a multinomial naive Bayes with one added count puts right."""
    counts, priors = torch.ones(sections, vocabulary), torch.zeros(sections)
    for ids, label in examples["train"]:
        counts[label] += torch.bincount(torch.tensor(ids), minlength=vocabulary)
        priors[label] += 1
    words = (counts / counts.sum(1, keepdim=True)).log()  # (sections, vocabulary)
    right = sum(
        int((priors.log() + words[:, torch.tensor(ids)].sum(1)).argmax()) == label for ids, label in examples["test"]
    )
    return per_cent(right, examples["test"])


def per_cent(right: int, examples: list[Example]) -> float:
    return round(100 * right / len(examples), 1)


def learn(seed: int) -> Measured:
    """Per cent of test packages whose section comes first, and whose section is among the first three."""
    examples, sections, vocabulary = data()
    model = narrow(
        "seq2vec",
        width=BUDGET["width"],
        layers=BUDGET["layers"],
        dropout=BUDGET["dropout"],
        vocab_size=vocabulary,
        num_labels=len(sections),
    )
    drawn = batches(examples["train"], seed)
    losses = train(model, drawn, steps=BUDGET["steps"], learning_rate=BUDGET["learning_rate"])
    places = ranked(model, examples["test"])
    ((commonest, _),) = Counter(label for _, label in examples["train"]).most_common(1)
    return {
        "first": per_cent(int((places == 0).sum()), examples["test"]),
        "first_three": per_cent(int((places < 3).sum()), examples["test"]),
        "naive_bayes": naive_bayes(examples, len(sections), vocabulary),
        "commonest": per_cent(sum(label == commonest for _, label in examples["test"]), examples["test"]),
        "loss": round(sum(losses[-50:]) / 50, 4),
        "parameters": model.num_parameters(),
        "sections": len(sections),
        "packages": {part: len(rows) for part, rows in examples.items()},
        "lists": release(lists()),
    }


if __name__ == "__main__":
    run("sections", __doc__, learn, BUDGET)
