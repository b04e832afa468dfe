"""The code blocks of README.md and docs/*.md, and a folder in which they run."""

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from fairseq_models import dictionaries, write_checkpoint
from g2p_en_models import random_weights
from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration
from hf_rnnattn.convert.marian_folder import convert_marian
from hf_rnnattn.tokenizer_training import train_tokenizers
from sources import PROJECT
from students import MODEL, SENTENCES, SHORTLIST, VOCABULARY, recorded
from toolkit_models import assembled

DOCUMENTS = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>[^\n]*?) -->\n)?^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^ *```$",
    flags=re.MULTILINE | re.DOTALL,
)
PAIRS = [("hello", "HH AH L OW"), ("yellow", "Y EH L OW"), ("low", "L OW"), ("hall", "HH AO L")]


@dataclass(frozen=True)
class Block:
    """One code block: its document, the line on which its text begins, its language, and the comment before it."""

    document: Path
    line: int
    language: str
    mark: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def blocks_of(document: Path) -> list[Block]:
    """The code blocks of a document, in order."""
    content = document.read_text(encoding="utf-8")
    blocks = []
    for match in BLOCK.finditer(content):
        indent = len(match["indent"])
        text = "".join(line[indent:] or "\n" for line in match["text"].splitlines(keepends=True))
        line = content.count("\n", 0, match.start("text")) + 1
        blocks.append(Block(document, line, match["language"], match["mark"], text))
    return blocks


def as_script(blocks: list[Block]) -> str:
    """The Python blocks of one document as one program, in which every line keeps its number."""
    lines: list[str] = []
    for block in blocks:
        lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    return "\n".join(lines) + "\n"


# What the documents call the models of other toolkits, and which of the tests' models these are.
MODELS_OF_OTHERS = {
    "model.enes.intgemm.alphas.bin": MODEL,
    "vocab.enes.spm": VOCABULARY,
    "lex.50.50.enes.s2t.bin": SHORTLIST,
    "model.s2s.npz": PROJECT / "tests" / "fixtures" / "marian_rnn" / "deep" / "model.npz",
    "vocab.s2s.spm": PROJECT / "tests" / "fixtures" / "marian_rnn" / "vocab.spm",
}


def make_workplace(folder: Path) -> Path:
    """What the documents speak of: the scripts, some data, models of other toolkits, one of them converted, sentences
    and their translations by it, and an (untrained) checkpoint like the quickstart's.
    """
    (folder / "scripts").symlink_to(PROJECT / "scripts")
    for name in ("train", "validation", "test"):
        lines = ["word\tphones", *("\t".join(pair) for pair in PAIRS * 4)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, file in MODELS_OF_OTHERS.items():
        (folder / name).symlink_to(file)
    shutil.copytree(converted_student(), folder / "output" / "en-es")
    for name, lines in (("en.txt", SENTENCES), ("es.txt", recorded("marian.txt"))):
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for toolkit, name in (("joeynmt", "gru_bridge"), ("opennmt", "lstm_general"), ("eole", "lstm")):
        assembled(toolkit, name, folder / "models" / toolkit)
    (folder / "g2p_en").mkdir()
    np.savez(folder / "g2p_en" / "checkpoint20.npz", **random_weights())
    write_checkpoint("luong", folder / "checkpoint_best.pt")
    for file in dictionaries("luong"):
        (folder / file.name).symlink_to(file)
    (folder / "words.txt").write_text("".join(f"{word}\n" for word, _ in PAIRS), encoding="utf-8")
    letters = [*(word for word, _ in PAIRS), "abcdefghijklmnopqrstuvwxyz"]
    phones = [phones for _, phones in PAIRS]
    tokenizer = train_tokenizers(letters, phones, source_kind="char", target_kind="whitespace")
    sizes = {"hidden_size": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    layers = {"encoder_mixers": ["gru"], "decoder_mixers": ["ssru"]}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = RnnAttnConfig(**sizes, **layers, **heads, **tokenizer.config_fields())
    checkpoint = folder / "output" / "quickstart-g2p"
    RnnAttnForConditionalGeneration(config).save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    return folder


@cache
def converted_student() -> Path:
    """The student of Marian as a checkpoint folder, made once."""
    folder = Path(tempfile.mkdtemp(prefix="student-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    convert_marian(MODEL, VOCABULARY, output=folder / "en-es")
    return folder / "en-es"


def run_in(folder: Path, *command: str) -> str:
    """Runs a command in a folder, with this Python as ``python``; returns what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert run.returncode == 0, f"{command} failed:\n{run.stdout}\n{run.stderr}"
    return run.stdout
