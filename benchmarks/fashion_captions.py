"""Pictures of one to four garments and their captions, made of the images of Fashion-MNIST.

A scene is a grid of two by two places, each empty or with an image of 28 x 28 pixels; its caption names what is there
in reading order: ``ankle boot , bag``. The images are those of the Debian package ``dataset-fashion-mnist``.
"""

import gzip
from pathlib import Path

import numpy as np
import torch
from fetched import debian_file
from torch import Tensor

SIDE = 28
NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SPECIAL = ("<pad>", "<s>", "</s>")
WORDS = (*SPECIAL, ",", *dict.fromkeys(word for name in NAMES for word in name.split()))
PAD, BEGIN, END = range(3)
Images = tuple[Tensor, Tensor]


def read_images(split: str) -> Images:
    """``train`` (60,000) or ``t10k`` (10,000): images (N, 28, 28) in 0 … 1, and their labels (N,)."""
    folder = debian_file("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist")
    images = _numbers(folder / f"{split}-images-idx3-ubyte.gz", 16).reshape(-1, SIDE, SIDE)
    labels = _numbers(folder / f"{split}-labels-idx1-ubyte.gz", 8)
    return torch.from_numpy(images).float() / 255, torch.from_numpy(labels).long()


def _numbers(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header).copy()


def draw_scenes(images: Images, count: int, generator: torch.Generator) -> tuple[Tensor, list[str]]:
    """``count`` scenes (N, 1, 56, 56), with values from -1 to 1, and their captions."""
    pixels, labels = images
    chosen = torch.randint(len(labels), (count, 4), generator=generator)
    # As many items as places, 1 to 4 alike, at places drawn without repetition.
    items = torch.randint(1, 5, (count, 1), generator=generator)
    filled = torch.rand(count, 4, generator=generator).argsort(1) < items  # (N, 4)
    cells = pixels[chosen] * filled[:, :, None, None]  # (N, 4, 28, 28)
    scenes = cells.view(count, 2, 2, SIDE, SIDE).transpose(2, 3).reshape(count, 1, 2 * SIDE, 2 * SIDE)
    names = [
        [NAMES[labels[one]] for one, is_there in zip(*row, strict=True) if is_there]
        for row in zip(chosen, filled, strict=True)
    ]
    return 2 * scenes - 1, [" , ".join(row) for row in names]


def encode(captions: list[str]) -> Tensor:
    """Ids of captions (N, T), each with its end, padded to the right."""
    rows = [torch.tensor([*(WORDS.index(word) for word in caption.split()), END]) for caption in captions]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def decode(ids: Tensor) -> list[str]:
    """Captions of generated ids (N, T)."""
    return [" ".join(WORDS[i] for i in row if WORDS[i] not in SPECIAL) for row in ids.tolist()]
