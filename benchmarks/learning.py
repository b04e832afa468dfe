"""What every ``learn_<task>.py`` shares: one fixed budget for each of several seeds, and a JSON of what came out.

A task is a function of a seed that trains a model with a fixed budget and returns what it measured, failures included.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, write
from torch import Tensor
from tqdm import tqdm

Measured = dict[str, Any]
Batch = Mapping[str, Tensor]


def run(name: str, description: str, learn: Callable[[int], Measured], budget: Mapping[str, Any]) -> None:
    """The command line of a task: learns with each of ``--seeds`` and writes ``learn_<name>.json``.

    Args:
        name: of the task.
        description: for ``--help``.
        learn: from a seed to what was measured. Called after torch was seeded with it.
        budget: what the training is given, the same for every seed: steps, sizes, lengths.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--output", type=Path, default=RESULTS / f"learn_{name}.json", help="where the JSON goes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runs = []
    for seed in arguments.seeds:
        torch.manual_seed(seed)
        start = time.perf_counter()
        measured = learn(seed)
        runs.append({"seed": seed, **measured, "seconds": round(time.perf_counter() - start, 1)})
        print(runs[-1], flush=True)
    write(arguments.output, {"budget": dict(budget), "seeds": runs})


def train(
    model: Any,
    batches: Iterable[Batch],
    *,
    steps: int,
    learning_rate: float,
    warmup: int = 100,
    clip: float = 1.0,
    loss_of: Callable[[Any, Batch], Tensor] = lambda model, batch: model(**batch).loss,
) -> list[float]:
    """``steps`` steps of Adam on ``batches``; the losses, one a step.

    The learning rate rises over the first ``warmup`` steps and falls linearly to 0; gradients are cut at the norm
    ``clip``.
    """
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup)))
    )
    losses = []
    for _, batch in zip(tqdm(range(steps), mininterval=5.0), batches, strict=False):
        loss = loss_of(model, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    return losses
