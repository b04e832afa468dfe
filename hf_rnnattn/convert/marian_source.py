"""Files of other toolkits as bytes: plain, or packed in gzip or zstd, never larger than what the reader allows."""

import gzip
import io
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

MAX_BYTES = 4 * 2**30  # of a file when unpacked; the largest released model has 0.3 GiB
# Weights hardly shrink when they are packed: what grows more than this is no model, but made to fill the memory.
MAX_GROWTH = 32
SMALL = 2**26
CHUNK = 2**20
ZSTD_CHUNK = 2**10  # zstd may make 128 KiB of every 4 bytes, all at once
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
LFS_POINTER = b"version https://git-lfs"


def largest_content(packed: int) -> int:
    """How many bytes may come out of ``packed`` bytes."""
    return min(MAX_BYTES, max(SMALL, MAX_GROWTH * packed))


def read_file(path: str | PathLike[str]) -> bytes:
    """The content of a file, unpacked if it is in gzip or zstd; what it is decides, not its name.

    Raises:
        OSError: the file is not there, is empty, is a pointer of Git LFS in place of the file, is larger than
            ``MAX_BYTES``, unpacks to far more than weights do, or is damaged.
        ImportError: zstd, and the extra ``convert`` is not installed.
    """
    file = Path(path)
    if not file.is_file():
        raise OSError(f"no file {file}")
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise OSError(f"{file} has {size} bytes, at most {MAX_BYTES} are read")
    with file.open("rb") as stream:
        start = stream.read(4)
        stream.seek(0)
        data = (
            stream.read()
            if start[:2] != GZIP and start != ZSTD
            else _unpack(file, stream, start, largest_content(size))
        )
    if not data:
        raise OSError(f"{file} is empty")
    if data.startswith(LFS_POINTER):
        raise OSError(f"{file} is a pointer of Git LFS and not the file itself: fetch it with `git lfs pull`")
    return data


def _unpack(file: Path, stream: Any, start: bytes, limit: int) -> bytes:
    unpacked = io.BytesIO()
    try:
        for chunk in _zstd_chunks(stream) if start == ZSTD else _gzip_chunks(stream):
            unpacked.write(chunk)
            if unpacked.tell() > limit:
                raise OSError(f"{file} unpacks to more than {limit} bytes")
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise OSError(f"{file} is damaged: {error}") from error
    return unpacked.getvalue()


def _gzip_chunks(stream: Any) -> Iterator[bytes]:
    packed = gzip.GzipFile(fileobj=stream)
    while chunk := packed.read(CHUNK):
        yield chunk


def _zstd_chunks(stream: Any) -> Iterator[bytes]:
    """The content of one frame after the other; zstandard's own reader would overlook that the last is cut."""
    zstandard = _zstandard()
    frame: Any = None
    while packed := stream.read(ZSTD_CHUNK):
        while packed:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                yield frame.decompress(packed)
            except zstandard.ZstdError as error:
                raise ValueError(str(error)) from error
            packed = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("it ends within a frame of zstd")


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise ImportError('files in zstd need the extra "convert": pip install "hf-rnnattn[convert]"') from error
    return zstandard
