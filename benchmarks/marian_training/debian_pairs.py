"""English and Italian sentences out of Debian's translated package descriptions, split by package family.

python benchmarks/marian_real/debian_pairs.py LISTS --output pairs

LISTS is a folder that ``apt-get update -o Dir::State::Lists=LISTS -o Acquire::Languages=en,it`` filled, each file
unpacked or as .lz4 (then the program lz4 is needed). A family is a source package without the digits of its name, so
that gcc-12 and gcc-13 stay together. Writes train, valid and test of the general descriptions, and of a domain
that those leave out, some sections of the archive, as {train,valid,test,domain.train,…}.{en,it}.
"""

import argparse
import hashlib
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

Fields = dict[str, str]
Pair = tuple[str, str]

DOMAIN = ["games", "sound", "graphics", "video"]

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-ZÀ-Ý0-9(\"'])")
# of 100 families; the others train
_PARTS = {"test": range(8), "valid": range(8, 10), "domain.test": range(30), "domain.valid": range(30, 35)}


def read_stanzas(folder: Path, ending: str) -> Iterator[Fields]:
    """The stanzas of every list whose name ends so; the lines of a field stay joined by newlines."""
    for path in sorted([*folder.glob(f"*{ending}"), *folder.glob(f"*{ending}.lz4")]):
        if path.suffix == ".lz4":
            text = subprocess.run(["lz4", "-dc", path], check=True, capture_output=True).stdout.decode("utf-8")
        else:
            text = path.read_text(encoding="utf-8")
        for stanza in text.split("\n\n"):
            fields: Fields = {}
            name = ""
            for line in stanza.split("\n"):
                if line.startswith(" "):
                    fields[name] += "\n" + line
                elif ":" in line:
                    name, _, value = line.partition(":")
                    fields[name] = value.strip()
            if fields:
                yield fields


def paragraphs(description: str) -> list[str]:
    """The short description, then the paragraphs of running text; lists and verbatim lines become empty ones."""
    short, *lines = description.split("\n")
    found = [[short]]
    found += [part.split("\n") for part in re.split(r"\n \.\n", "\n".join(lines)) if part]
    return [
        "" if any(re.match(r"  |\s*[-*+o]\s", line) for line in part) else " ".join(" ".join(part).split())
        for part in found
    ]


def sentences(english: str, italian: str, longest: int) -> Iterator[Pair]:
    """Sentences of two descriptions, where both have as many paragraphs, and a paragraph as many sentences."""
    ours, theirs = paragraphs(english), paragraphs(italian)
    if len(ours) != len(theirs):
        return
    for one, other in zip(ours, theirs, strict=True):
        pair = _SENTENCE_END.split(one), _SENTENCE_END.split(other)
        if len(pair[0]) == len(pair[1]):
            for source, target in zip(*pair, strict=True):
                if source != target and 0 < len(source.split()) <= longest and 0 < len(target.split()) <= longest + 3:
                    yield source, target


def read_packages(folder: Path) -> dict[str, tuple[str, str]]:
    """The family and the archive section of every package."""
    packages = {}
    for fields in read_stanzas(folder, "_Packages"):
        source = fields.get("Source", fields["Package"]).split(" ")[0]
        packages[fields["Package"]] = re.sub(r"[\d.]+", "", source), fields.get("Section", "").split("/")[-1]
    return packages


def split(folder: Path, domain: list[str], longest: int) -> dict[str, list[Pair]]:
    """The pairs of every part; a source sentence is in one part only, the tests first."""
    packages = read_packages(folder)
    english = {fields["Description-md5"]: fields for fields in read_stanzas(folder, "_Translation-en")}
    parts: dict[str, dict[str, str]] = {}
    for fields in read_stanzas(folder, "_Translation-it"):
        original = english.get(fields.get("Description-md5", ""))
        if original is None or fields["Package"] not in packages:
            continue
        family, section = packages[fields["Package"]]
        bucket = int(hashlib.sha256(family.encode()).hexdigest(), 16) % 100
        prefix = "domain." if section in domain else ""
        part = next((part for part in ("test", "valid") if bucket in _PARTS[prefix + part]), "train")
        name = prefix + part
        for source, target in sentences(original["Description-en"], fields["Description-it"], longest):
            parts.setdefault(name, {}).setdefault(source, target)
    seen: set[str] = set()
    chosen = {}
    for name in ("domain.test", "test", "domain.valid", "valid", "domain.train", "train"):
        chosen[name] = [pair for pair in parts.get(name, {}).items() if pair[0].lower() not in seen]
        seen.update(source.lower() for source, _ in chosen[name])
        random.Random(0).shuffle(chosen[name])
    return chosen


def main() -> None:
    """Writes the files and prints how many pairs each holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, help="Folder of apt's lists.")
    parser.add_argument("--output", type=Path, required=True, help="Folder of the texts.")
    parser.add_argument("--domain", nargs="*", default=DOMAIN, help="Sections that the general parts leave out.")
    parser.add_argument("--longest", type=int, default=8, help="Words of a source; of a target three more.")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, pairs in split(arguments.lists, arguments.domain, arguments.longest).items():
        for side, language in enumerate(("en", "it")):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            (arguments.output / f"{name}.{language}").write_text(text, encoding="utf-8")
        print(f"{name}: {len(pairs)} pairs")


if __name__ == "__main__":
    main()
