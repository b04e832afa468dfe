"""Encoding and collating: what a batch holds, what is cut, what is refused."""

import logging

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    DataCollatorForSeq2Seq,
    MarianConfig,
    MarianMTModel,
    Seq2SeqTrainingArguments,
)

from hf_rnnattn.data_encoding import LENGTH_COLUMN, RnnAttnDataCollator, encode_dataset
from hf_rnnattn.tokenizer_training import train_tokenizer, train_tokenizers

ROWS = {
    "source": ["abc", "abcdefgh", "a"],
    "target": ["A B C", "A B C D E F G H", "A"],
    "pair": ["b", "c", "h"],
}
SIZES = {
    "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 1, "decoder_attention_heads": 1,
    "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizers(ROWS["source"], ROWS["target"], source_kind="char", target_kind="whitespace")


@pytest.fixture
def dataset():
    return Dataset.from_dict({side: ROWS[side] for side in ("source", "target")})


def encode(dataset, tokenizer, source=20, target=20, **options):
    return encode_dataset(dataset, tokenizer, max_source_length=source, max_target_length=target, **options)


def row(source: list[int], labels: list[int] | None = None) -> dict:
    return {"input_ids": source, **({} if labels is None else {"labels": labels})}


def bart(vocab_size: int) -> BartForConditionalGeneration:
    return BartForConditionalGeneration(BartConfig(vocab_size=vocab_size, **SIZES))


def test_every_row_holds_ids_labels_and_its_length(dataset, tokenizer):
    encoded = encode(dataset, tokenizer)
    assert set(encoded.column_names) == {"input_ids", "attention_mask", "labels", LENGTH_COLUMN}
    for i, entry in enumerate(encoded):
        one = tokenizer(ROWS["source"][i], text_target=ROWS["target"][i])
        assert entry["input_ids"] == one["input_ids"]
        assert entry["labels"] == one["labels"]
        assert entry[LENGTH_COLUMN] == len(one["input_ids"])


def test_a_pair_becomes_the_second_segment(tokenizer):
    encoded = encode(Dataset.from_dict(ROWS), tokenizer)
    assert encoded["token_type_ids"][0] == [0, 0, 0, 0, 1, 1]
    batch = RnnAttnDataCollator(tokenizer)(list(encoded))
    assert batch["token_type_ids"].tolist()[0] == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def test_a_prefix_stands_before_every_source(dataset, tokenizer):
    encoded = encode(dataset, tokenizer, source_prefix="ba")
    assert encoded["input_ids"][2] == tokenizer("baa")["input_ids"]


def test_long_texts_are_cut_before_the_end_token_and_counted(dataset, tokenizer, caplog):
    with caplog.at_level(logging.WARNING, logger="hf_rnnattn.data_encoding"):
        encoded = encode(dataset, tokenizer, source=4, target=3, name="train")
    assert encoded["input_ids"][1] == tokenizer("abc")["input_ids"]
    assert encoded["labels"][1] == tokenizer(text_target="A B")["input_ids"]
    assert encoded[LENGTH_COLUMN][1] == 4
    assert caplog.messages == [
        "train: 1 of 3 sources are longer than max_source_length = 4 tokens and were cut",
        "train: 2 of 3 targets are longer than max_target_length = 3 tokens and were cut",
    ]


def test_texts_that_fit_raise_no_warning(dataset, tokenizer, caplog):
    encode(dataset, tokenizer, source=9, target=9)
    assert not caplog.messages


def test_encoding_in_several_processes_gives_the_same(dataset, tokenizer):
    assert encode(dataset, tokenizer, num_proc=2).to_list() == encode(dataset, tokenizer).to_list()


def test_what_cannot_be_encoded_is_named(dataset, tokenizer):
    with pytest.raises(ValueError, match="max_target_length must be at least 2, got 1"):
        encode(dataset, tokenizer, target=1)
    with pytest.raises(ValueError, match="test has no column 'target'; it has source"):
        encode(dataset.remove_columns("target"), tokenizer, name="test")


def test_a_batch_is_padded_as_transformers_pads_it(dataset, tokenizer):
    entries = [dict(entry) for entry in encode(dataset, tokenizer)]
    batch = RnnAttnDataCollator(tokenizer)(entries)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (3, 9)
    assert batch["labels"].shape == (3, 9)
    assert batch["labels"][2].tolist() == [*entries[2]["labels"], *[-100] * 7]
    assert LENGTH_COLUMN not in batch
    assert LENGTH_COLUMN in entries[0]  # the rows themselves are left alone
    for entry in entries:
        entry.pop(LENGTH_COLUMN)
    theirs = DataCollatorForSeq2Seq(tokenizer)(entries)
    assert all(torch.equal(batch[key], theirs[key]) for key in theirs)


def test_the_model_makes_the_decoder_input(dataset, tokenizer):
    shared = train_tokenizer(["abcdefgh ABCDEFGH"], kind="char")
    model = bart(len(shared))
    batch = RnnAttnDataCollator(shared, model=model)([row([4, 2], [5, 6, 2]), row([4, 2], [5, 2])])
    expected = model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
    assert torch.equal(batch["decoder_input_ids"], expected)


def test_rows_may_be_arrays_or_tensors(tokenizer):
    batch = RnnAttnDataCollator(tokenizer, return_tensors="np")([row(np.array([4, 2]), np.array([4, 2]))])
    assert isinstance(batch["labels"], np.ndarray)
    with pytest.raises(ValueError, match=r"input_ids must be in \[0, 12\), got 99 at row 0, position 1"):
        RnnAttnDataCollator(tokenizer)([row(torch.tensor([4, 99]))])


@pytest.mark.parametrize("number", [20, 10**6, -1, -100])
def test_an_id_that_the_model_does_not_have_is_placed(number):
    collate = RnnAttnDataCollator(train_tokenizer(["abc"], kind="char"), model=bart(20))
    message = rf"input_ids must be in \[0, 20\), got {number} at row 1, position 3"
    with pytest.raises(ValueError, match=message):
        collate([row([4] * 9, [4]), row([4, 4, 4, number], [4])])


@pytest.mark.parametrize("number", [20, -1])
def test_a_label_that_the_model_does_not_have_is_placed(number):
    collate = RnnAttnDataCollator(train_tokenizer(["abc"], kind="char"), model=bart(20))
    with pytest.raises(ValueError, match=rf"labels must be in \[0, 20\), got {number} at row 0, position 2"):
        collate([row([4], [-100, 19, number])])


def test_each_side_is_checked_against_its_own_vocabulary(tokenizer):
    sizes = tokenizer.config_fields()
    assert (sizes["encoder_vocab_size"], sizes["vocab_size"]) == (12, 12)
    wide = train_tokenizers(["abc"], ["A B C D E F G H"], source_kind="char", target_kind="whitespace")
    RnnAttnDataCollator(wide)([row([6], [11])])
    with pytest.raises(ValueError, match=r"input_ids must be in \[0, 7\), got 11"):
        RnnAttnDataCollator(wide)([row([11], [6])])
    marian = MarianMTModel(
        MarianConfig(vocab_size=30, decoder_vocab_size=25, share_encoder_decoder_embeddings=False, pad_token_id=0,
                     decoder_start_token_id=0, eos_token_id=2, **SIZES)
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"labels must be in \[0, 25\), got 29"):
        RnnAttnDataCollator(wide, model=marian)([row([29], [29])])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "batch size is 0"),
        ([row([4, 2], [4]), row([], [4])], "source length is 0 at row 1"),
        ([row([4, 2], [])], "target length is 0 at row 0"),
    ],
)
def test_nothing_is_no_batch(tokenizer, rows, message):
    with pytest.raises(ValueError, match=message):
        RnnAttnDataCollator(tokenizer)(rows)


def test_the_length_column_is_the_one_that_the_trainer_sorts_by(tmp_path):
    assert Seq2SeqTrainingArguments(str(tmp_path)).length_column_name == LENGTH_COLUMN
