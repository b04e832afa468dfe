"""Tokenizers trained from the user's own texts: characters, whitespace symbols, WordPiece, byte-level BPE."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from .model.tokenization_rnnattn import RnnAttnTokenizer
from .model.tokenizer_files import clean_text

PAD, BOS, EOS, UNK = SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")  # ids 0, 1, 2, 3 in every trained vocabulary
SUBWORD_VOCAB_SIZE = 8000


def _char() -> tuple[Tokenizer, Any]:
    """One token per character, spaces and line ends included."""
    backend = Tokenizer(models.WordLevel(unk_token=UNK))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return backend, trainers.WordLevelTrainer


def _whitespace() -> tuple[Tokenizer, Any]:
    """One token per symbol between white space, for input that is already split (phones, tags, commands)."""
    backend = Tokenizer(models.WordLevel(unk_token=UNK))
    # a symbol spelt like a special token is data: it must not end a sequence, nor get a second id in training
    specials = pre_tokenizers.Split(Regex(rf"(?<!\S)(?:{'|'.join(SPECIAL_TOKENS)})(?!\S)"), "removed")
    backend.pre_tokenizer = pre_tokenizers.Sequence([specials, pre_tokenizers.WhitespaceSplit()])
    return backend, trainers.WordLevelTrainer


def _wordpiece() -> tuple[Tokenizer, Any]:
    """BERT's scheme, cased: split at white space and punctuation, then the longest known pieces."""
    backend = Tokenizer(models.WordPiece(unk_token=UNK))
    backend.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    return backend, trainers.WordPieceTrainer


def _bpe() -> tuple[Tokenizer, Any]:
    """Byte-level byte-pair encoding: every text is written without loss and nothing is unknown."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend, trainers.BpeTrainer


KINDS: dict[str, Callable[[], tuple[Tokenizer, Any]]] = {
    "char": _char,
    "whitespace": _whitespace,
    "wordpiece": _wordpiece,
    "bpe": _bpe,
}


def train_tokenizer(
    texts: Iterable[str],
    *,
    kind: str = "bpe",
    vocab_size: int | None = None,
    min_frequency: int = 1,
    lowercase: bool = False,
    model_max_length: int | None = None,
) -> RnnAttnTokenizer:
    """Trains one vocabulary for both sides.

    What decoding gives back, special tokens skipped: ``char`` the text without the characters that training did not
    see; ``whitespace`` the known symbols joined by single spaces; ``wordpiece`` words and punctuation marks joined by
    single spaces; ``bpe`` the text itself, always. Special tokens spelt out in a text are read as text
    (``split_special_tokens``; ``whitespace`` leaves them out), so no text can end a sequence early.

    Args:
        texts: the training texts.
        kind: one of ``KINDS``.
        vocab_size: upper bound of the vocabulary, the four special tokens included. None: every symbol for ``char``
            and ``whitespace``, 8,000 for ``wordpiece`` and ``bpe``.
        min_frequency: symbols and merges seen less often are left out.
        lowercase: read every text in lower case.
        model_max_length: longest sequence in tokens, the end token included; None for no limit.

    Raises:
        ValueError: kind is unknown, vocab_size is too small, texts is empty, or an entry is not a str.
    """
    backend = _train_backend(
        texts, name="texts", kind=kind, vocab_size=vocab_size, min_frequency=min_frequency, lowercase=lowercase
    )
    return _wrap(backend, None, model_max_length)


def train_tokenizers(
    sources: Iterable[str],
    targets: Iterable[str],
    *,
    source_kind: str = "bpe",
    target_kind: str | None = None,
    shared: bool = False,
    source_vocab_size: int | None = None,
    target_vocab_size: int | None = None,
    min_frequency: int = 1,
    source_lowercase: bool = False,
    model_max_length: int | None = None,
) -> RnnAttnTokenizer:
    """Trains the two sides, or with ``shared`` one vocabulary from the texts of both.

    Args:
        sources, targets: the training texts of each side.
        source_kind, target_kind: see ``train_tokenizer``; ``target_kind`` defaults to ``source_kind``.
        shared: one vocabulary for both sides, of at most ``source_vocab_size`` tokens.
        source_vocab_size, target_vocab_size: see ``train_tokenizer``; the target's defaults to the source's if the
            kinds are the same.
        min_frequency, model_max_length: see ``train_tokenizer``.
        source_lowercase: read sources in lower case (with ``shared`` this would lower the targets too: an error).

    Raises:
        ValueError: as ``train_tokenizer``; or ``shared`` with two kinds, two sizes, or ``source_lowercase``.
    """
    target_kind = source_kind if target_kind is None else target_kind
    if target_vocab_size is None and target_kind == source_kind:
        target_vocab_size = source_vocab_size
    if shared:
        if target_kind != source_kind:
            raise ValueError(f"shared needs one kind on both sides, got {source_kind!r} and {target_kind!r}")
        if target_vocab_size != source_vocab_size:
            raise ValueError(f"shared needs one vocabulary size, got {source_vocab_size} and {target_vocab_size}")
        if source_lowercase:
            raise ValueError("source_lowercase needs a source vocabulary of its own, got shared=True")
        texts = (text for side in (sources, targets) for text in side)
        backend = _train_backend(
            texts, name="texts", kind=source_kind, vocab_size=source_vocab_size, min_frequency=min_frequency
        )
        return _wrap(backend, None, model_max_length)
    source = _train_backend(
        sources,
        name="sources",
        kind=source_kind,
        vocab_size=source_vocab_size,
        min_frequency=min_frequency,
        lowercase=source_lowercase,
    )
    target = _train_backend(
        targets, name="targets", kind=target_kind, vocab_size=target_vocab_size, min_frequency=min_frequency
    )
    return _wrap(source, target, model_max_length)


def _train_backend(
    texts: Iterable[str],
    *,
    name: str,
    kind: str,
    vocab_size: int | None,
    min_frequency: int,
    lowercase: bool = False,
) -> Tokenizer:
    if kind not in KINDS:
        raise ValueError(f"unknown tokenizer kind {kind!r}; choose from {', '.join(KINDS)}")
    if min_frequency < 1:
        raise ValueError(f"min_frequency must be at least 1, got {min_frequency}")
    backend, trainer_class = KINDS[kind]()
    least = len(SPECIAL_TOKENS) + (len(pre_tokenizers.ByteLevel.alphabet()) if kind == "bpe" else 1)
    if vocab_size is None:
        vocab_size = SUBWORD_VOCAB_SIZE if kind in ("wordpiece", "bpe") else 2**31
    if vocab_size < least:
        raise ValueError(f"vocab_size must be at least {least} for kind {kind!r}, got {vocab_size}")
    if lowercase:
        steps = [normalizers.Lowercase(), *([backend.normalizer] if backend.normalizer else [])]
        backend.normalizer = normalizers.Sequence(steps)
    settings: dict[str, Any] = {"min_frequency": min_frequency, "show_progress": False}
    if kind == "wordpiece":
        return _train_wordpiece(backend, list(_checked(texts, name)), vocab_size, settings)
    if kind == "bpe":
        settings["initial_alphabet"] = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainer_class(vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), **settings)
    backend.train_from_iterator(_checked(texts, name), trainer=trainer)
    return backend


def _train_wordpiece(backend: Tokenizer, texts: list[str], vocab_size: int, settings: dict[str, Any]) -> Tokenizer:
    """Two passes: the trainer numbers the pieces ``##x`` in no fixed order, and breaks ties of merges by number.

    The first pass finds the single characters; given back in order, they make the second one repeatable.
    """
    settings["limit_alphabet"] = max((vocab_size - len(SPECIAL_TOKENS)) // 2, 1)  # each can occur as x and as ##x

    def train(first: list[str], size: int) -> dict[str, int]:
        trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=first, **settings)
        trained = Tokenizer(models.WordPiece(unk_token=UNK))
        trained.normalizer, trained.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
        trained.train_from_iterator(texts, trainer=trainer)
        return trained.get_vocab(with_added_tokens=False)

    specials = list(SPECIAL_TOKENS)
    characters = sorted(set(train(specials, 1)) - set(specials))
    vocab = train(specials + characters, vocab_size)
    backend.model = models.WordPiece(vocab, unk_token=UNK)
    backend.add_special_tokens(specials)
    return backend


def _checked(texts: Iterable[str], name: str) -> Iterator[str]:
    """The texts, each a str that UTF-8 can hold."""
    row = -1
    texts = texts[:] if isinstance(texts, Sequence) else texts  # a column of a dataset is slow to walk through
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{name}[{row}] must be a str, got {type(text).__name__}")
        yield clean_text(text, name)
    if row < 0:
        raise ValueError(f"{name} is empty: a tokenizer needs texts to train on")


def _wrap(source: Tokenizer, target: Tokenizer | None, model_max_length: int | None) -> RnnAttnTokenizer:
    return RnnAttnTokenizer(
        tokenizer_object=source,
        target_tokenizer_object=target,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        split_special_tokens=True,
        model_max_length=model_max_length,
    )
