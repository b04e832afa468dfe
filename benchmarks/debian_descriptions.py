"""Package descriptions out of Debian's lists, with the archive section of each, split by package family.

The lists are those of the machine's own release: apt fills a folder with them, once, in seconds:

    mkdir -p ~/.cache/debian-lists/partial
    apt-get update -o Dir::State::Lists=$HOME/.cache/debian-lists -o Acquire::Languages=en \\
        -o Acquire::GzipIndexes=false

``DEBIAN_LISTS`` names another folder. The last option leaves the lists unpacked; packed ones need the program lz4.
"""

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marian_training.debian_pairs import paragraphs, read_packages, read_stanzas

TESTED_PER_CENT = 8


@dataclass(frozen=True)
class Description:
    """What Debian says of a package.

    Args:
        family: the source package without the digits of its name, so that gcc-12 and gcc-13 stay together.
        section: of the archive.
        short: one line.
        long: running text; lists and verbatim lines are left out.
    """

    family: str
    section: str
    short: str
    long: str


def lists() -> Path:
    """The folder of apt's lists, filled by apt if it is empty.

    Raises:
        OSError: it is empty, and there is no apt-get.
    """
    folder = Path(os.environ.get("DEBIAN_LISTS", Path.home() / ".cache" / "debian-lists"))
    if not [*folder.glob("*_Translation-en*")]:
        if shutil.which("apt-get") is None:
            raise OSError(f"{folder} holds no lists of Debian, and there is no apt-get to fetch them")
        (folder / "partial").mkdir(parents=True, exist_ok=True)
        options = [f"Dir::State::Lists={folder}", "Acquire::Languages=en", "Acquire::GzipIndexes=false"]
        subprocess.run(["apt-get", "update", *(word for option in options for word in ("-o", option))], check=True)
    return folder


def descriptions(folder: Path) -> dict[str, list[Description]]:
    """The descriptions to train on (``train``) and to test with (``test``), each text once, in the order of a hash."""
    packages = read_packages(folder)
    found: dict[tuple[str, str], Description] = {}
    for fields in read_stanzas(folder, "_Translation-en"):
        if fields["Package"] in packages and "Description-en" in fields:
            family, section = packages[fields["Package"]]
            short, *others = paragraphs(fields["Description-en"])
            long = " ".join(text for text in others if text)
            found.setdefault((short, long), Description(family, section, short, long))
    parts: dict[str, list[Description]] = {"train": [], "test": []}
    for description in sorted(found.values(), key=lambda each: _hash(each.short + each.long)):
        tested = int(_hash(description.family), 16) % 100 < TESTED_PER_CENT
        parts["test" if tested else "train"].append(description)
    return parts


def release(folder: Path) -> dict[str, Any]:
    """What the numbers depend on: the files that were read, and a hash of their contents."""
    files = sorted(path for kind in ("Packages", "Translation-en") for path in folder.glob(f"*_{kind}*"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return {"files": [path.name for path in files], "sha256": digest.hexdigest()}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
