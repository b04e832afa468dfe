"""Archives of numpy arrays (``.npz``), read so that a header cannot ask for more memory than the file holds."""

import io
import math
import zipfile
import zlib
from typing import Any

import numpy as np

from .marian_source import largest_content


def read_npz(data: bytes, name: str) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an archive by their names; text comes as int8, a character an entry. No object is unpickled.

    Args:
        data: the archive.
        name: what errors call it.

    Raises:
        OSError: it is damaged, or unpacks to far more than weights do.
        ValueError: an item is no array of numbers, or two have one name.
    """
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
