"""The record of a run: one JSON file that holds every number its model card and its tables show."""

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS_NAME = "results.json"
RECORDED_PACKAGES = ("hf-rnnattn", "torch", "transformers", "tokenizers", "datasets", "accelerate")


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file whole or not at all: an interrupted write leaves the previous file as it was."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
    return path


def write_results(path: str | Path, results: Mapping[str, Any]) -> Path:
    """Write results as JSON, to ``path`` or to ``results.json`` in the folder ``path``.

    Raises:
        ValueError: a value is NaN or infinite; JSON has no such numbers.
    """
    path = Path(path)
    target = path / RESULTS_NAME if path.is_dir() else path
    try:
        text = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{target}: results hold a number that is not finite") from error
    return write_text(target, text + "\n")


def read_results(path: str | Path) -> dict[str, Any]:
    """Read what ``write_results`` wrote.

    Raises:
        ValueError: the file is not a JSON object.
    """
    path = Path(path)
    source = path / RESULTS_NAME if path.is_dir() else path
    try:
        results = json.loads(source.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{source} is not valid JSON: {error}") from error
    if not isinstance(results, dict):
        raise ValueError(f"{source} must hold a JSON object, got {type(results).__name__}")
    return results


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on, those installed."""
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def machine() -> dict[str, Any]:
    """The kind of machine, without its name: system, processor, usable cores, threads of torch, GPUs."""
    return {
        "system": platform.platform(terse=True),
        "processor": _processor_name(),
        "cores": _usable_cores(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
