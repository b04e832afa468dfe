"""Vocabularies of whole words, or of characters, as the toolkits keep them: a list in which the place is the id."""

from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ..model.tokenization_rnnattn import RnnAttnTokenizer
from ..model.tokenizer_files import end_with

SPACE = "▁"  # what stands for a space in a vocabulary of characters


def _at_whitespace(backend: Tokenizer) -> None:
    """Words end at any white space, as Python's ``str.split()`` has it."""
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\x1c-\x1f]+"), "removed")


def _at_spaces(backend: Tokenizer) -> None:
    """Words end at U+0020 only: a word may hold a no-break space."""
    backend.normalizer = normalizers.Strip()
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(" +"), "removed")


def _into_characters(backend: Tokenizer) -> None:
    """Every character is a token; spaces are written ``SPACE``."""
    backend.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Replace(" ", SPACE)])
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace(SPACE, " ")])


SPLITS: dict[str, Callable[[Tokenizer], None]] = {
    "whitespace": _at_whitespace,
    "spaces": _at_spaces,
    "characters": _into_characters,
}


def tokenizer_from_words(
    source: Sequence[str],
    target: Sequence[str] | None = None,
    *,
    pad: str,
    bos: str,
    eos: str,
    unk: str,
    source_ends_with_eos: bool,
    source_split: str = "whitespace",
    target_split: str = "whitespace",
    source_lowercase: bool = False,
    target_lowercase: bool = False,
) -> RnnAttnTokenizer:
    """The tokenizer of a model of words: ids are the places in the lists.

    A word of a text that is spelt like a special token gets that token's id, as the toolkits look it up. Decoded texts
    are joined with single spaces; with ``skip_special_tokens`` they lack the unknown token too.

    Args:
        source: the words of the source, or of both sides.
        target: those of the target, if it has its own list.
        pad, bos, eos, unk: the special tokens, words of both lists. Padding must have one id in both.
        source_ends_with_eos: whether ``eos`` is appended to sources; targets always end with it, so that a list of
            both sides becomes two equal ones if sources do not.
        source_split, target_split: where words end, one of ``SPLITS``: at any white space, at spaces only, or after
            each character. Those of the source hold for both sides where there is one list.
        source_lowercase, target_lowercase: whether texts are read in lower case.

    Raises:
        ValueError: a list holds a word twice or lacks a special token, padding has two ids, or a split is unknown.
    """
    specials = {"pad": pad, "bos": bos, "eos": eos, "unk": unk}
    sides = [_backend("source", source, specials, source_split, source_lowercase, ends=source_ends_with_eos)]
    if target is None and not source_ends_with_eos:
        target, target_split, target_lowercase = source, source_split, source_lowercase
    if target is not None:
        sides.append(_backend("target", target, specials, target_split, target_lowercase, ends=True))
    return RnnAttnTokenizer(
        tokenizer_object=sides[0],
        target_tokenizer_object=sides[1] if target is not None else None,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unk,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


def _backend(
    side: str, words: Sequence[str], specials: dict[str, str], split: str, lowercase: bool, *, ends: bool
) -> Tokenizer:
    if split not in SPLITS:
        raise ValueError(f"{side}_split must be one of {', '.join(SPLITS)}, got {split!r}")
    backend = Tokenizer(models.WordLevel(_numbered(side, words, specials), unk_token=specials["unk"]))
    SPLITS[split](backend)
    if lowercase:
        steps: list[Any] = [backend.normalizer] if backend.normalizer else []
        backend.normalizer = normalizers.Sequence([*steps, normalizers.Lowercase()])
    backend.add_special_tokens(list(dict.fromkeys(specials.values())))
    if ends:
        end_with(backend, specials["eos"])
    else:
        backend.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    return backend


def _numbered(side: str, words: Sequence[str], specials: dict[str, str]) -> dict[str, int]:
    numbered: dict[str, int] = {}
    for number, word in enumerate(words):
        if not isinstance(word, str):
            raise ValueError(f"word {number} of the {side} must be a str, got {type(word).__name__}")
        if word in numbered:
            raise ValueError(f"words {numbered[word]} and {number} of the {side} are both {word!r}")
        numbered[word] = number
    for name, token in specials.items():
        if not isinstance(token, str) or token not in numbered:
            raise ValueError(f"{name} {token!r} is no word of the {side}")
    return numbered
