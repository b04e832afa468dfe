"""Lists of words as tokenizers."""

import pytest
from transformers import AutoTokenizer

from hf_rnnattn.convert.word_vocabulary import tokenizer_from_words

SPECIALS = {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "unk": "<unk>"}
SOURCE = ["<unk>", "<pad>", "<s>", "</s>", "a", "b", "10\u00a0000", "▁"]
TARGET = ["<s>", "<pad>", "</s>", "<unk>", "X", "Y"]


def made(source=SOURCE, target=TARGET, *, source_ends_with_eos=True, **options):
    return tokenizer_from_words(
        source, target, **{**SPECIALS, "source_ends_with_eos": source_ends_with_eos, **options}
    )


def test_ids_are_the_places_in_the_lists():
    tokenizer = made()
    assert tokenizer(" a  b\tc\n", text_target="Y X").data == {
        "input_ids": [4, 5, 0, 3],
        "attention_mask": [1, 1, 1, 1],
        "labels": [5, 4, 2],
    }
    assert tokenizer.decode([0, 5, 4, 2, 1], skip_special_tokens=True) == "Y X"
    assert tokenizer.get_src_vocab() == {word: number for number, word in enumerate(SOURCE)}
    assert tokenizer.get_tgt_vocab() == {word: number for number, word in enumerate(TARGET)}


@pytest.mark.parametrize(("ends", "ids"), [(True, [4, 3]), (False, [4])])
def test_sources_end_as_the_toolkit_has_it_and_labels_always_end(ends, ids):
    tokenizer = made(source_ends_with_eos=ends)
    assert tokenizer("a").input_ids == ids
    assert tokenizer(text_target="X").input_ids == [4, 2]


def test_one_list_serves_both_sides():
    tokenizer = made(target=None)
    assert not tokenizer.has_target_vocabulary
    assert tokenizer("a", text_target="b").labels == [5, 3]
    assert tokenizer.decode([4, 5]) == "a b"


def test_labels_end_where_one_list_serves_both_sides_and_sources_do_not_end():
    tokenizer = made(target=None, source_ends_with_eos=False, source_split="characters")
    assert tokenizer("a b", text_target="a b").data == {
        "input_ids": [4, 7, 5],
        "attention_mask": [1, 1, 1],
        "labels": [4, 7, 5, 3],
    }


def test_a_word_spelt_like_a_special_token_gets_its_id():
    assert made()("a </s> b </s>b").input_ids == [4, 3, 5, 0, 3]


@pytest.mark.parametrize(
    ("split", "ids"),
    [("whitespace", [0, 0, 5, 3]), ("spaces", [6, 5, 3]), ("characters", [0, 0, 0, 0, 0, 0, 7, 5, 3])],
)
def test_words_end_where_the_split_says(split, ids):
    assert made(source_split=split)(" 10\u00a0000 b ").input_ids == ids


def test_characters_are_joined_without_spaces():
    tokenizer = made(SOURCE, None, source_split="characters")
    assert tokenizer("ab a").input_ids == [4, 5, 7, 4, 3]
    assert tokenizer.decode([4, 5, 7, 4, 3], skip_special_tokens=True) == "ab a"


def test_lower_case_is_read_where_asked():
    assert made(source_lowercase=True)("A B").input_ids == [4, 5, 3]
    assert made()("A B").input_ids == [0, 0, 3]


@pytest.mark.parametrize("split", ["whitespace", "spaces", "characters"])
def test_a_saved_tokenizer_is_the_same(split, tmp_path):
    tokenizer = made(source_ends_with_eos=False, source_split=split, source_lowercase=True)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("A b </s>", "c\u00a0a  b"):
        assert again(text, text_target=text).data == tokenizer(text, text_target=text).data
    assert again.config_fields() == tokenizer.config_fields()


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ([*SOURCE, "a"], {}, "words 4 and 8 of the source are both 'a'"),
        (SOURCE[1:], {}, "unk '<unk>' is no word of the source"),
        ([*SOURCE, 3], {}, "word 8 of the source must be a str, got int"),
        (SOURCE, {"source_split": "words"}, "source_split must be one of whitespace, spaces, characters, got 'words'"),
        (["<pad>", "<unk>", *SOURCE[2:]], {}, "must have one id on both sides, got 0"),
    ],
)
def test_lists_that_are_none_are_refused(source, options, message):
    with pytest.raises(ValueError, match=message):
        made(source, **options)
