"""Real text for transformers' example scripts, in the files that they read, and checkpoints to start from.

Pronunciations come from CMUdict; summaries, questions and tags from the docstrings and signatures of Python's own
library. Every checkpoint is a tiny encoder-decoder; the scripts that need another head start from it all the same.
"""

import ast
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from hf_rnnattn import RnnAttnConfig, RnnAttnForConditionalGeneration, RnnAttnTokenizer
from hf_rnnattn.pronunciation import load_cmudict
from hf_rnnattn.tokenizer_training import train_tokenizer, train_tokenizers

Rows = dict[str, list[dict[str, Any]]]  # by split
SIZES = {"train": 96, "validation": 16, "test": 16}
MODULES = ("argparse", "configparser", "csv", "datetime", "difflib", "email.message", "inspect", "ipaddress", "shutil")
MODULES += ("statistics", "tarfile", "textwrap", "threading", "unittest.mock", "urllib.request", "zipfile")


def split(rows: Iterator[dict[str, Any]]) -> Rows:
    """The first rows, dealt to the splits in turn, so that each split sees every source."""
    dealt: Rows = {name: [] for name in SIZES}
    order = [name for name, size in SIZES.items() for _ in range(size // SIZES["test"])]
    for number, row in enumerate(islice(rows, sum(SIZES.values()))):
        dealt[order[number % len(order)]].append(row)
    assert {name: len(found) for name, found in dealt.items()} == SIZES
    return dealt


def documented() -> Iterator[tuple[ast.FunctionDef, str, str]]:
    """The functions of the library: syntax, first sentence of the docstring, and the text after it."""
    for name in MODULES:
        source = inspect.getsource(__import__(name, fromlist=["_"]))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                first, _, rest = (ast.get_docstring(node) or "").partition("\n\n")
                if first and len(rest) > 40:
                    yield node, " ".join(first.split()), " ".join(rest.split())[:400]


def pronunciations() -> Rows:
    """Words and their phones, as run_translation.py wants them."""
    found = {}
    for name, rows in load_cmudict().items():
        drawn = rows.shuffle(seed=1).select(range(SIZES[name]))
        pairs = zip(drawn["source"], drawn["target"], strict=True)
        found[name] = [{"translation": {"en": word, "phones": phones}} for word, phones in pairs]
    return found


def summaries() -> Rows:
    """What a function does in many words, and in one sentence."""
    return split({"text": rest, "summary": first} for _, first, rest in documented())


def questions() -> Rows:
    """What a function does, to be found in its documentation, in SQuAD's form."""

    def rows() -> Iterator[dict[str, Any]]:
        for number, (node, first, rest) in enumerate(documented()):
            context = f"Documentation of {node.name}. {first} {rest}"
            answers = {"text": [first], "answer_start": [context.index(first)]}
            yield {"id": str(number), "question": f"What does {node.name} do?", "context": context, "answers": answers}

    return split(rows())


def articles() -> Rows:
    """Words, and the article that stands before them: it depends on the first sound, not on the first letter."""
    found = {}
    for name, rows in load_cmudict().items():
        drawn = rows.shuffle(seed=2).select(range(SIZES[name]))
        labels = ["an" if phones[0] in "AEIOU" else "a" for phones in drawn["target"]]
        found[name] = [{"sentence": w, "label": label} for w, label in zip(drawn["source"], labels, strict=True)]
    return found


def signatures() -> Rows:
    """The symbols of ``def`` lines, and which of them name the function and its parameters."""

    def rows() -> Iterator[dict[str, Any]]:
        for node, _, _ in documented():
            line = f"def {node.name}({ast.unparse(node.args)}):"
            stars = {arg.arg for arg in (node.args.vararg, node.args.kwarg) if arg}
            plain = {arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
            tokens, tags = re.findall(r"\w+|\*+|[^\w\s]", line), []
            for place, token in enumerate(tokens):
                starred = token.startswith("*") and tokens[place + 1] in stars
                tag = "B-FUNCTION" if place == 1 else "B-PARAMETER" if starred or token in plain else "O"
                tags.append("I-PARAMETER" if token in stars else tag)
            yield {"tokens": tokens, "ner_tags": tags}

    return split(rows())


def write(rows: Rows, folder: Path, *, squad: bool = False) -> list[str]:
    """Writes a file for each split, one JSON object a line (SQuAD: one object); returns the flags that name them."""
    flags = []
    for name, found in rows.items():
        path = folder / f"{name}.json"
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        path.write_text(json.dumps({"data": found}) if squad else "".join(lines), encoding="utf-8")
        flags += [f"--{name}_file", str(path)]
    return flags


def letters_and_phones(rows: Rows) -> RnnAttnTokenizer:
    """A vocabulary of letters for the source and one of phones for the target."""
    pairs = [row["translation"] for row in rows["train"]]
    texts = [pair["en"] for pair in pairs], [pair["phones"] for pair in pairs]
    return train_tokenizers(*texts, source_kind="char", target_kind="whitespace")


def subwords(texts: Iterable[str], kind: str = "bpe") -> RnnAttnTokenizer:
    """One small vocabulary for both sides."""
    return train_tokenizer(texts, kind=kind, vocab_size=500)


def save_checkpoint(tokenizer: RnnAttnTokenizer, folder: Path) -> Path:
    """A tiny model with random weights, beside its tokenizer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    layers = {"encoder_mixers": ["gru"], "decoder_mixers": ["ssru"]}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = RnnAttnConfig(**sizes, **layers, **heads, **tokenizer.config_fields())
    RnnAttnForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
