"""Reads a SentencePiece model, ``.spm``: a protocol buffer, of which only the fields below are understood.

ModelProto:     1 pieces, 2 trainer, 3 normalizer
SentencePiece:  1 piece, 2 score, 3 type
TrainerSpec:    3 model type, 24 whitespace as suffix, 47 the end's piece
NormalizerSpec: 2 precompiled charsmap, 3 dummy prefix, 4 remove extra whitespace, 5 escape whitespace
"""

import math
import struct
from collections.abc import Iterator
from os import PathLike
from typing import NamedTuple

from .marian_source import read_file

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM = 1
READ_TYPES = (NORMAL, UNKNOWN, CONTROL, BYTE)


class Piece(NamedTuple):
    """One entry of the vocabulary; its place is its id."""

    text: str
    score: float
    type: int


class SentencePieceVocabulary(NamedTuple):
    """A Unigram model of SentencePiece.

    Args:
        pieces: in the order of their ids.
        eos_token_id, unk_token_id: their places.
        charsmap: the rules of its normaliser; empty if it has none.
        dummy_prefix: whether a text gets a space in front.
        single_spaces: whether spaces at the ends go, and of several in a row all but one.
    """

    pieces: tuple[Piece, ...]
    eos_token_id: int
    unk_token_id: int
    charsmap: bytes
    dummy_prefix: bool
    single_spaces: bool


def read_sentencepiece(path: str | PathLike[str]) -> SentencePieceVocabulary:
    """Reads a vocabulary, also inside ``.gz`` or ``.zst``.

    Raises:
        OSError: the file is not there, damaged, or a pointer of Git LFS.
        ValueError: it is no SentencePiece model, or of a kind that has no counterpart here.
    """
    data, name = read_file(path), str(path)
    try:
        fields = list(_fields(data))
        pieces = tuple(_piece(value) for number, value in fields if number == 1 and isinstance(value, bytes))
        trainer, normalizer = (
            {
                n: value
                for number, part in fields
                if number == wanted and isinstance(part, bytes)
                for n, value in _fields(part)
            }
            for wanted in (2, 3)
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} is no SentencePiece model: {error}") from error
    if not pieces:
        raise ValueError(f"{name} is no SentencePiece model: it has no pieces")
    if trainer.get(3, UNIGRAM) != UNIGRAM or trainer.get(24) or not normalizer.get(5, 1):
        raise ValueError(f"{name} must be a Unigram model that writes spaces before words, as spm_train makes it")
    _check_pieces(pieces, name)
    end = trainer.get(47, b"</s>")
    charsmap = normalizer.get(2, b"")
    return SentencePieceVocabulary(
        pieces,
        _place(pieces, CONTROL, end if isinstance(end, bytes) else b"", name),
        _place(pieces, UNKNOWN, None, name),
        charsmap if isinstance(charsmap, bytes) else b"",
        bool(normalizer.get(3, 1)),
        bool(normalizer.get(4, 1)),
    )


def _check_pieces(pieces: tuple[Piece, ...], name: str) -> None:
    if len({piece.text for piece in pieces}) != len(pieces):
        raise ValueError(f"{name} has several pieces of one text")
    for piece in pieces:
        if piece.type not in READ_TYPES:
            raise ValueError(f"{piece.text!r} in {name} has type {piece.type}, of {READ_TYPES} that are read")
        if not math.isfinite(piece.score):
            raise ValueError(f"{piece.text!r} in {name} must have a finite score, got {piece.score}")
    bytes_found = [piece.text for piece in pieces if piece.type == BYTE]
    if bytes_found and sorted(bytes_found) != sorted(f"<0x{byte:02X}>" for byte in range(256)):
        raise ValueError(f"{name} must have a piece for every byte or for none, got {len(bytes_found)}")


def _place(pieces: tuple[Piece, ...], kind: int, text: bytes | None, name: str) -> int:
    found = [i for i, piece in enumerate(pieces) if piece.type == kind and text in (None, piece.text.encode("utf-8"))]
    if len(found) != 1:
        raise ValueError(f"{name} must have one piece of type {kind} {text or b''!r}, got {len(found)}")
    return found[0]


def _piece(data: bytes) -> Piece:
    fields = dict(_fields(data))
    text, score, kind = fields.get(1, b""), fields.get(2, 0.0), fields.get(3, NORMAL)
    if not isinstance(text, bytes) or not isinstance(score, float) or not isinstance(kind, int):
        raise ValueError("a piece has fields of other types")
    return Piece(text.decode("utf-8"), score, kind)


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The fields of one message: numbers and their values."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif wire == FIXED32 and at + 4 <= len(data):
            yield number, struct.unpack_from("<f", data, at)[0]
            at += 4
        elif wire == FIXED64 and at + 8 <= len(data):
            at += 8
        elif wire == BYTES:
            length, at = _varint(data, at)
            if length > len(data) - at:
                raise ValueError(f"a field of {length} bytes at {at} is longer than the file")
            yield number, data[at : at + length]
            at += length
        else:
            raise ValueError(f"a field of wire type {wire} at {at} cannot be read")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError(f"a number at {at} has more than 10 bytes")
