"""Tiny models that JoeyNMT, OpenNMT-py and eole trained, laid out as each toolkit does, and what it says of 200 words.

The repository holds weights and options apart; the containers, some of them pickles, are put together here.
"""

import argparse
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

FIXTURES = Path(__file__).parent / "fixtures"
TOOLKITS = ("joeynmt", "opennmt", "eole")
MODELS = [(toolkit, path.parent.name) for toolkit in TOOLKITS for path in sorted(FIXTURES.glob(f"{toolkit}/*/*.tsv"))]
Change = Callable[[dict[str, Any], dict[str, Tensor]], None]  # what a test does to options and weights


class Record(NamedTuple):
    """A text, what the toolkit writes of it, and the sum of the log-probabilities of what it writes."""

    source: str
    output: str
    score: float


def recorded(toolkit: str, name: str) -> list[Record]:
    """What the toolkit says, greedily and one text at a time: see the README of its folder."""
    lines = (FIXTURES / toolkit / name / "recorded.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    return [Record(source, output, float(score)) for source, output, score in rows]


def assembled(toolkit: str, name: str, folder: Path, change: Change = lambda options, tensors: None) -> Path:
    """The model in its toolkit's own files; returns the path that the toolkit is given.

    Args:
        folder: where they are written.
        change: alters options and weights in their place.
    """
    return {"joeynmt": joeynmt, "opennmt": opennmt, "eole": eole}[toolkit](FIXTURES / toolkit / name, folder, change)


def joeynmt(fixture: Path, folder: Path, change: Change) -> Path:
    """``best.ckpt``, ``config.yaml`` and the words in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    options = yaml.safe_load((fixture / "config.yaml").read_text(encoding="utf-8"))
    tensors = load_file(fixture / "weights.safetensors")
    change(options, tensors)
    (folder / "config.yaml").write_text(yaml.safe_dump(options, sort_keys=False), encoding="utf-8")
    for words in ("src_vocab.txt", "trg_vocab.txt"):
        shutil.copy(fixture / words, folder / words)
    state = {
        "model_state": tensors,
        "optimizer_state": {"state": {}, "param_groups": []},
        "scaler_state": None,
        "scheduler_state": {"gamma": 0.9},
        "train_iter_state": torch.Generator().get_state(),
        "stats_state": {"steps": 1500, "best_ckpt_score": 0.4},
    }
    torch.save(state, folder / "best.ckpt")
    return folder / "best.ckpt"


def opennmt(fixture: Path, folder: Path, change: Change) -> Path:
    """One file, with options that are an object of Python's."""
    folder.mkdir(parents=True, exist_ok=True)
    options = json.loads((fixture / "opt.json").read_text(encoding="utf-8"))
    tensors = load_file(fixture / "weights.safetensors")
    change(options, tensors)
    saved = {
        "model": {name: tensor for name, tensor in tensors.items() if not name.startswith("generator.")},
        "generator": {
            name.removeprefix("generator."): tensor
            for name, tensor in tensors.items()
            if name.startswith("generator.")
        },
        "vocab": json.loads((fixture / "vocab.json").read_text(encoding="utf-8")),
        "opt": argparse.Namespace(**options, _all_transform=set()),
        "optim": {"training_step": 3000, "decay_step": 3000, "optimizer": {}},
    }
    torch.save(saved, folder / "model_step_3000.pt")
    return folder / "model_step_3000.pt"


def eole(fixture: Path, folder: Path, change: Change) -> Path:
    """A folder, whose weights hold the vectors of positions too."""
    folder.mkdir(parents=True, exist_ok=True)
    options = json.loads((fixture / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(fixture / "weights.safetensors")
    kind = options["model"]["embeddings"].get("position_encoding_type", "SinusoidalInterleaved")
    if kind is not None:
        for side in ("src", "tgt"):
            width = tensors[f"{side}_emb.embeddings.weight"].shape[1]
            tensors[f"{side}_emb.pe.pe"] = interleaved_positions(5000, width)[:, None]
    change(options, tensors)
    (folder / "config.json").write_text(json.dumps(options), encoding="utf-8")
    shutil.copy(fixture / "vocab.json", folder / "vocab.json")
    save_file(tensors, folder / "model.00.safetensors")
    return folder


def interleaved_positions(count: int, width: int) -> Tensor:
    """Sines in even columns and cosines in odd ones, Vaswani et al. 2017."""
    angles = torch.arange(count)[:, None] * torch.exp(torch.arange(0, width, 2) * -(math.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
