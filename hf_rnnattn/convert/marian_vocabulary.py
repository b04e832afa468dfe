"""Vocabularies of Marian: SentencePiece models, and the word lists in YAML that older models have."""

from os import PathLike
from typing import Any

import yaml

from ..model.tokenization_rnnattn import RnnAttnTokenizer
from .marian_source import read_file
from .sentencepiece_tokenizer import tokenizer_from_sentencepiece
from .sentencepiece_vocabulary import SentencePieceVocabulary, read_sentencepiece
from .word_vocabulary import tokenizer_from_words

YAML_ENDINGS = (".yml", ".yaml", ".json")
EOS, UNK = "</s>", "<unk>"
NAMES_OF_EOS = ("</s>", "eos", "<eos>")  # what Marian and Nematus called the first two words
NAMES_OF_UNK = ("<unk>", "UNK")
MAX_WORD_LIST = 2**28  # bytes

Vocabulary = SentencePieceVocabulary | list[str]


def read_vocabulary(path: str | PathLike[str], rows: int | None = None) -> Vocabulary:
    """A SentencePiece model, or the words of a list in YAML or JSON, in the order of their ids.

    Args:
        path: the file; its ending tells the two apart.
        rows: how many embeddings there are; of a longer list of words the rest is unknown, as in Marian.

    Raises:
        OSError: the file is not there or damaged.
        ValueError: it is no such vocabulary.
    """
    name = str(path)
    if name.endswith(".fsv"):
        raise ValueError(
            f"{path} must be a SentencePiece model (.spm) or a list of words (.yml): factors are not read"
        )
    if not name.endswith(YAML_ENDINGS):
        return read_sentencepiece(path)
    words = _words(read_file(path), name)
    return words if rows is None else words[:rows]


def size_of(vocabulary: Vocabulary) -> int:
    """How many tokens it has."""
    return len(vocabulary) if isinstance(vocabulary, list) else len(vocabulary.pieces)


def special_ids(vocabulary: Vocabulary) -> tuple[int, int]:
    """The ids of the end and of the unknown token."""
    if isinstance(vocabulary, list):
        return vocabulary.index(EOS), vocabulary.index(UNK)
    return vocabulary.eos_token_id, vocabulary.unk_token_id


def build_tokenizer(source: Vocabulary, target: Vocabulary | None) -> RnnAttnTokenizer:
    """The tokenizer of both, with padding one past the last token.

    Raises:
        ValueError: one is a SentencePiece model and the other a list of words.
    """
    if isinstance(source, SentencePieceVocabulary) and not isinstance(target, list):
        return tokenizer_from_sentencepiece(source, target)
    if isinstance(source, SentencePieceVocabulary) or isinstance(target, SentencePieceVocabulary):
        raise ValueError("the vocabularies of source and target must be of one kind, both .spm or both .yml")
    pad = _padding(source, target)
    lists = [source] if target is None else [source, target]
    length = max(map(len, lists))
    filled = [[*words, *(f"{pad}{i}" for i in range(len(words), length)), pad] for words in lists]
    return tokenizer_from_words(
        *filled, pad=pad, bos=pad, eos=EOS, unk=UNK, source_ends_with_eos=True, source_split="spaces"
    )


def _padding(source: list[str], target: list[str] | None) -> str:
    pad = "<pad>"
    while any(word.startswith(pad) for word in (*source, *(target or ()))):
        pad = f"<{pad}>"
    return pad


def _words(data: bytes, name: str) -> list[str]:
    if len(data) > MAX_WORD_LIST:
        raise ValueError(f"{name} has {len(data)} bytes, a list of words may have {MAX_WORD_LIST}")
    try:
        # the loader that takes everything for text: a word may read like a number, or like "no"
        numbers: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)(data.decode("utf-8")).get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{name} is no YAML: {error}") from error
    if not isinstance(numbers, dict) or not numbers:
        raise ValueError(f"{name} must map words to numbers, got {type(numbers).__name__}")
    words: dict[int, str] = {}
    for word, number in numbers.items():
        if not isinstance(word, str) or not isinstance(number, str) or not number.isdecimal():
            raise ValueError(f"{name} must map words to numbers, got {number!r} for {word!r}")
        if words.setdefault(int(number), word) != word:
            raise ValueError(f"{name} has {word!r} and {words[int(number)]!r} as number {number}")
    if sorted(words) != list(range(len(words))):
        raise ValueError(f"{name} must number its words from 0 without a gap")
    listed = [words[number] for number in range(len(words))]
    for number, names, usual in ((0, NAMES_OF_EOS, EOS), (1, NAMES_OF_UNK, UNK)):
        if len(listed) <= number or listed[number] not in names:
            raise ValueError(f"word {number} of {name} must be one of {', '.join(names)}")
        listed[number] = usual
    return listed
