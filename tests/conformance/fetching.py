"""The common tests of transformers: fetched from PyPI with the version that is installed, importable as a package."""

import fcntl
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
import transformers

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "conformance"
PACKAGE = "tests_of_transformers"
# What the common tests import and the source distribution lacks: other mixins, which then test nothing.
MISSING = {
    "__init__.py": "",
    "exporters/__init__.py": "",
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/__init__.py": "",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/__init__.py": "",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
}


def importable() -> None:
    """Makes ``tests_of_transformers`` importable; skips the calling module where PyPI cannot be reached."""
    folder = CACHE / transformers.__version__
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of tests may want it at once
        if not folder.exists():
            _fetch(folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        place = Path(scratch)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
        command += ["--no-binary", "transformers", "--dest", scratch, f"transformers=={transformers.__version__}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(place.glob("transformers-*.tar.gz"))
        if not archives:
            offline = ("ConnectionError", "NewConnectionError", "Temporary failure in name resolution", "timed out")
            if any(word in done.stderr for word in offline):
                pytest.skip("PyPI cannot be reached, and the tests of transformers come from there", True)
            raise RuntimeError(f"pip could not fetch the tests of transformers:\n{done.stderr[-2000:]}")
        with tarfile.open(archives[0]) as archive:
            members = [member for member in archive.getmembers() if _is_test(member)]
            archive.extractall(place / "unpacked", members=members, filter="data")
        tests = next((place / "unpacked").glob("*/tests"))
        for name, text in MISSING.items():
            path = tests / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        ready = place / "ready"
        ready.mkdir()
        tests.rename(ready / PACKAGE)
        shutil.move(ready, folder)


def _is_test(member: tarfile.TarInfo) -> bool:
    parts = Path(member.name).parts
    return member.isfile() and len(parts) > 2 and parts[1] == "tests" and member.name.endswith(".py")
