"""Checkpoints of JoeyNMT 2 in memory: the weights, the ``config.yaml`` beside them, and two lists of words."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from .toolkit_options import option
from .torch_checkpoint import read_torch

CONFIG, BEST = "config.yaml", "best.ckpt"
MAX_CONFIG = 2**20
SPECIALS = {"unk": "<unk>", "pad": "<pad>", "bos": "<s>", "eos": "</s>"}  # in the order of their ids


@dataclass(frozen=True)
class JoeyCheckpoint:
    """What JoeyNMT keeps in the folder of a model.

    Args:
        options: of ``config.yaml``.
        tensors: the weights, ``model_state``.
        source, target: the words of each side, special ones first.
        specials: the special tokens, by the names of ``SPECIALS``.
        path: of the checkpoint, for messages.
    """

    options: dict[str, Any]
    tensors: dict[str, Tensor]
    source: list[str]
    target: list[str]
    specials: dict[str, str]
    path: str


def read_joeynmt(
    model: str | PathLike[str],
    vocab: str | PathLike[str] | None = None,
    target_vocab: str | PathLike[str] | None = None,
) -> JoeyCheckpoint:
    """Reads what ``convert_joeynmt`` converts; nothing of it is executed."""
    path = Path(model, BEST) if Path(model).is_dir() else Path(model)
    options = _read_config(path.with_name(CONFIG))
    specials = {name: option(options, f"data.special_symbols.{name}_token", text) for name, text in SPECIALS.items()}
    for name, token in specials.items():
        if not isinstance(token, str):
            raise ValueError(f"data.special_symbols.{name}_token must be a str, got {token!r} in {path}")
    state = read_torch(path)
    tensors = state.get("model_state") if isinstance(state, dict) else None
    if not isinstance(tensors, Mapping) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ValueError(f"{path} has no model_state of tensors: it is no checkpoint of JoeyNMT")
    source, target = (
        _read_words(Path(given) if given is not None else path.with_name(name), specials)
        for given, name in ((vocab, "src_vocab.txt"), (target_vocab, "trg_vocab.txt"))
    )
    return JoeyCheckpoint(options, dict(tensors), source, target, specials, str(path))


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise OSError(f"no file {path}: JoeyNMT writes it beside its checkpoints")
    if path.stat().st_size > MAX_CONFIG:
        raise OSError(f"{path} has {path.stat().st_size} bytes, at most {MAX_CONFIG} are read")
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(options, dict):
        raise ValueError(f"{path} must be a mapping, got {type(options).__name__}")
    version = str(option(options, "joeynmt_version", "2"))
    if not version.startswith("2"):
        raise ValueError(f"joeynmt_version is {version!r} in {path}: only JoeyNMT 2 is read")
    return options


def _read_words(path: Path, specials: Mapping[str, str]) -> list[str]:
    if not path.is_file():
        raise OSError(f"no file {path}: give the words of both sides, one a line")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from error
    return list(dict.fromkeys([*specials.values(), *lines]))  # JoeyNMT puts them first, and keeps a word once
