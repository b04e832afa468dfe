"""Loading a checkpoint that must be whole: ``load_strict`` refuses what ``from_pretrained`` reports or overlooks."""

import hashlib
import json
import struct
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

import hf_rnnattn
from hf_rnnattn import RnnAttnConfig

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CHUNK = 2**20


def load_strict(
    path: str | PathLike[str],
    sha256: str | Mapping[str, str] | None = None,
    model_class: type | None = None,
    revision: str | None = None,
) -> Any:
    """Loads a checkpoint, all of it or not at all.

    What is checked is what is loaded: adapters, weights under another name, and whatever else ``from_pretrained``
    looks for in a folder are left alone. Names and shapes are checked before the model takes memory.

    Args:
        path: a folder with config.json and safetensors weights, in one file or in shards; or a name on the Hub, of
            whose files these are fetched.
        sha256: the digest that ``model.safetensors`` must have; or {file name: digest} for shards and whatever else
            of the folder shall be as it was, see ``checksums``.
        model_class: the class of the model; by default the one that config.json names in ``architectures``.
        revision: of a name on the Hub: a branch, a tag or, best, a commit.

    Returns:
        The model, in evaluation mode.

    Raises:
        OSError: config.json or safetensors weights are missing, a file is no JSON, or a digest is another.
        SafetensorError: a weights file is cut, padded or no such file; the message names it.
        ValueError: config.json is no config of this family, or asks for quantisation; a shard lies outside of the
            folder; weights are missing, unexpected, twice there, of another shape, of integers, tied and yet
            different, or not finite in the precision of the model.
    """
    folder = _folder(path, revision)
    files = weight_files(folder)
    if sha256 is not None:
        _check_digests(folder, {WEIGHTS: sha256} if isinstance(sha256, str) else sha256, files)
    config = _config(folder)
    model_class = _class_of(config) if model_class is None else model_class
    with torch.device("meta"):
        model = model_class(config)
    weights = _tensors(files)
    _check_weights(model, weights)
    options = {"config": config, "state_dict": weights, "generation_config": _generation_config(folder)}
    loaded = model_class.from_pretrained(None, **options).eval()  # type: ignore[attr-defined]
    _check_finite(loaded)
    loaded.name_or_path = loaded.config.name_or_path = str(path)
    return loaded


def checksums(path: str | PathLike[str]) -> dict[str, str]:
    """The SHA-256 of what ``load_strict`` reads of a checkpoint folder: {file name: digest}."""
    folder = Path(path)
    others = [folder / name for name in (GENERATION_CONFIG, INDEX) if (folder / name).is_file()]
    return {file.name: _digest(file) for file in [folder / CONFIG, *others, *weight_files(folder)]}


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder.

    Raises:
        OSError: there are none, or a shard is missing.
        ValueError: the index of shards is malformed, or leaves the folder.
    """
    if (folder / WEIGHTS).is_file():
        return [_inside(folder, WEIGHTS)]
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
        _inside(folder, name)
        if not name.endswith(".safetensors"):
            raise ValueError(f"{INDEX} must name safetensors files only, got {name!r}")
        if not (folder / name).is_file():
            raise OSError(f"no file named {name} in {folder}, which {INDEX} names")
    return [folder / name for name in names]


def _inside(folder: Path, name: Any) -> Path:
    """The file of this name in a checkpoint folder, unless it is or links to something outside of it."""
    if isinstance(name, str) and name == Path(name).name and "\\" not in name:
        home, place = folder.resolve(), (folder / name).resolve().parent
        # in the Hub's cache all files are links
        in_cache = home.parent.name == "snapshots" and place == home.parent.parent / "blobs"
        if place == home or in_cache:
            return folder / name
    raise ValueError(f"shard path leaves the checkpoint folder: {name!r}")


def _folder(path: str | PathLike[str], revision: str | None) -> Path:
    if isinstance(path, str) and not Path(path).exists() and path.count("/") < 2 and path[:1] not in ("/", "."):
        read = [CONFIG, GENERATION_CONFIG, INDEX, "*.safetensors"]
        return Path(snapshot_download(path, revision=revision, allow_patterns=read))
    return Path(path)


def _config(folder: Path) -> RnnAttnConfig:
    if not (folder / CONFIG).is_file():
        raise OSError(f"no file named {CONFIG} in {folder}")
    fields, _ = RnnAttnConfig.get_config_dict(folder)
    if fields.get("model_type") != RnnAttnConfig.model_type:
        raise ValueError(
            f"model_type in {CONFIG} must be {RnnAttnConfig.model_type!r}, got {fields.get('model_type')!r}"
        )
    if fields.get("quantization_config") is not None:
        raise ValueError(f"quantization_config in {CONFIG} must be None: weights are checked as they are stored")
    for key in ("dtype", "torch_dtype"):
        _check_dtype(key, fields.get(key))
    try:
        return RnnAttnConfig.from_dict(fields)  # type: ignore[no-any-return]
    except (StrictDataclassError, AttributeError, TypeError) as error:  # transformers trips over some odd values
        raise ValueError(f"{CONFIG} in {folder} is not valid: {error}") from error


def _check_dtype(key: str, name: Any) -> None:
    known = name is None or isinstance(getattr(torch, name, None) if isinstance(name, str) else None, torch.dtype)
    if not known or (name is not None and not getattr(torch, name).is_floating_point):
        raise ValueError(f"{key} in {CONFIG} must name a floating-point type of torch, got {name!r}")


def _generation_config(folder: Path) -> GenerationConfig | None:
    return GenerationConfig.from_pretrained(folder) if (folder / GENERATION_CONFIG).is_file() else None


def _class_of(config: RnnAttnConfig) -> type:
    names = config.architectures
    if isinstance(names, list) and len(names) == 1 and names[0] in hf_rnnattn.__all__:
        found = getattr(hf_rnnattn, names[0])
        if isinstance(found, type) and issubclass(found, PreTrainedModel):
            return found
    raise ValueError(f"architectures in {CONFIG} must name one model of this package, got {names}")


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


def _tensors(files: list[Path]) -> dict[str, Tensor]:
    """What the files hold, copied: what is mapped into memory would change with its file."""
    found: dict[str, Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as stored:
                names = stored.keys()
                tensors = {name: stored.get_tensor(name).clone() for name in names}
        except SafetensorError as error:
            raise SafetensorError(f"{file}: {error}") from error
        _check_header(file)
        for name in names:
            if name in found:
                raise ValueError(f"{name} is in several files")
        found |= tensors
    return found


def _check_header(file: Path) -> None:
    """Readers of JSON differ in which entry they take where a name comes twice."""

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for name, value in pairs:
            if name in seen:
                raise ValueError(f"{name} is in {file} twice")
            seen[name] = value
        return seen

    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        json.loads(stream.read(length), object_pairs_hook=check)


def _check_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tied: dict[str, str] = model.get_expanded_tied_weights_keys(all_submodels=True)  # type: ignore[operator]
    for name, tensor in weights.items():
        if name not in expected:
            continue
        if tuple(tensor.shape) != expected[name]:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)} in the file, {expected[name]} in the model")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be floating-point, got {tensor.dtype}")
    _check_names(expected.keys(), set(weights), tied)
    for target, source in tied.items():
        if target in weights and source in weights and not torch.equal(weights[target], weights[source]):
            raise ValueError(f"{target} and {source} are one weight in the model, and differ in the file")


def _check_finite(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"non-finite values in {name}, as {tensor.dtype}")


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
