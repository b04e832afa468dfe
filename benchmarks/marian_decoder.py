"""Marian's own decoder on one core, in float32: the PyPI package pymarian, started as a program."""

import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SEARCH = {"normalize": "1", "max-length-factor": "2", "cpu-threads": "1", "maxi-batch-sort": "src"}


@dataclass
class Scored:
    """A translation in pieces, as Marian scores it: the mean log-probability of its tokens, the end included."""

    pieces: list[str]
    score: float


def version() -> str:
    """What ``--version`` prints."""
    result = _marian("--version")
    return (result.stdout + result.stderr).strip()


def translate(model: Path, vocab: Path, sentences: Path, *, beams: int, batch: int = 1) -> list[str]:
    """The texts, one for each line of a file."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.txt"
        _decode(model, vocab, sentences, output, beams, batch)
        return output.read_text(encoding="utf-8").splitlines()


def seconds(model: Path, vocab: Path, texts: list[str], *, batch: int) -> float:
    """CPU seconds of greedy translation, without those of starting and loading: what more than one text takes."""
    used = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, len(texts)):
            sentences, output = Path(folder) / "sentences.txt", Path(folder) / "output.txt"
            sentences.write_text("".join(f"{text}\n" for text in texts[:count]), encoding="utf-8")
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            _decode(model, vocab, sentences, output, 1, batch)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return used[1] - used[0]


def translate_scored(model: Path, vocab: Path, sentences: Path, *, beams: int) -> list[Scored]:
    """The best translation of each sentence, in pieces, with its score."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.txt"
        _decode(model, vocab, sentences, output, beams, 1, "--n-best", "--no-spm-decode")
        best: dict[int, Scored] = {}
        for line in output.read_text(encoding="utf-8").splitlines():
            number, pieces, _, score = line.split(" ||| ")
            best.setdefault(int(number), Scored(pieces.split(), float(score)))
        return [best[number] for number in sorted(best)]


def _decode(model: Path, vocab: Path, sentences: Path, output: Path, beams: int, batch: int, *flags: str) -> None:
    options = {"models": str(model), "input": str(sentences), "output": str(output), **SEARCH}
    options |= {"beam-size": str(beams), "mini-batch": str(batch), "maxi-batch": "1" if batch == 1 else "100"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    _marian("decode", *words, "--vocabs", str(vocab), str(vocab), *flags)


def _marian(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pymarian", *words],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
