"""A checkpoint of fairseq in memory, and the dictionaries beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from torch import Tensor

from .marian_source import read_file
from .torch_checkpoint import plain, read_torch, weights_of

PAD, UNK, BOS, EOS = "<pad>", "<unk>", "<s>", "</s>"
SPECIAL = (BOS, PAD, EOS, UNK)  # the first ids of every dictionary
OVERWRITE = "#fairseq:overwrite"


@dataclass(frozen=True)
class FairseqCheckpoint:
    """What a file of fairseq holds.

    Args:
        options: those of the model that are numbers or texts, by the names of the command line with underscores.
        tensors: weights by fairseq's names.
        source: the path, for messages.
    """

    options: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    source: str


def read_fairseq(path: str | PathLike[str]) -> FairseqCheckpoint:
    """Reads ``checkpoint_best.pt`` and its like, with the options in ``cfg`` or, as before fairseq 0.10, in ``args``.

    Raises:
        OSError: the file is not there or too large.
        ValueError: it is no checkpoint of fairseq, or holds objects other than tensors and options.
    """
    name = str(path)
    content = read_torch(path, records=("fairseq", "omegaconf"))
    if not isinstance(content, dict) or "model" not in content:
        raise ValueError(f"{name} has no 'model': it is no checkpoint of fairseq")
    tensors = weights_of(content["model"], f"'model' in {name}")
    try:
        config, older = plain(content.get("cfg")), plain(content.get("args"))
    except RecursionError as error:
        raise ValueError(f"the options in {name} hold themselves") from error
    options = config.get("model") if isinstance(config, dict) else older
    if not isinstance(options, dict):
        raise ValueError(f"{name} has no options of its model, neither under 'cfg' nor under 'args'")
    simple = {key: value for key, value in options.items() if isinstance(value, (str, int, float, bool))}
    return FairseqCheckpoint(simple, tensors, name)


def read_dictionary(path: str | PathLike[str]) -> list[str]:
    """The words of a ``dict.*.txt`` in the order of their ids, the four special tokens first.

    Raises:
        OSError: the file is not there or too large.
        ValueError: it is no dictionary, or overwrites words that come earlier.
    """
    try:
        text = read_file(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}") from error
    words = list(SPECIAL)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        word, _, count = line.rstrip().rpartition(" ")
        if count == OVERWRITE:
            raise ValueError(
                f"line {number} of {path} overwrites a word ({OVERWRITE}): such dictionaries are not read"
            )
        if not word or not count.isdecimal():
            raise ValueError(f"line {number} of {path} must be a word, a space and a count, got {line!r}")
        words.append(word)
    return words
