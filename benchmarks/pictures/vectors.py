"""The name of a garment, letter by letter, from one vector: the pictures of models whose source is a vector."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from fashion_captions import NAMES, read_images
from learning import Batch
from torch import Tensor

from .drawing import Panel
from .pronouncing import BUDGET, END, WIDTH, build, trained

LETTERS = ("<pad>", "<s>", "</s>", " ", "-", *"abcdefghijklmnopqrstuvwxyz")
SHOWN = "ankle boot"


@cache
def principal_axes() -> tuple[Tensor, Tensor]:
    """The mean of the training images, (784,), and the directions in which they vary most, (784, 64)."""
    images = read_images("train")[0].flatten(1)
    mean = images.mean(0)
    return mean, torch.linalg.eigh((images - mean).T @ (images - mean))[1][:, -WIDTH:]


def vectors(images: Tensor) -> Tensor:
    """Images (N, 28, 28) as single vectors (N, 1, 64)."""
    mean, axes = principal_axes()
    return ((images.flatten(1) - mean) @ axes)[:, None]


def spell(labels: Tensor) -> Tensor:
    """Ids of the names of garments (N, T), with their end, padded with -100."""
    rows = [torch.tensor([*(LETTERS.index(letter) for letter in NAMES[label]), END]) for label in labels]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)


def batches() -> Iterator[Batch]:
    """Images drawn for ever."""
    images, labels = read_images("train")
    generator = torch.Generator().manual_seed(0)
    while True:
        chosen = torch.randint(len(labels), (BUDGET["batch_size"],), generator=generator)
        yield {"inputs_embeds": vectors(images[chosen]), "labels": spell(labels[chosen])}


def named(name: str, folder: Path) -> Any:
    """The trained preset."""
    return trained(
        name, folder, lambda: build(name, vocab_size=len(LETTERS), encoder_vocab_size=len(LETTERS)), batches()
    )


def spelling(*names: str) -> Any:
    """For each preset the image, and the probability of each letter at each step for the letters that it writes."""

    def draw(folder: Path) -> list[Panel]:
        images, labels = read_images("t10k")
        image = images[labels == NAMES.index(SHOWN)][3]
        panels = [Panel(image, title="the source")]
        for name in names:
            model = named(name, folder)
            written = model.generate(inputs_embeds=vectors(image[None]), max_new_tokens=16, do_sample=False)[0, 1:]
            logits = model(inputs_embeds=vectors(image[None]), labels=written[None]).logits
            used = sorted(set(written.tolist()))
            odds = logits.detach().softmax(-1)[0][:, used].T
            letters = ["·" if i == END else LETTERS[i].replace(" ", "␣") for i in range(len(LETTERS))]
            panels.append(
                Panel(odds, [letters[i] for i in used], [letters[i] for i in written], name, "letter", "written")
            )
        return panels

    return draw
