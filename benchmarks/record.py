"""How every benchmark measures and what it writes: alternating calls, and JSON that says where and when it ran."""

import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, cores, threads, load when asked, GPUs, and the versions that matter."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average_1_min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        facts = dict(line.split(":", 1) for line in cpuinfo.read_text().split("\n\n")[0].splitlines() if ":" in line)
        named = {key.strip(): value.strip() for key, value in facts.items()}
        if "model name" in named:
            family = f"family {named['cpu family']} model {named['model']}" if "cpu family" in named else ""
            return f"{named['model name']} ({family})" if family else named["model name"]
    return platform.processor() or platform.machine()


def commit() -> str:
    """The git commit that ran, with ``-modified`` if tracked files differ from it; "unknown" outside a repository."""
    try:
        head = _git("rev-parse", "HEAD")
        return f"{head}-modified" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def alternate(calls: Mapping[str, Callable[[], Any]], repeats: int, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of each call in each of ``repeats`` rounds.

    A round makes every call once, so that all meet the same load, in an order drawn anew (from a fixed seed), so that
    none always follows the one that leaves the caches cold.
    """
    for _ in range(warmup):
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    order, draw = list(calls), random.Random(0)
    for _ in range(repeats):
        draw.shuffle(order)
        for name in order:
            settle()
            start = time.perf_counter()
            calls[name]()
            settle()
            times[name].append(time.perf_counter() - start)
    return times


def settle() -> None:
    """Waits for what a GPU was given to do."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def compare(times: Mapping[str, list[float]], name: str) -> dict[str, Any]:
    """The median of ``name`` in microseconds, and of every other call, with how many times as long ``name`` took.

    The ratio is the median over rounds of the ratio within a round.
    """
    ours = times[name]
    against = {}
    for other, theirs in times.items():
        if other != name:
            ratio = statistics.median(mine / its for mine, its in zip(ours, theirs, strict=True))
            against[other] = {"microseconds": _microseconds(theirs), "ratio": round(ratio, 3)}
    return {"microseconds": _microseconds(ours), "against": against}


def _microseconds(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1e6, 1)


def write(path: Path, results: Any) -> None:
    """Writes ``results`` with the machine, the commit, the command and the time (UTC) as JSON."""
    content = {
        "machine": machine(),
        "commit": commit(),
        "command": shlex.join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "results": results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
