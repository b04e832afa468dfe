"""Writes the containers that ``marian_checkpoint`` reads: ``.npz``, and ``.bin`` in float32 or 8 bits."""

import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from .marian_binary import ALIGNMENT, FLOAT32, INT8, INTGEMM8, VERSION, is_quantised, is_transposed
from .marian_checkpoint import ALPHA, OPTIONS

Arrays = Mapping[str, np.ndarray[Any, Any]]


def npz_bytes(options: str, tensors: Arrays) -> bytes:
    """An ``.npz`` of float32 weights; ``options`` is the YAML of ``special:model.yml``."""
    stream = io.BytesIO()
    arrays = {name: values.astype(np.float32) for name, values in tensors.items()}
    np.savez(stream, **arrays, **{OPTIONS: np.frombuffer(_text(options), np.int8)})
    return stream.getvalue()


def binary_bytes(options: str, tensors: Arrays) -> bytes:
    """A ``.bin`` of float32 weights."""
    return _binary(options, [(name, FLOAT32, v.shape, v.astype("<f4").tobytes()) for name, v in tensors.items()])


def int8_bytes(options: str, tensors: Arrays) -> bytes:
    """An ``.intgemm8.bin``: matrices and embeddings in 8 bits, the rest in float32.

    Weights that were in 8 bits before are so again, with the multiplier that they had. Multipliers of activations
    (``…_QuantMultA``) are written as Marian has them: with embeddings as 8-bit items.
    """
    return _binary(options, [_int8_item(name, values) for name, values in tensors.items()])


def _int8_item(name: str, values: np.ndarray[Any, Any]) -> tuple[str, int, tuple[int, ...], bytes]:
    if name.endswith(ALPHA) and "Wemb" in name:
        (alpha,) = values.ravel()
        return name, INTGEMM8, values.shape, struct.pack("<bf", 127, 127.0 / alpha)
    if name.endswith(ALPHA) or not is_quantised(name):
        return name, FLOAT32, values.shape, values.astype("<f4").tobytes()
    multiplier, numbers = quantise(values)
    block = (numbers.T if is_transposed(name) else numbers).tobytes()
    return name, INTGEMM8, values.shape, block + struct.pack("<f", multiplier)


def quantise(values: np.ndarray[Any, Any]) -> tuple[np.float32, np.ndarray[Any, Any]]:
    """The multiplier 127 / max |W| and the weights in 8 bits, W = q / multiplier.

    A multiplier that was rounded when weights were dequantised is found again among its neighbours.
    """
    largest = np.abs(values).max()
    first = np.float32(127.0) / largest if largest > 0 else np.float32(1.0)
    numbers = np.clip(np.rint(values * first), -127, 127).astype(np.int8)
    for multiplier in (first, np.nextafter(first, np.float32(np.inf)), np.nextafter(first, np.float32(0))):
        if np.array_equal(numbers.astype(np.float32) / multiplier, values):
            return multiplier, numbers
    return first, numbers


def _text(options: str) -> bytes:
    return options.encode("utf-8") + b"\0"


def _binary(options: str, items: list[tuple[str, int, tuple[int, ...], bytes]]) -> bytes:
    text = _text(options)
    blocks = [(name, kind, shape, data + bytes(-len(data) % ALIGNMENT)) for name, kind, shape, data in sorted(items)]
    blocks.append((OPTIONS, INT8, (len(text),), text))
    names = [name.encode("utf-8") + b"\0" for name, *_ in blocks]
    header = struct.pack("<QQ", VERSION, len(blocks))
    for name, (_, kind, shape, data) in zip(names, blocks, strict=True):
        header += struct.pack("<QQQQ", len(name), kind, len(shape), len(data))
    header += b"".join(names) + b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, _, shape, _ in blocks)
    at = len(header) + 8
    gap = (at // ALIGNMENT + 1) * ALIGNMENT - at
    return header + struct.pack("<Q", gap) + bytes(gap) + b"".join(data for *_, data in blocks)
