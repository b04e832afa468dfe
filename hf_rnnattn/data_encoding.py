"""From pairs of texts to padded batches: encoding with counted truncation, and a collator that checks ids."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import BatchEncoding, DataCollatorForSeq2Seq, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

LENGTH_COLUMN = "length"  # what the Trainer's group_by_length looks for


def encode_dataset(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_source_length: int,
    max_target_length: int,
    source_prefix: str = "",
    name: str = "data",
    num_proc: int | None = None,
) -> Dataset:
    """Encodes ``source`` (and ``pair``) and ``target`` into what the collator pads.

    The result has input_ids, attention_mask, token_type_ids (with a pair), labels without padding, and length, the
    number of source tokens. Texts that are too long are cut, and one warning says how many.

    Args:
        dataset: with the columns source and target, and pair if there is a second segment.
        max_source_length, max_target_length: bounds in tokens, special tokens included.
        source_prefix: put before every source, as T5 wants it.
        name: what the warning calls the data, ``train`` for example.
        num_proc: processes to encode with.

    Raises:
        ValueError: a bound is below 2, or a column is missing.
    """
    for field, bound in (("max_source_length", max_source_length), ("max_target_length", max_target_length)):
        if bound < 2:
            raise ValueError(f"{field} must be at least 2, got {bound}")
    missing = {"source", "target"} - set(dataset.column_names)
    if missing:
        raise ValueError(f"{name} has no column {min(missing)!r}; it has {', '.join(dataset.column_names)}")

    def encode(rows: Mapping[str, list[str]]) -> dict[str, list[Any]]:
        sources = [source_prefix + source for source in rows["source"]]
        pairs = {"text_pair": rows["pair"]} if "pair" in rows else {}
        inputs, cut_sources = _encode(tokenizer, max_source_length, text=sources, **pairs)
        targets, cut_targets = _encode(tokenizer, max_target_length, text_target=rows["target"])
        lengths = [len(ids) for ids in inputs["input_ids"]]
        cut = {"cut_source": cut_sources, "cut_target": cut_targets}
        return {**inputs, "labels": targets["input_ids"], LENGTH_COLUMN: lengths, **cut}

    encoded = dataset.map(
        encode, batched=True, remove_columns=dataset.column_names, num_proc=num_proc, desc=f"encoding {name}"
    )
    for side, bound in (("source", max_source_length), ("target", max_target_length)):
        cut = sum(encoded[f"cut_{side}"][:])  # as a list: a column of a dataset is slow to walk through
        if cut:
            logger.warning(
                "%s: %d of %d %ss are longer than max_%s_length = %d tokens and were cut",
                *(name, cut, len(encoded), side, side, bound),
            )
    return encoded.remove_columns(["cut_source", "cut_target"])


def _encode(tokenizer: PreTrainedTokenizerBase, bound: int, **texts: list[str]) -> tuple[BatchEncoding, list[bool]]:
    """The encoding, cut to ``bound`` tokens, and which rows were cut."""
    whole = tokenizer(**texts, verbose=False)
    cut = [len(ids) > bound for ids in whole["input_ids"]]
    return (tokenizer(**texts, truncation=True, max_length=bound) if any(cut) else whole), cut


@dataclass
class RnnAttnDataCollator(DataCollatorForSeq2Seq):
    """``DataCollatorForSeq2Seq`` that refuses what a model would answer with an obscure error, or not at all.

    Sources are padded with the pad token, labels with -100, both on the tokenizer's padding side;
    ``decoder_input_ids`` are made from the labels if the collator has a model. Ids are checked against the model's
    vocabularies, or the tokenizer's without a model. A ``length`` column is dropped.

    Raises:
        ValueError: the batch, a source or a target is empty, or an id is out of range.
    """

    def __call__(self, features: Sequence[Mapping[str, Any]], return_tensors: str | None = None) -> Any:
        """One batch: input_ids, attention_mask (B, S), labels (B, T), and what else the rows hold."""
        rows = [{key: value for key, value in row.items() if key != LENGTH_COLUMN} for row in features]
        if not rows:
            raise ValueError("batch size is 0")
        for i, row in enumerate(rows):
            for side, key in (("source", "input_ids"), ("target", "labels")):
                if row.get(key) is not None and not len(row[key]):
                    raise ValueError(f"{side} length is 0 at row {i}")
        source_size, target_size = self._sizes()
        # before the model shifts the labels
        _check_ids([row["input_ids"] for row in rows], "input_ids", source_size)
        if rows[0].get("labels") is not None:
            _check_ids([row["labels"] for row in rows], "labels", target_size, self.label_pad_token_id)
        return super().__call__(rows, return_tensors)

    def _sizes(self) -> tuple[int, int]:
        if self.model is None:
            fields = getattr(self.tokenizer, "config_fields", lambda: {"vocab_size": len(self.tokenizer)})()
            return fields.get("encoder_vocab_size", fields["vocab_size"]), fields["vocab_size"]
        config = self.model.config
        source = getattr(config, "encoder_vocab_size", None) or config.get_text_config(encoder=True).vocab_size
        target = getattr(config, "decoder_vocab_size", None) or config.get_text_config(decoder=True).vocab_size
        return source, target


def _check_ids(rows: Sequence[Sequence[int]], name: str, size: int, ignored: int | None = None) -> None:
    """Raises ValueError unless all ids are in [0, size), or ``ignored``."""
    for i, row in enumerate(rows):
        ids = row.tolist() if hasattr(row, "tolist") else row
        if min(ids) >= 0 and max(ids) < size:
            continue
        for position, number in enumerate(ids):
            if not 0 <= number < size and number != ignored:
                raise ValueError(f"{name} must be in [0, {size}), got {number} at row {i}, position {position}")
