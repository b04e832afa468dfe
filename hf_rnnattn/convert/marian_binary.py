"""Marian's binary format, ``.bin``: float32, float16, and the 8-bit weights of intgemm.

    u64 version = 1, u64 n, n x {u64 bytes of the name, u64 type, u64 rank, u64 bytes of the data}, the n names, each
    ending in NUL, the n shapes, rank x i32 each, u64 gap, that many zero bytes, the n blocks of data

All numbers are little endian. Bytes of data count what the writer added to fill the block.
"""

import math
import re
import struct
from typing import Any, NamedTuple

import numpy as np

VERSION = 1
MAX_RANK = 8
ALIGNMENT = 256
FLOAT32, FLOAT16, INT8, INTGEMM8 = 0x404, 0x402, 0x101, 0x4101
BYTES = {FLOAT32: 4, FLOAT16: 2, INT8: 1, INTGEMM8: 1}
REFUSED = {
    0x10001: "intgemm8 of newer versions of Marian",
    0x4102: "intgemm16",
    0x802: "packed16",
    0x1801: "packed8avx2",
    0x2801: "packed8avx512",
}


class _Item(NamedTuple):
    """What the header says of one item: its name, type, shape and number of bytes."""

    name: str
    type: int
    shape: tuple[int, ...]
    size: int


class _Reader:
    """Takes numbers and bytes off the front of a file; nothing is read or made beyond its end."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.at = data, name, 0

    def take(self, size: int, what: str) -> memoryview:
        left = len(self.data) - self.at
        if size > left:
            raise ValueError(f"{self.name} is truncated: {what} needs {size} bytes at {self.at}, {left} are left")
        self.at += size
        return memoryview(self.data)[self.at - size : self.at]

    def numbers(self, count: int, letter: str, what: str) -> tuple[int, ...]:
        size = struct.calcsize(f"<{letter}")
        block = self.take(count * size, what)  # checked before a format of that length is made
        return struct.unpack(f"<{count}{letter}", block)


def is_binary(data: bytes) -> bool:
    """Whether this may be a ``.bin`` of any version: the text and zip formats cannot start with these bytes."""
    return len(data) >= 8 and int.from_bytes(data[:8], "little") < 2**16


def read_binary(data: bytes, name: str) -> dict[str, np.ndarray[Any, Any]]:
    """The items of a ``.bin``: weights as float32 ``[in, out]``, int8 ones (text) as they are.

    8-bit weights are dequantised: W = q / qB, and turned round where Marian stores them transposed.

    Args:
        data: the whole file.
        name: what errors call it.

    Raises:
        ValueError: the header is damaged or contradicts the file, a type is unknown, or data is missing.
    """
    reader = _Reader(data, name)
    items = _read_header(reader)
    return {item.name: _decode(item, reader.take(item.size, f"the data of {item.name}"), name) for item in items}


def _read_header(reader: _Reader) -> list[_Item]:
    version, count = reader.numbers(2, "Q", "the header")
    if version != VERSION:
        raise ValueError(f"{reader.name} must have binaryFileVersion {VERSION}, got {version}")
    fields = reader.numbers(4 * count, "Q", f"a header of {count} items")
    headers = [fields[4 * i : 4 * i + 4] for i in range(count)]
    names = [_name(reader, length) for length, _, _, _ in headers]
    if len(set(names)) != count:
        raise ValueError(f"{reader.name} has several items of one name")
    items = []
    for item_name, (_, type_number, rank, size) in zip(names, headers, strict=True):
        if rank > MAX_RANK:
            raise ValueError(f"{item_name} in {reader.name} must have at most {MAX_RANK} dimensions, got {rank}")
        shape = reader.numbers(rank, "i", f"the shape of {item_name}")
        items.append(_check_item(_Item(item_name, type_number, shape, size), reader.name))
    (gap,) = reader.numbers(1, "Q", "the gap")
    reader.take(gap, "the gap")
    needed = sum(item.size for item in items)
    if needed != len(reader.data) - reader.at:
        raise ValueError(
            f"{reader.name} is truncated or damaged: its header tells of {needed} bytes of data, "
            f"{len(reader.data) - reader.at} are there"
        )
    return items


def _name(reader: _Reader, length: int) -> str:
    text = bytes(reader.take(length, "a name"))
    try:
        name = text[:-1].decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{reader.name} has a name that is no UTF-8: {text[:40]!r}") from error
    if text[-1:] != b"\0" or not name or "\0" in name:
        raise ValueError(f"{reader.name} has a name that does not end where it should: {text[:40]!r}")
    return name


def _check_item(item: _Item, file: str) -> _Item:
    if item.type not in BYTES:
        known = f" ({REFUSED[item.type]})" if item.type in REFUSED else ""
        raise ValueError(
            f"{item.name} in {file} has type {item.type:#x}{known}; float32, float16, int8 and intgemm8 are read"
        )
    if any(size < 1 for size in item.shape):
        raise ValueError(f"{item.name} in {file} has shape {item.shape}, sizes must be at least 1")
    needed = math.prod(item.shape) * BYTES[item.type] + (4 if item.type == INTGEMM8 else 0)
    if needed > item.size:
        raise ValueError(f"{item.name} in {file} of shape {item.shape} needs {needed} bytes, it has {item.size}")
    return item


def _decode(item: _Item, block: memoryview, file: str) -> np.ndarray[Any, Any]:
    count = math.prod(item.shape)
    if item.type == INTGEMM8:
        return _dequantise(item, block, file)
    dtype = {FLOAT32: "<f4", FLOAT16: "<f2", INT8: "i1"}[item.type]
    values = np.frombuffer(block, dtype, count).reshape(item.shape)
    return values if item.type == INT8 else values.astype(np.float32)


def _dequantise(item: _Item, block: memoryview, file: str) -> np.ndarray[Any, Any]:
    count = math.prod(item.shape)
    (multiplier,) = struct.unpack_from("<f", block, count)
    if not 0 < multiplier < math.inf:
        raise ValueError(f"{item.name} in {file} must have a positive, finite multiplier, got {multiplier}")
    weights = np.frombuffer(block, np.int8, count).astype(np.float32) / np.float32(multiplier)
    if is_transposed(item.name) and len(item.shape) == 2:
        return np.ascontiguousarray(weights.reshape(item.shape[::-1]).T)
    return weights.reshape(item.shape)


def is_transposed(name: str) -> bool:
    """Whether intgemm stores this weight ``[out, in]`` although its shape says ``[in, out]``: all but embeddings."""
    return "Wemb" not in name


def is_quantised(name: str) -> bool:
    """Whether an ``.intgemm8.bin`` has a weight of this name in 8 bits: matrices (``…_W``, ``…_Wq``), embeddings."""
    return re.search(r"_W\w{0,2}$", name) is not None or "Wemb" in name
