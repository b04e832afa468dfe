"""Resolve every extra of pyproject.toml by itself, in a fresh environment with no constraint but torch's.

    python scripts/check_extras.py

Prints the seconds that pip took for each. Exits with 1 if pip finds no solution, or searches for one for more than
three minutes: then it is going back through the releases of some package, and the extra needs a bound. Nothing is
installed.
"""

import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LONGEST = 180  # seconds


def main() -> int:
    """Check all extras; return the exit status."""
    with open(PROJECT / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "fresh")
        venv.create(folder, with_pip=True)
        constraints = Path(scratch, "torch.txt")
        constraints.write_text(torch_pin() + "\n", encoding="utf-8")
        failed = [extra for extra in extras if not resolves(folder / "bin" / "python", extra, constraints)]
    if failed:
        print(f"error: extras that pip does not resolve in {LONGEST} s: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def torch_pin() -> str:
    """Return the line of constraints.txt that pins torch."""
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def resolves(python: Path, extra: str, constraints: Path) -> bool:
    """Whether pip finds versions for an extra in time; how long it took, and what it says if not, is printed."""
    command = [str(python), "-m", "pip", "install", "--dry-run", "-q", "-c", str(constraints), f"{PROJECT}[{extra}]"]
    start = time.monotonic()
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
        problem = run.stderr.strip() if run.returncode else ""
    except subprocess.TimeoutExpired:
        problem = "still searching"
    print(f"{extra:16} {time.monotonic() - start:5.0f} s {problem}", flush=True)
    return not problem


if __name__ == "__main__":
    sys.exit(main())
