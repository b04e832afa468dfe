"""Models that fairseq trained, with its own answers, put together as its checkpoints are: see the fixtures' README."""

import argparse
import collections
import json
import math
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "fixtures" / "fairseq"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/weights.npz"))


def lines(name):
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


def options_of(name):
    return json.loads((FOLDER / name / "options.json").read_text(encoding="utf-8"))


def weights_of(name):
    with np.load(FOLDER / name / "weights.npz") as archive:
        return collections.OrderedDict((key, torch.from_numpy(archive[key]).float()) for key in archive.files)


def write_checkpoint(name, path, *, older=False, zipped=True, changes=None, options=None):
    """Writes a checkpoint as fairseq 0.12 lays it out, or with ``older`` as before 0.10.

    Args:
        changes: weights in place of the model's; None leaves one out.
        options: of the model, in place of its own.
    """
    recorded = options_of(name)
    weights = weights_of(name)
    for key, value in (changes or {}).items():
        if value is None:
            weights.pop(key)
        else:
            weights[key] = value
    model = argparse.Namespace(**{**recorded["model"], **(options or {})})
    config = {"_name": None, "common": {"_name": None, "seed": 1}, "model": model, "task": recorded["task"]}
    content = {
        "args": model if older else None,
        "cfg": None if older else config,
        "model": weights,
        "criterion": None,
        "optimizer_history": [{"criterion_name": "CrossEntropyCriterion", "lr_scheduler_state": {"best": None}}],
        "task_state": {},
        "extra_state": {"metrics": collections.OrderedDict(), "val_loss": 1.5},
        "last_optimizer_state": None,
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def dictionaries(name):
    """The dictionary of both sides, or those of the two."""
    if options_of(name)["model"]["share_all_embeddings"]:
        return (FOLDER / "dict.joint.txt",)
    return (FOLDER / "dict.letters.txt", FOLDER / "dict.phones.txt")


def mean_scores(model, tokenizer, sources, targets):
    """As fairseq prints them: the mean logarithm, to base 2, of the probability of a target's words and its end."""
    batch = tokenizer(sources, text_target=targets, padding=True, return_tensors="pt")
    labels = batch.pop("labels")
    real = labels != model.config.pad_token_id
    start = torch.full_like(labels[:, :1], model.config.decoder_start_token_id)
    with torch.no_grad():
        logits = model(**batch, decoder_input_ids=torch.cat([start, labels[:, :-1]], dim=1)).logits
    steps = logits.log_softmax(-1).gather(2, labels[..., None])[..., 0] / math.log(2)
    return (torch.where(real, steps, 0.0).sum(1) / real.sum(1)).tolist()
