"""Loading a checkpoint that must be whole: ``load_strict`` refuses what ``from_pretrained`` reports or overlooks."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

import hf_rnnattn
from hf_rnnattn import RnnAttnConfig

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CHUNK = 2**20


def load_strict(
    path: str | PathLike[str], sha256: str | Mapping[str, str] | None = None, model_class: type | None = None
) -> Any:
    """Loads a checkpoint folder, all of it or not at all; everything is checked before a model is made.

    Args:
        path: a folder with config.json and safetensors weights, in one file or in shards.
        sha256: the digest that ``model.safetensors`` must have; or {file name: digest} for shards and whatever else
            of the folder shall be as it was, see ``checksums``.
        model_class: the class of the model; by default the one that config.json names in ``architectures``.

    Returns:
        The model, in evaluation mode.

    Raises:
        OSError: config.json or safetensors weights are missing, or a digest is another.
        SafetensorError: a weights file is cut, padded or no such file; the message names it.
        ValueError: config.json is no config of this family; a shard lies outside of the folder; weights are missing,
            unexpected, of another shape, of integers, not finite, or tied and yet different.
    """
    folder = Path(path)
    files = weight_files(folder)
    if sha256 is not None:
        _check_digests(folder, {WEIGHTS: sha256} if isinstance(sha256, str) else sha256, files)
    config = RnnAttnConfig.from_pretrained(folder)
    model_class = _class_of(config) if model_class is None else model_class
    with torch.device("meta"):
        model = model_class(config)
    _check_weights(model, files)
    return model_class.from_pretrained(folder, use_safetensors=True, weights_only=True).eval()  # type: ignore[attr-defined]


def checksums(path: str | PathLike[str]) -> dict[str, str]:
    """The SHA-256 of a checkpoint folder's weights and config, for ``load_strict``: {file name: digest}."""
    folder = Path(path)
    return {file.name: _digest(file) for file in [folder / "config.json", *weight_files(folder)]}


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder.

    Raises:
        OSError: there are none, or a shard is missing.
        ValueError: the index of shards is malformed, or leaves the folder.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        others = sorted(file.name for file in folder.glob("*.bin")) if folder.is_dir() else []
        unsafe = f"; {', '.join(others)} may hold code and is not read" if others else ""
        raise OSError(f"no file named {WEIGHTS} in {folder}{unsafe}")
    try:
        shards = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(shards.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{INDEX} in {folder} must be a JSON object with a weight_map: {error!r}") from error
    for name in names:
        if not isinstance(name, str) or not _lies_in(folder, name):
            raise ValueError(f"shard path leaves the checkpoint folder: {name!r}")
        if not name.endswith(".safetensors"):
            raise ValueError(f"{INDEX} must name safetensors files only, got {name!r}")
        if not (folder / name).is_file():
            raise OSError(f"no file named {name} in {folder}, which {INDEX} names")
    return [folder / name for name in names]


def _lies_in(folder: Path, name: str) -> bool:
    # links are followed inside of the folder only, but a Hub's cache, whose files all are links, is one as a whole
    return "\\" not in name and not Path(name).is_absolute() and len(Path(name).parts) == 1 and name not in ("..", "")


def _class_of(config: RnnAttnConfig) -> type:
    names = config.architectures or []
    if len(names) != 1 or not names[0].startswith("RnnAttn") or names[0] not in hf_rnnattn.__all__:
        raise ValueError(f"architectures in config.json must name one model of this package, got {names}")
    return getattr(hf_rnnattn, names[0])  # type: ignore[no-any-return]


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_digests(folder: Path, wanted: Mapping[str, str], files: list[Path]) -> None:
    unknown = sorted(file.name for file in files if file.name not in wanted)
    if unknown:
        raise ValueError(f"sha256 must have a digest of every weights file, none of {', '.join(unknown)}")
    for name, digest in wanted.items():
        found = _digest(folder / name)
        if found != digest.lower():
            raise OSError(f"sha256 mismatch of {name} in {folder}: expected {digest}, got {found}")


def _check_weights(model: nn.Module, files: list[Path]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tied: dict[str, str] = model.get_expanded_tied_weights_keys(all_submodels=True)  # type: ignore[operator]
    kept: dict[str, Tensor] = {}  # what stands for others
    found: set[str] = set()
    for name, tensor in _tensors(files):
        if name in found:
            raise ValueError(f"{name} is in several files")
        found.add(name)
        if name not in expected:
            continue
        if tuple(tensor.shape) != expected[name]:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)} in the file, {expected[name]} in the model")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be floating-point, got {tensor.dtype}")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"non-finite values in {name}")
        if name in tied or name in tied.values():
            kept[name] = tensor
    _check_names(expected.keys(), found, tied)
    for target, source in tied.items():
        if target in kept and source in kept and not torch.equal(kept[target], kept[source]):
            raise ValueError(f"{target} and {source} are one weight in the model, and differ in the file")


def _tensors(files: list[Path]) -> Iterator[tuple[str, Tensor]]:
    for file in files:
        try:
            with safe_open(file, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118  it is no dict
                    yield name, stored.get_tensor(name)
        except SafetensorError as error:
            raise SafetensorError(f"{file}: {error}") from error


def _check_names(expected: Any, found: set[str], tied: dict[str, str]) -> None:
    groups: dict[str, set[str]] = {}  # weights that are one: any of their names will do
    for name in expected:
        source = name
        while source in tied:
            source = tied[source]
        groups.setdefault(source, set()).add(name)
    missing = sorted(source for source, names in groups.items() if not names & found)
    if missing:
        raise ValueError(f"{_count(missing)} missing: {', '.join(missing)}")
    unexpected = sorted(found - set(expected))
    if unexpected:
        raise ValueError(f"{_count(unexpected)} unexpected: {', '.join(unexpected)}")


def _count(names: list[str]) -> str:
    return f"{len(names)} weight{'s' if len(names) > 1 else ''}"
