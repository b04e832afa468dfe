"""Reads and writes Marian's binary shortlists, ``lex.50.50.enes.s2t.bin``.

u64 magic, u64 checksum, u64 first, u64 best, u64 number of offsets, u64 number of ids, the offsets as u64, the ids
as u32, all little endian
"""

import struct
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from ..model.shortlist_rnnattn import LexicalShortlist
from .marian_source import read_file

MAGIC = 0xF11A48D5013417F5
HEADER = 6 * 8
WORD = 2**64


def read_shortlist(path: str | PathLike[str]) -> LexicalShortlist:
    """Reads a shortlist, also inside ``.gz`` or ``.zst``, for ``model.generate(shortlist=...)``.

    Raises:
        OSError: the file is not there, damaged, or a pointer of Git LFS.
        ValueError: it is no shortlist, contradicts itself, or has another checksum than it says.
    """
    data, name = read_file(path), str(path)
    if len(data) < HEADER:
        raise ValueError(f"{name} is no binary shortlist: it has {len(data)} bytes")
    magic, checksum, first, best, offsets, ids = struct.unpack_from("<6Q", data)
    if magic != MAGIC:
        raise ValueError(f"{name} is no binary shortlist: it must begin with {MAGIC:#x}, got {magic:#x}")
    if HEADER + 8 * offsets + 4 * ids != len(data):
        raise ValueError(f"{name} has {len(data)} bytes, its header tells of {offsets} offsets and {ids} ids")
    found = _checksum(data)
    if found != checksum:
        raise ValueError(f"{name} has checksum {found:#x}, its header tells of {checksum:#x}")
    starts = np.frombuffer(data, "<u8", offsets, HEADER)
    if max(first, best, int(starts.max(initial=0))) >= 2**31:
        raise ValueError(f"{name} has numbers beyond all vocabularies")
    lists = np.frombuffer(data, "<u4", ids, HEADER + 8 * offsets)
    try:
        return LexicalShortlist(
            first, best, torch.from_numpy(starts.astype(np.int64)), torch.from_numpy(lists.astype(np.int64))
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def write_shortlist(shortlist: LexicalShortlist, path: str | PathLike[str]) -> None:
    """Writes what ``read_shortlist`` and Marian read."""
    offsets, ids = shortlist.offsets.numpy().astype("<u8"), shortlist.ids.numpy().astype("<u4")
    numbers = struct.pack("<4Q", shortlist.first, shortlist.best, len(offsets), len(ids))
    data = struct.pack("<2Q", MAGIC, 0) + numbers + offsets.tobytes() + ids.tobytes()
    Path(path).write_bytes(data[:8] + struct.pack("<Q", _checksum(data)) + data[16:])


def _checksum(data: bytes) -> int:
    """Marian's hash of everything after the checksum, as numbers of 8 bytes; what is left over at the end is not."""
    value = 0
    for number in np.frombuffer(data, "<u8", (len(data) - 16) // 8, 16).tolist():
        value ^= (number + 0x9E3779B9 + (value << 6) + (value >> 2)) % WORD
    return value
