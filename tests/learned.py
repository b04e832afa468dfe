"""Runs a learnability task as its command does, and reads the results that are committed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sources import PROJECT

SEEDS = [0, 1, 2]


def learn(task: str, folder: Path, seed: int = 0) -> dict[str, Any]:
    """What ``benchmarks/learn_<task>.py`` measures with one seed."""
    output = folder / "learnt.json"
    script = PROJECT / "benchmarks" / f"learn_{task}.py"
    subprocess.run([sys.executable, script, "--seeds", str(seed), "--output", output], check=True)
    (measured,) = _results(output)["seeds"]
    return dict(measured)


def committed(task: str) -> list[dict[str, Any]]:
    """What the committed results say of each seed."""
    return list(_results(PROJECT / "benchmarks" / "results" / f"learn_{task}.json")["seeds"])


def _results(path: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return results
