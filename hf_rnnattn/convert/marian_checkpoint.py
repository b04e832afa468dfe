"""A checkpoint of Marian in memory: options and weights, whichever container it came in."""

import io
import math
import zipfile
import zlib
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import yaml

from .marian_binary import is_binary, read_binary
from .marian_source import largest_content, read_file

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
        items = _read_npz(data, name)
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


def _read_npz(data: bytes, name: str) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            limit = largest_content(len(data))
            if sum(entry.file_size for entry in archive.infolist()) > limit:
                raise OSError(f"{name} unpacks to more than {limit} bytes")
            items = [(entry.filename, _read_array(archive, entry, name)) for entry in archive.infolist()]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise OSError(f"{name} is damaged: {error}") from error
    names = [item.removesuffix(".npy") for item, _ in items]
    if len(set(names)) != len(names):
        raise ValueError(f"{name} has several items of one name")
    return {item: values for item, (_, values) in zip(names, items, strict=True)}


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> np.ndarray[Any, Any]:
    """One array, if its header agrees with the size of its entry: numpy itself would first make what a header asks."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(entry) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            if version not in read:
                raise ValueError(f"version {version} of the .npy format is not read")
            shape, _, dtype = read[version](stream)
        except ValueError as error:
            raise ValueError(f"{entry.filename} in {name} is no array: {error}") from error
        if dtype.hasobject or dtype.kind not in "fiuS":
            raise ValueError(f"{entry.filename} in {name} holds {dtype}, not numbers")
        size = math.prod(shape) * dtype.itemsize
        if any(length < 0 for length in shape) or size != entry.file_size - stream.tell():
            raise ValueError(
                f"{entry.filename} in {name} has {entry.file_size} bytes, its shape is {shape} of {dtype}"
            )
    with archive.open(entry) as stream:
        values: np.ndarray[Any, Any] = np.lib.format.read_array(stream, allow_pickle=False)
    if values.dtype.kind == "S":  # text, a character an entry
        values = np.frombuffer(values.tobytes(), np.int8)
    return values
