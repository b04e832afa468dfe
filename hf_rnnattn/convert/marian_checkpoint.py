"""A checkpoint of Marian in memory: options and weights, whichever container it came in."""

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import yaml

from .marian_binary import is_binary, read_binary
from .marian_source import read_file
from .npz_reading import read_npz

OPTIONS = "special:model.yml"
ALPHA = "_QuantMultA"  # what intgemm multiplies the activations with; of no use to floating-point arithmetic
MAX_OPTIONS = 2**20


@dataclass(frozen=True)
class MarianCheckpoint:
    """What a file of Marian holds.

    Args:
        options: the training options, ``special:model.yml``.
        tensors: float32 weights by Marian's names, matrices ``[in, out]``.
        dropped: names that were left out knowingly: the multipliers of 8-bit activations.
        source: the path, for messages.
    """

    options: dict[str, Any]
    tensors: dict[str, np.ndarray[Any, Any]]
    dropped: tuple[str, ...]
    source: str


def read_marian(path: str | PathLike[str]) -> MarianCheckpoint:
    """Reads ``.npz``, ``.bin``, ``.intgemm8.bin`` or ``.intgemm.alphas.bin``, also inside ``.gz`` or ``.zst``.

    8-bit weights are dequantised; the multipliers of activations (``…_QuantMultA``) are dropped. What the file is
    decides, not its name. Nothing of it is executed.

    Raises:
        OSError: the file is not there, damaged, too large, or a pointer of Git LFS.
        ValueError: it is no checkpoint of Marian, or contradicts itself, or holds weights that are not finite.
    """
    name = str(path)
    data = read_file(path)
    if data[:2] == b"PK":
        items = read_npz(data, name)
    elif is_binary(data):
        items = read_binary(data, name)
    else:
        raise ValueError(f"{name} is neither an .npz nor a .bin of Marian")
    if OPTIONS not in items:
        raise ValueError(f"{name} has no {OPTIONS}: it is no model of Marian, or was saved without its options")
    options = _options(items.pop(OPTIONS), name)
    dropped = tuple(sorted(item for item in items if item.endswith(ALPHA)))
    tensors = {item: _weight(item, values, name) for item, values in items.items() if item not in dropped}
    return MarianCheckpoint(options, tensors, dropped, name)


def _weight(item: str, values: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    if values.dtype not in (np.float32, np.float16):
        raise ValueError(f"{item} in {name} must be float32 or float16, got {values.dtype}")
    weight = values.astype(np.float32)
    if not np.isfinite(weight).all():
        raise ValueError(f"{item} in {name} has values that are not finite")
    return weight[None] if weight.ndim == 1 else weight


def _options(values: np.ndarray[Any, Any], name: str) -> dict[str, Any]:
    if values.dtype not in (np.int8, np.uint8) or values.size > MAX_OPTIONS:
        raise ValueError(
            f"{OPTIONS} in {name} must be at most {MAX_OPTIONS} bytes, got {values.size} of {values.dtype}"
        )
    try:
        options = yaml.safe_load(values.tobytes().split(b"\0")[0].decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{OPTIONS} in {name} is no YAML: {error}") from error
    if not isinstance(options, dict):
        raise ValueError(f"{OPTIONS} in {name} must be a mapping, got {type(options).__name__}")
    return options
