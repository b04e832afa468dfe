"""The tokenizer of the family: one vocabulary for both sides, or one for the source and one for the target.

``tokenizer.json`` holds the source side and, where the two differ (letters and phones, say), ``target_tokenizer.json``
holds the target side. As with ``MarianTokenizer``, ``text_target=`` encodes with the target vocabulary, and ``decode``
and ``batch_decode`` read the target vocabulary, since what a model generates is a target.
"""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import BatchEncoding

from .saving_rnnattn import save_at_once
from .tokenizer_files import check_ids, clean_text, decode, end_with, read_backend
from .transformers_versions import TokenizerHooks

TARGET_FILE = "target_tokenizer.json"
IGNORED_LABEL = -100  # the label that no loss counts; it stands in labels and predictions instead of padding


class RnnAttnTokenizer(TokenizerHooks):
    """Fast tokenizer with an optional vocabulary of its own for the target side.

        batch = tokenizer(sources, text_target=targets)   # input_ids, attention_mask, labels
        tokenizer.batch_decode(model.generate(...))       # target vocabulary
        tokenizer.decode(input_ids, use_source_tokenizer=True)

    Every sequence ends with ``eos_token``; ``bos_token`` is what the decoder starts from. A second segment
    (``text_pair``) gets ``token_type_ids`` of 1; without one, no ``token_type_ids`` are returned (the model takes
    zeros). Lone surrogates, which no UTF-8 text can hold, become U+FFFD; label -100 is skipped in decoding.

    ``len()``, ``get_vocab()``, ``add_tokens()`` and the special ids concern the source side, or the target side inside
    ``with tokenizer.as_target_tokenizer():``.

    Args:
        tokenizer_file, tokenizer_object: the source side, as a path or a ``tokenizers.Tokenizer``.
        target_tokenizer_file, target_tokenizer_object: the target side; None if both sides share one vocabulary.
        bos_token, eos_token, unk_token, pad_token: special tokens, the same strings on both sides.
        **kwargs: as for ``PreTrainedTokenizerFast`` (``model_max_length``, ``padding_side``, ...).

    Raises:
        ValueError: two tokens share an id, or an id is not below the size of its vocabulary; the target side lacks the
            end token, or its padding id is not the source side's.
        OSError: a file does not hold a tokenizer.
    """

    vocab_files_names = {"tokenizer_file": "tokenizer.json", "target_tokenizer_file": TARGET_FILE}
    model_input_names = ["input_ids", "attention_mask"]
    padding_side = "right"

    def __init__(
        self,
        tokenizer_file: str | os.PathLike[str] | None = None,
        target_tokenizer_file: str | os.PathLike[str] | None = None,
        *,
        tokenizer_object: Tokenizer | None = None,
        target_tokenizer_object: Tokenizer | None = None,
        bos_token: Any = "<s>",
        eos_token: Any = "</s>",
        unk_token: Any = "<unk>",
        pad_token: Any = "<pad>",
        **kwargs: Any,
    ) -> None:
        if tokenizer_object is None and tokenizer_file is not None:
            tokenizer_object = read_backend(tokenizer_file)
        if target_tokenizer_object is None and target_tokenizer_file is not None:
            target_tokenizer_object = read_backend(target_tokenizer_file)
        if tokenizer_object is None:
            raise ValueError("RnnAttnTokenizer needs tokenizer_file or tokenizer_object")
        check_ids(tokenizer_object.get_vocab().items())
        self._target_tokenizer: Tokenizer | None = None
        self._source_tokenizer: Tokenizer | None = None  # set while the target side is switched on
        super().__init__(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer_object,
            bos_token=bos_token,
            eos_token=eos_token,
            unk_token=unk_token,
            pad_token=pad_token,
            **kwargs,
        )
        if tokenizer_object.post_processor is None:
            end_with(self.active_backend, str(eos_token))
        if target_tokenizer_object is not None:
            self._target_tokenizer = self._prepare_target(target_tokenizer_object)

    def _prepare_target(self, target: Tokenizer) -> Tokenizer:
        """Checks the target side against the source side, and marks its special tokens as such."""
        check_ids(target.get_vocab().items())
        target = copy.deepcopy(target)
        target_pad = target.token_to_id(str(self.pad_token))
        if target_pad != self.pad_token_id:
            raise ValueError(
                f"pad_token {self.pad_token!r} must have one id on both sides, got {self.pad_token_id} in the source "
                f"vocabulary and {target_pad} in the target vocabulary"
            )
        if target.token_to_id(str(self.eos_token)) is None:
            raise ValueError(f"eos_token {self.eos_token!r} is not in the target vocabulary")
        known = [token for token in self.all_special_tokens if target.token_to_id(token) is not None]
        target.add_special_tokens(known)
        if target.post_processor is None:
            end_with(target, str(self.eos_token))
        target.no_padding()
        target.no_truncation()
        return target

    # Loading and saving

    @classmethod
    def load_files(
        cls, resolved_vocab_files: dict[str, Any], name: Any, *args: Any, **kwargs: Any
    ) -> "RnnAttnTokenizer":
        """Reads the two files itself: transformers would hide the reason why one is refused."""
        for key, file_name in cls.vocab_files_names.items():
            path = resolved_vocab_files.pop(key, None)
            side = key.replace("_file", "_object")
            if path is not None and kwargs.get(key) is None and kwargs.get(side) is None:
                kwargs[side] = read_backend(path, f"{file_name} in {name}")
        if kwargs.get("tokenizer_file") is None and kwargs.get("tokenizer_object") is None:
            raise OSError(f"no tokenizer.json in {name}")
        loaded: RnnAttnTokenizer = super().load_files(resolved_vocab_files, name, *args, **kwargs)
        return loaded

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Nothing to convert: both sides are already backend objects."""
        return kwargs

    def save_files(
        self,
        save_directory: str | os.PathLike[str],
        file_names: tuple[str, ...],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        self.switch_to_source()
        # what the last call padded and truncated to is no property of the tokenizer
        self.active_backend.no_padding()
        self.active_backend.no_truncation()
        names: tuple[str, ...] = super().save_files(save_directory, file_names, legacy_format, filename_prefix)
        if self._target_tokenizer is None:
            return names
        path = os.path.join(str(save_directory), _target_file(filename_prefix))
        self._target_tokenizer.save(path)
        return (*names, path)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> tuple[str, ...]:
        """As ever, but an error, as on a full disk, leaves the earlier files as they were."""

        def save(folder: str | os.PathLike[str], **more: Any) -> list[str]:
            options = {"legacy_format": legacy_format, "filename_prefix": filename_prefix, **kwargs, **more}
            names = super(RnnAttnTokenizer, self).save_pretrained(folder, **options)
            return [os.path.relpath(name, folder) for name in names or ()]

        names = save_at_once(save, save_directory, push_to_hub)
        if names and self._target_tokenizer is None:  # one with two sides may have left its own, which would be loaded
            Path(save_directory, _target_file(filename_prefix)).unlink(missing_ok=True)
        return tuple(os.path.join(save_directory, name) for name in names)

    # The two sides

    def switch_to_target(self) -> None:
        if self._target_tokenizer is not None and self._source_tokenizer is None:
            self._source_tokenizer, self.active_backend = self.active_backend, self._target_tokenizer

    def switch_to_source(self) -> None:
        if self._source_tokenizer is not None:
            self.active_backend.no_padding()
            self.active_backend.no_truncation()
            self.active_backend, self._source_tokenizer = self._source_tokenizer, None

    @contextmanager
    def as_target_tokenizer(self) -> Iterator[None]:
        """Within this context everything (encoding, ids, ``len``) concerns the target side."""
        self.stays_in_target_mode = True
        self.switch_to_target()
        try:
            yield
        finally:
            self.stays_in_target_mode = False
            self.switch_to_source()

    def _side(self, target: bool) -> Tokenizer:
        if target and self._target_tokenizer is not None:
            return self._target_tokenizer
        return self.active_backend if self._source_tokenizer is None else self._source_tokenizer

    @property
    def has_target_vocabulary(self) -> bool:
        """True if the target side has a vocabulary of its own."""
        return self._target_tokenizer is not None

    def get_src_vocab(self) -> dict[str, int]:
        """Token to id on the source side, added tokens included."""
        return dict(self._side(target=False).get_vocab())

    def get_tgt_vocab(self) -> dict[str, int]:
        """Token to id on the target side, added tokens included."""
        return dict(self._side(target=True).get_vocab())

    def config_fields(self) -> dict[str, int | None]:
        """The config fields that a tokenizer decides: the two sizes, and the special ids of the target side."""
        target = self._side(target=True)
        ids = {
            f"{name}_id": None if token is None else target.token_to_id(str(token))
            for name, token in (
                ("pad_token", self.pad_token),
                ("bos_token", self.bos_token),
                ("eos_token", self.eos_token),
            )
        }
        sizes = {
            "vocab_size": target.get_vocab_size(),
            "encoder_vocab_size": self._side(target=False).get_vocab_size(),
        }
        return {**sizes, **ids, "decoder_start_token_id": ids["bos_token_id"]}

    # Encoding and decoding

    def __call__(self, *args: Any, **kwargs: Any) -> BatchEncoding:
        """As ``PreTrainedTokenizerFast``; the side is restored even if a text is refused."""
        try:
            encoding: BatchEncoding = super().__call__(*args, **kwargs)
            return encoding
        finally:
            if self.stays_in_target_mode:
                self.switch_to_target()
            else:
                self.switch_to_source()

    def encode_texts(
        self, *, text: Any, text_pair: Any = None, return_token_type_ids: bool | None = None, **kwargs: Any
    ) -> BatchEncoding:
        if return_token_type_ids is None and "token_type_ids" not in self.model_input_names:
            nested = isinstance(text, (list, tuple)) and len(text) > 0 and isinstance(text[0], (list, tuple))
            return_token_type_ids = text_pair is not None or (nested and not kwargs.get("is_split_into_words"))
        encoding: BatchEncoding = super().encode_texts(
            text=clean_text(text, "text"),
            text_pair=None if text_pair is None else clean_text(text_pair, "text_pair"),
            return_token_type_ids=return_token_type_ids,
            **kwargs,
        )
        return encoding

    def decode_ids(  # type: ignore[override]
        self,
        token_ids: int | list[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        use_source_tokenizer: bool = False,
        **kwargs: Any,
    ) -> str:
        """``decode`` of one sequence: the target side, or the source side with ``use_source_tokenizer=True``."""
        ids = [token_ids] if isinstance(token_ids, int) else [int(i) for i in token_ids if i != IGNORED_LABEL]
        if ids and min(ids) < 0:
            raise ValueError(f"ids must be at least 0, or {IGNORED_LABEL} to be skipped, got {min(ids)}")
        side = self._side(target=self._target_tokenizer is not None and not use_source_tokenizer)
        text = decode(side, ids, skip_special_tokens)
        clean = (
            self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        )
        return self.clean_up_tokenization(text) if clean else text


def _target_file(prefix: str | None) -> str:
    return f"{prefix}-{TARGET_FILE}" if prefix else TARGET_FILE
