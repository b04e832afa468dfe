"""Bergamot's build of Marian, in WebAssembly: the engine that students are made for, run by node."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGE, VERSION = "@browsermt/bergamot-translator", "0.4.9"
FOLDER = "HF_RNNATTN_BERGAMOT"  # names a folder that keeps the package from run to run


def install_bergamot(folder: Path) -> Path:
    """The folder that has the package: that of the environment, or this one; skips where there is no node or npm."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: it runs Bergamot's WebAssembly")
    folder = Path(os.environ.get(FOLDER, folder))
    if not (folder / "node_modules" / PACKAGE).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"{PACKAGE}@{VERSION}"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        if run.returncode != 0:
            pytest.skip(f"npm cannot install {PACKAGE}@{VERSION}: {run.stderr.strip()[-200:]}")
    return folder


def bergamot(
    folder: Path,
    sentences: list[str],
    model: Path,
    source: Path,
    target: Path | None = None,
    *,
    shortlist: Path | None = None,
    precision: str = "float32",
) -> list[str]:
    """What Bergamot translates the sentences to, greedily."""
    files = [folder, model, source, target or source, shortlist or "-"]
    command = ["node", str(Path(__file__).with_suffix(".js")), *map(str, files), precision]
    text = "".join(f"{sentence}\n" for sentence in sentences)
    run = subprocess.run(command, input=text, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()
