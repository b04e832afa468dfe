"""A SentencePiece vocabulary as a fast tokenizer that gives the same ids and texts."""

import re
import unicodedata
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from ..model.tokenization_rnnattn import RnnAttnTokenizer
from ..model.tokenizer_files import end_with
from .sentencepiece_vocabulary import BYTE, NORMAL, SentencePieceVocabulary

SPACE = "▁"
MOST_SPACES = 2**16
HALF_WIDTH, VOICED = range(0xFF66, 0xFF9E), "\uff9e\uff9f"  # katakana, and the marks that follow them


def tokenizer_from_sentencepiece(
    source: SentencePieceVocabulary, target: SentencePieceVocabulary | None = None
) -> RnnAttnTokenizer:
    """The tokenizer of a student of Marian: ids are the places of the pieces, padding is one more.

    Padding has one id on both sides: the smaller of two vocabularies is filled up with pieces that no text has.

    Texts of several characters that SentencePiece normalises as one, such as a letter and its accent, are composed
    first (NFC). What differs from SentencePiece is an accent on a character that is itself only a presentation form (a
    ligature, a superscript, a number in a circle), which may be lost, and the order of several accents on one letter.

    Args:
        source: the vocabulary of the source, or of both sides.
        target: that of the target, if it has its own.

    Raises:
        ValueError: two vocabularies that differ in the text of their end or of their unknown token.
    """
    pad = padding_token(source, target)
    size = max(len(vocabulary.pieces) for vocabulary in (source, target) if vocabulary)
    if target is not None and _special(target) != _special(source):
        raise ValueError(
            f"source and target vocabulary must have one end and unknown token, got {_special(source)} and "
            f"{_special(target)}"
        )
    eos, unk = _special(source)
    return RnnAttnTokenizer(
        tokenizer_object=_backend(source, pad, size),
        target_tokenizer_object=None if target is None else _backend(target, pad, size),
        bos_token=pad,  # what a decoder of Marian starts from: a vector of zeros, as padding has it
        eos_token=eos,
        unk_token=unk,
        pad_token=pad,
        split_special_tokens=True,  # a text that reads "</s>" is a text
        clean_up_tokenization_spaces=False,
    )


def padding_token(*vocabularies: SentencePieceVocabulary | None) -> str:
    """A text for padding that no vocabulary has."""
    known = {piece.text for vocabulary in vocabularies if vocabulary for piece in vocabulary.pieces}
    pad = "<pad>"
    while pad in known:
        pad = f"<{pad}>"
    return pad


def _special(vocabulary: SentencePieceVocabulary) -> tuple[str, str]:
    return vocabulary.pieces[vocabulary.eos_token_id].text, vocabulary.pieces[vocabulary.unk_token_id].text


def _backend(vocabulary: SentencePieceVocabulary, pad: str, size: int) -> Tokenizer:
    fallback = any(piece.type == BYTE for piece in vocabulary.pieces)
    scores = [(piece.text, piece.score) for piece in vocabulary.pieces]
    # The normaliser leaves no space in a text, so these are never found; nor do they change the score of the unknown.
    least = min(score for _, score in scores)
    scores += [(f"<unused {i}>", least) for i in range(len(scores), size)]
    backend = Tokenizer(models.Unigram(scores, unk_id=vocabulary.unk_token_id, byte_fallback=fallback))
    backend.normalizer = _normalizer(vocabulary)
    backend.pre_tokenizer = _guard(vocabulary)
    backend.decoder = decoders.Sequence(
        [
            *([decoders.ByteFallback()] if fallback else []),
            decoders.Replace(SPACE, " "),
            decoders.Fuse(),
            decoders.Strip(" ", left=MOST_SPACES if vocabulary.single_spaces else int(vocabulary.dummy_prefix)),
        ]
    )
    eos, unk = _special(vocabulary)
    backend.add_special_tokens([eos, unk, pad])
    end_with(backend, eos)
    return backend


def _normalizer(vocabulary: SentencePieceVocabulary) -> Any:
    """SentencePiece's rules for characters, then its way with spaces.

    tokenizers' version of the rules reads a text in clusters of characters, and overlooks those of 6 bytes and more:
    so these are composed before.
    """
    steps: list[Any] = []
    if vocabulary.charsmap:
        steps = [normalizers.NFC(), normalizers.Replace("\r\n", "\n\n")]  # one cluster, and two spaces
        for letter in HALF_WIDTH:
            for mark in VOICED:
                composed = unicodedata.normalize("NFKC", chr(letter) + mark)
                if len(composed) == 1:
                    steps.append(normalizers.Replace(chr(letter) + mark, composed))
        steps.append(normalizers.Precompiled(vocabulary.charsmap))
    if vocabulary.single_spaces:
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex(r"\A | \z"), "")]
    if vocabulary.dummy_prefix:
        steps.append(normalizers.Prepend(" "))
    steps.append(normalizers.Replace(" ", SPACE))
    if vocabulary.single_spaces:
        steps.append(normalizers.Replace(Regex(rf"{SPACE}+\z"), ""))  # those that the text itself has
    return normalizers.Sequence(steps)


def _guard(vocabulary: SentencePieceVocabulary) -> Any:
    """Cuts through texts that read like a special piece (``</s>``, ``<0x41>``), which SentencePiece never finds.

    A cut goes where no ordinary piece would span it, nor a run of unknown characters, if there is such a place: then
    it changes nothing else.
    """
    ordinary = [piece.text for piece in vocabulary.pieces if piece.type == NORMAL]
    texts = [piece.text for piece in vocabulary.pieces if piece.type not in (NORMAL, BYTE)]
    cuts = []
    for text in texts:
        places = range(1, len(text))
        free = [i for i in places if not any(text[i - 1 : i + 1] in piece for piece in ordinary)]
        free = [i for i in free if {text[i - 1], text[i]} & {*ordinary}] or free
        at = (free or list(places) or [0])[0]
        cuts.append(f"{re.escape(text[:at])}(?={re.escape(text[at:])})")
    if any(piece.type == BYTE for piece in vocabulary.pieces):
        spanned = any("<0" in piece for piece in ordinary)
        cuts.append("<0x[0-9A-F]{2}(?=>)" if spanned else "<(?=0x[0-9A-F]{2}>)")
    return pre_tokenizers.Split(Regex("|".join(cuts)), "merged_with_previous")
