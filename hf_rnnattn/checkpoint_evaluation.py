"""Measuring a checkpoint on data: generate for every source, score by name."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from tqdm.auto import tqdm

from hf_rnnattn.evaluation import load_metric, score_texts
from hf_rnnattn.generating import TextGenerator
from hf_rnnattn.results import machine, package_versions
from hf_rnnattn.training_data import TrainingData, references_of


@dataclass
class Measurement:
    """What a model said, and what that is worth."""

    predictions: list[str]
    metrics: dict[str, float]
    seconds: float


def measure_texts(
    generator: TextGenerator, rows: Dataset, metrics: Sequence[str], *, batch_size: int = 32, source_prefix: str = ""
) -> Measurement:
    """Generate for the sources of ``rows`` and score against their targets, or references where there are several.

    Sources of like length share a batch, so that little is padding; the order of the predictions is that of the rows.

    Raises:
        ValueError: a metric is unknown (before anything is generated), or there are no rows.
    """
    for name in metrics:
        load_metric(name)
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    sources = [source_prefix + source for source in rows["source"]]
    pairs = list(rows["pair"]) if "pair" in rows.column_names else None
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]), reverse=True)
    predictions = [""] * len(sources)
    started = time.monotonic()
    with tqdm(total=len(sources), unit="texts", disable=not generator.state.is_local_main_process) as bar:
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            second = None if pairs is None else [pairs[place] for place in places]
            for place, (best, *_) in zip(places, generator([sources[p] for p in places], second), strict=True):
                predictions[place] = best
            bar.update(len(places))
    seconds = time.monotonic() - started
    return Measurement(predictions, score_texts(metrics, predictions, references_of(rows)), seconds)


def measurement_record(
    name: str, data: TrainingData, split: str, measurement: Measurement, generator: TextGenerator, command: str
) -> dict[str, Any]:
    """The measurement as JSON holds it."""
    return {
        "model": name,
        "data": data.record(),
        "split": split,
        "examples": len(measurement.predictions),
        "metrics": measurement.metrics,
        "seconds": measurement.seconds,
        "generation": generator.generation,
        "command": command,
        "versions": package_versions(),
        "machine": machine(),
    }


def metrics_table(metrics: dict[str, float]) -> str:
    """One line a metric, the values aligned."""
    width = max(len(name) for name in metrics)
    return "\n".join(f"{name:<{width}}  {value:10.4f}" for name, value in metrics.items())
