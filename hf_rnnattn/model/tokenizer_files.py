"""What a tokenizer file must hold, and what a text must be: the checks behind the tokenizer."""

import json
import os
import re
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

_SURROGATE = re.compile("[\ud800-\udfff]")
_BYTE = re.compile("<0x([0-9A-F]{2})>")


def clean_text(text: Any, name: str) -> Any:
    """Replaces lone surrogates by U+FFFD, in one text or in nested lists of texts.

    Raises:
        ValueError: something is not a str.
    """
    if isinstance(text, str):
        return _SURROGATE.sub("\ufffd", text)
    if isinstance(text, (list, tuple)):
        cleaned = [clean_text(item, f"{name}[{i}]") for i, item in enumerate(text)]
        return tuple(cleaned) if isinstance(text, tuple) else cleaned
    raise ValueError(f"{name} must be a str, or a list of str, got {type(text).__name__}")


def end_with(backend: Tokenizer, eos: str) -> None:
    """Appends ``eos`` to every segment; the second one has type id 1."""
    eos_id = backend.token_to_id(eos)
    if eos_id is None:
        raise ValueError(f"eos_token {eos!r} is not in the vocabulary")
    backend.post_processor = TemplateProcessing(
        single=f"$A:0 {eos}:0", pair=f"$A:0 {eos}:0 $B:1 {eos}:1", special_tokens=[(eos, eos_id)]
    )


def decode(backend: Tokenizer, ids: list[int], skip_special_tokens: bool) -> str:
    """The text of ids. Of tokens that stand for bytes (``<0xE2>``), those that make no UTF-8 become U+FFFD, one each.

    The backend would lose the valid characters beside them.
    """
    knows_bytes = "ByteFallback" in repr(backend.decoder)  # the decoder that takes tokens for bytes
    tokens = [backend.id_to_token(number) for number in ids] if knows_bytes else []
    if not any(token is not None and _BYTE.fullmatch(token) for token in tokens):
        return str(backend.decode(ids, skip_special_tokens=skip_special_tokens))
    special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    kept = [token for token in tokens if token is not None and not (skip_special_tokens and token in special)]
    return str(backend.decoder.decode(_join_bytes(kept)))


def _join_bytes(tokens: list[str]) -> list[str]:
    """The tokens with every run of bytes as one token of text."""
    joined: list[str] = []
    run = b""
    for token in [*tokens, None]:
        match = None if token is None else _BYTE.fullmatch(token)
        if match:
            run += bytes.fromhex(match[1])
            continue
        if run:
            joined.append(_characters(run))
            run = b""
        if token is not None:
            joined.append(token)
    return joined


def _characters(run: bytes) -> str:
    text, at = "", 0
    while at < len(run):
        for size in (1, 2, 3, 4):
            try:
                text += run[at : at + size].decode("utf-8")
            except UnicodeDecodeError:
                continue
            break
        else:
            text, size = text + "\ufffd", 1
        at += size
    return text


def read_backend(path: str | os.PathLike[str], name: str | None = None) -> Tokenizer:
    """Reads one tokenizer file; ``name`` is what errors call it."""
    name = name or str(path)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        data = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise OSError(f"{name} is not valid: {error}") from error
    check_ids(_vocabulary(data))
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the backend raises plain Exception
        raise OSError(f"{name} is not valid: {error}") from error


def _vocabulary(data: Any) -> Iterable[tuple[str, int]]:
    """(token, id) pairs of a parsed tokenizer.json; none where the layout is wrong, which the backend reports."""
    model = data.get("model") if isinstance(data, dict) else None
    vocab = model.get("vocab") if isinstance(model, dict) else None
    pairs: set[tuple[str, int]] = set()
    if isinstance(vocab, dict):
        pairs.update((token, number) for token, number in vocab.items() if isinstance(number, int))
    if isinstance(vocab, list):  # unigram: [[token, score], ...], ids by position
        pairs.update(
            (str(entry[0]), number) for number, entry in enumerate(vocab) if isinstance(entry, list) and entry
        )
    added = data.get("added_tokens") if isinstance(data, dict) else None
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and isinstance(token.get("id"), int):
            pairs.add((str(token.get("content")), token["id"]))
    return pairs


def check_ids(pairs: Iterable[tuple[str, int]]) -> None:
    """Raises ValueError unless every token has an id of its own, at least 0 and below the number of tokens."""
    pairs = sorted(pairs)
    seen: dict[int, str] = {}
    for token, number in pairs:
        problem = None
        if number in seen:
            problem = f"{seen[number]!r} and {token!r} both have id {number}"
        elif not 0 <= number < len(pairs):
            problem = f"{token!r} has id {number}, vocab_size is {len(pairs)}"
        if problem:
            raise ValueError(f"ids must be unique and below vocab_size: {problem}")
        seen[number] = token
