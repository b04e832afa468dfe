"""Checkpoints that toolkits wrote with ``torch.save``, read without running anything in them.

Such a file is a pickle, and its options may be objects of the toolkit's own classes. torch reads tensors and plain
containers only (``weights_only``); the classes that a caller names are read as records of their attributes. No code of
theirs is imported or called.
"""

import re
import zipfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from .marian_source import LFS_POINTER, MAX_BYTES

# What options and counters of training are often made of, wherever they come from.
COMMON = (
    "argparse.Namespace",
    "collections.defaultdict",
    "typing.Any",
    *(
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in ("bool", "float", "int", "str", "tuple")
    ),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("dict", "list", "set")),
    *(f"numpy.{module}.multiarray.scalar" for module in ("core", "_core")),
    "numpy.dtype",
    "_codecs.encode",
)


class Record:
    """Stands for an object of any class: its attributes, and what it was made of, without its behaviour."""

    def __new__(cls, *arguments: Any) -> "Record":
        record = super().__new__(cls)
        record.__dict__["_arguments"] = arguments
        return record

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):  # slots come as a second part
            if isinstance(part, dict):
                self.__dict__.update(part)


def _dictionary(*arguments: Any) -> dict[Any, Any]:
    """Stands for a ``defaultdict``: what it holds follows in the file."""
    return {}


def read_torch(path: str | PathLike[str], *, records: Sequence[str] = ()) -> Any:
    """What ``torch.save`` wrote, tensors on the CPU; see ``plain`` for the records in it.

    Args:
        path: the file.
        records: modules whose classes become records, such as ``"omegaconf"``; those of ``COMMON`` always do.

    Raises:
        OSError: the file is not there, is too large, unpacks to more than it has, or is a pointer of Git LFS in place
            of the file.
        ValueError: it is no such file, is damaged, or holds objects of other classes.
    """
    file = Path(path)
    if not file.is_file():
        raise OSError(f"no file {file}")
    if file.stat().st_size > MAX_BYTES:
        raise OSError(f"{file} has {file.stat().st_size} bytes, at most {MAX_BYTES} are read")
    with file.open("rb") as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            raise OSError(f"{file} is a pointer of Git LFS and not the file itself: fetch it with `git lfs pull`")
    _check_growth(file)
    names = {*COMMON, *_named(file, records)}
    allowed: list[Any] = [(_dictionary if name.endswith("defaultdict") else Record, name) for name in sorted(names)]
    try:
        with safe_globals(allowed):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its readers raise: RuntimeError, UnpicklingError, KeyError, ...
        refused = re.search(r"GLOBAL (\S+)", str(error))
        problem = f"holds {refused[1]}, which is not read" if refused else "is no file of torch.save, or is damaged"
        raise ValueError(f"{file} {problem}: only tensors and plain options are, no code is run") from error


def weights_of(value: Any, name: str) -> dict[str, Tensor]:
    """A state dict, once it is known to be one: dense tensors of floating-point numbers that are all in the file.

    Raises:
        ValueError: it is not; ``name`` is what the error calls it.
    """
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{name} must be a state dict, got {type(value).__name__}")
    for key, tensor in value.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must hold tensors by name, got {type(tensor).__name__} for {key!r}")
        dense = tensor.layout is torch.strided and tensor.is_floating_point() and tensor.device.type == "cpu"
        # a view may claim a size that its few bytes repeat
        if not dense or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise ValueError(f"{key} in {name} is no dense tensor of floating-point numbers")
    return dict(value)


def _check_growth(file: Path) -> None:
    """torch stores what it saves as it is: an archive that grows when it is read was made to fill the memory."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > file.stat().st_size:
        raise OSError(f"{file} unpacks to {size} bytes, more than it has")


def _named(file: Path, records: Sequence[str]) -> list[str]:
    """The classes of these modules that a file names. Files of torch before 1.6 do not tell."""
    try:
        found = get_unsafe_globals_in_checkpoint(file)
    except Exception:  # no such file, which torch.load will say
        return []
    return [name for name in found if name.split(".")[0] in records]


def plain(value: Any) -> Any:
    """Options as dicts, lists and numbers: records become dicts of their attributes, of omegaconf what they hold."""
    if isinstance(value, Record):
        attributes = vars(value)
        for key in ("_content", "_val"):  # containers and values of omegaconf
            if key in attributes:
                return plain(attributes[key])
        if attributes.keys() == {"_arguments"}:  # an enum is made of its value
            return plain(value._arguments[0]) if len(value._arguments) == 1 else None
        return {key: plain(item) for key, item in attributes.items() if key != "_arguments"}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
