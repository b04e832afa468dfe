"""Checkpoints of OpenNMT-py 3 in memory: weights, options and vocabularies, by the names that OpenNMT-py has."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .marian_source import MAX_BYTES
from .torch_checkpoint import plain, read_torch

SPECIALS = {"pad": "<blank>", "bos": "<s>", "eos": "</s>", "unk": "<unk>"}
SOURCE_WORDS = "encoder.embeddings.make_embedding.emb_luts.0.weight"
TARGET_WORDS = "decoder.embeddings.make_embedding.emb_luts.0.weight"
SOURCE_POSITIONS = "encoder.embeddings.make_embedding.pe.pe"
TARGET_POSITIONS = "decoder.embeddings.make_embedding.pe.pe"


@dataclass(frozen=True)
class OpenNmtCheckpoint:
    """What a checkpoint of OpenNMT-py or eole holds, by the names that OpenNMT-py has for it.

    Args:
        options: flat, as ``opt`` has them.
        tensors: the weights; those of the generator are ``generator.weight`` and ``generator.bias``.
        source, target: the words of each side.
        specials: the special tokens, by the names of ``SPECIALS``.
        start: the word that the decoder starts from.
        path: for messages.
        positions: whether vectors of positions are added to the scaled embeddings.
    """

    options: dict[str, Any]
    tensors: dict[str, Tensor]
    source: list[str]
    target: list[str]
    specials: dict[str, str]
    start: str
    path: str
    positions: bool = False


def read_opennmt(model: str | PathLike[str]) -> OpenNmtCheckpoint:
    """Reads what ``convert_opennmt`` converts; nothing of it is executed."""
    saved = read_torch(model)
    if not isinstance(saved, dict) or not {"opt", "vocab"} <= saved.keys():
        raise ValueError(f"{model} has no opt and vocab: it is no checkpoint of OpenNMT-py")
    vocab, options = plain(saved["vocab"]), plain(saved["opt"])
    source, target = (vocab.get(side) if isinstance(vocab, dict) else None for side in ("src", "tgt"))
    if not isinstance(source, list) or not isinstance(target, list):
        raise ValueError(f"{model} has no lists of words in vocab: only checkpoints of OpenNMT-py 3 are read")
    if "src_feats" in vocab:
        raise ValueError(f"vocab of {model} has src_feats: features of words are not supported")
    tensors = _tensors(saved, Path(model))
    start = vocab.get("decoder_start_token", SPECIALS["bos"])
    return OpenNmtCheckpoint(dict(options), tensors, source, target, SPECIALS, start, str(model))


def _tensors(saved: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Weights of model and generator, from the checkpoint or from the safetensors beside it."""
    if "model" not in saved:
        return read_shards(path.parent, f"{path.name.removesuffix('.pt')}.*.safetensors")
    model, generator = saved["model"], saved.get("generator")
    if not _are_tensors(model) or not _are_tensors(generator):
        raise ValueError(f"{path} has no model and generator of tensors: it is no checkpoint of OpenNMT-py")
    # OpenNMT-py 2 called them 0.weight and 0.bias
    return {**model, **{f"generator.{name.removeprefix('0.')}": tensor for name, tensor in generator.items()}}


def _are_tensors(part: Any) -> bool:
    return isinstance(part, Mapping) and all(isinstance(tensor, Tensor) for tensor in part.values())


def read_shards(folder: Path, pattern: str) -> dict[str, Tensor]:
    """The weights in the safetensors of a folder.

    Raises:
        OSError: there are none, or one is too large.
        ValueError: one is damaged, or two have a weight of one name.
    """
    tensors: dict[str, Tensor] = {}
    for shard in sorted(folder.glob(pattern)):
        if shard.stat().st_size > MAX_BYTES:
            raise OSError(f"{shard} has {shard.stat().st_size} bytes, at most {MAX_BYTES} are read")
        try:
            held = load_file(shard)
        except SafetensorError as error:
            raise ValueError(f"{shard} is damaged, or no safetensors: {error}") from error
        twice = sorted(held.keys() & tensors.keys())
        if twice:
            raise ValueError(f"several files of {folder} hold {', '.join(twice)}")
        tensors |= held
    if not tensors:
        raise OSError(f"no weights in {folder}: no file {pattern}")
    return tensors
