"""Makes the virtual environment `.venv` of the project, and prints the path of its interpreter.

    python scripts/environment.py EXTRAS          the tested versions of constraints.txt
    python scripts/environment.py EXTRAS newest   in `.venv/newest`, the newest versions that pip finds today

A torch that the starting Python already has (any supported version, with or without a GPU) is used as it is: the new
environment looks into that Python's packages after its own. Otherwise torch and everything else are installed in the
tested versions of constraints.txt; versions that a PIP_CONSTRAINT of the user's pins are left to it. Of the newest
versions, torch's alone is the tested one: it is the largest by far, and what this package touches changes elsewhere.

Only the standard library is used here, and nothing outside `.venv` is changed. Messages go to stderr.
"""

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
OLDEST_TORCH = (2, 11)
COMES_WITH_TORCH = {"torch", "triton"}  # a torch for GPUs works with the Triton that it was made for


def main(extras: str, kind: str = "tested") -> None:
    """Prepares the environment and prints its interpreter.

    Args:
        extras: of pyproject.toml, separated by commas.
        kind: "tested" or "newest".

    Raises:
        SystemExit: there is no such kind, or the environment cannot be made.
    """
    if kind not in ("tested", "newest"):
        raise SystemExit(f"error: the second argument must be tested or newest, got {kind!r}")
    folder = PROJECT / ".venv" / ("newest" if kind == "newest" else "")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not works(python):
        create(folder)
        share_torch(python)
    stamp = folder / f"installed-{fingerprint(extras)}"
    if kind == "newest" or not stamp.exists():  # what is newest may have changed since
        install(python, extras, kind)
        stamp.touch()
    print(python)


def works(python: Path) -> bool:
    """Whether this interpreter exists, starts, and has pip: false after an upgrade of the Python that it came from."""
    if not python.exists():
        return False
    check = subprocess.run([str(python), "-c", "import pip"], capture_output=True)
    return check.returncode == 0


def create(folder: Path) -> None:
    """Makes an empty virtual environment.

    Raises:
        SystemExit: the Python that runs this has no venv or ensurepip module, as Debian ships it.
    """
    try:
        import ensurepip  # noqa: F401
        import venv
    except ImportError as error:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SystemExit(
            f"error: {sys.executable} cannot make virtual environments ({error}); "
            f"on Debian and Ubuntu: apt-get install python{version}-venv"
        ) from None
    log(f"creating {folder} with Python {sys.version.split()[0]}")
    if folder.exists():
        shutil.rmtree(folder)
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")


def share_torch(python: Path) -> None:
    """Lets the new environment see the packages of the Python that runs this, if a usable torch is among them."""
    torch = usable_torch()
    if torch is None:
        return
    site = str(Path(torch.locate_file("")).resolve())
    log(f"using torch {torch.version} of {site}")
    # addsitedir appends: packages of the environment itself come first
    shared_torch(python).write_text(f"import site; site.addsitedir({site!r})\n", encoding="utf-8")


def shared_torch(python: Path) -> Path:
    """The file in the environment that adds another Python's packages to its path."""
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return Path(own, "shared_torch.pth")


def usable_torch() -> importlib.metadata.Distribution | None:
    """The torch of the running Python, if it is recent enough."""
    try:
        torch = importlib.metadata.distribution("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    found = tuple(int(part) for part in re.findall(r"\d+", torch.version)[:2])
    return torch if found >= OLDEST_TORCH else None


def fingerprint(extras: str) -> str:
    """Changes whenever there is something new to install."""
    parts = [str(PROJECT), sysconfig.get_platform(), extras]
    parts += [(PROJECT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def install(python: Path, extras: str, kind: str) -> None:
    """Installs the project, editable, with its extras.

    Raises:
        SystemExit: pip failed; its own message is above.
    """
    shared = shared_torch(python).exists()
    taken = user_pins() | (COMES_WITH_TORCH if shared else set())
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if kind == "newest":
        lines = [line for line in lines if pinned_name(line) in COMES_WITH_TORCH]
    with tempfile.TemporaryDirectory() as scratch:
        constraints = Path(scratch, "constraints.txt")
        constraints.write_text("\n".join(line for line in lines if pinned_name(line) not in taken), encoding="utf-8")
        pip = [str(python), "-m", "pip", "install", "--constraint", str(constraints)]
        if not shared and not any(python.parent.parent.glob("installed-*")):
            # by far the largest download, so its progress is shown
            run([*pip, "torch"])
        log(f"installing hf_rnnattn[{extras}], {kind} versions")
        if kind == "newest":
            pip += ["--upgrade", "--upgrade-strategy", "eager"]
        run([*pip, "-qq", "--editable", f"{PROJECT}[{extras}]"])


def run(command: list[str]) -> None:
    """Runs pip with its output on stderr.

    Raises:
        SystemExit: it failed; its own message is above.
    """
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise SystemExit("error: pip could not install what is needed; its message is above")


def user_pins() -> set[str]:
    """The packages named in the files of PIP_CONSTRAINT, which pip reads too."""
    names = set()
    for name in os.environ.get("PIP_CONSTRAINT", "").split():
        if Path(name).is_file():
            names.update(map(pinned_name, Path(name).read_text(encoding="utf-8").splitlines()))
    return names


def pinned_name(line: str) -> str:
    """The normalised name of the package in one line of a constraints file; empty for comments and options."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", line)
    return re.sub(r"[-_.]+", "-", match.group(1)).lower() if match else ""


def log(text: str) -> None:
    """Says what happens; stdout belongs to the answer."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
