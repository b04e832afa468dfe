"""Reading pairs of texts: every format gives the same, and every fault is named with file, row and column."""

import csv
import json
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_rnnattn.data import choose_columns, read_pairs

ROWS = [
    {"source": "one, two", "target": 'say "uno"'},
    {"source": "null", "target": "NA"},
    {"source": "two\nlines", "target": " très 東京 "},
]
SUFFIXES = ["csv", "tsv", "json", "jsonl", "parquet"]


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        Dataset.from_list(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_texts(tmp_path, suffix):
    dataset = read_pairs(write(tmp_path / f"data.{suffix}", ROWS))
    assert dataset.column_names == ["source", "target"]
    assert dataset.to_list() == ROWS


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.fixed_dictionaries(dict.fromkeys(("source", "target"), st.text(st.characters(codec="utf-8"), max_size=9))),
        min_size=1,
        max_size=4,
    ).filter(lambda rows: all(text.strip() for row in rows for text in row.values())),
    suffix=st.sampled_from(["csv", "tsv", "json", "jsonl"]),
)
def test_any_text_survives_a_file(tmp_path, rows, suffix):
    assert read_pairs(write(tmp_path / f"data.{suffix}", rows)).to_list() == rows


@pytest.mark.parametrize(
    "text",
    [
        '{"data": [{"a": "x", "b": "y"}]}',
        '[{"a": "x", "b": "y"}]',
        '{"a": "x", "b": "y"}',
        '{"a": "x", "b": "y"}\n\n',
        '\ufeff[{"a": "x", "b": "y"}]',
    ],
)
def test_json_comes_in_the_shapes_that_people_use(tmp_path, text):
    path = tmp_path / "data.json"
    path.write_text(text, encoding="utf-8")
    assert read_pairs(path).to_list() == [{"source": "x", "target": "y"}]


def test_a_json_file_may_hold_an_object_a_line(tmp_path):
    path = write(tmp_path / "data.jsonl", ROWS).rename(tmp_path / "data.json")
    assert read_pairs(path).to_list() == ROWS


def test_spreadsheets_start_with_a_byte_order_mark_and_may_hold_blank_lines(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("\ufeffsource,target\r\na,b\r\n\r\nc,d\r\n", encoding="utf-8", newline="")
    assert read_pairs(path).to_list() == [{"source": "a", "target": "b"}, {"source": "c", "target": "d"}]


def test_lone_surrogates_become_the_replacement_character(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"a": "x\\ud800", "b": "y"}', encoding="utf-8")
    assert read_pairs(path)[0]["source"] == "x\ufffd"


def test_columns_are_taken_by_name(tmp_path):
    path = write(tmp_path / "data.csv", [{"id": "1", "de": "ja", "en": "yes", "context": "?"}])
    dataset = read_pairs(path, source_column="en", target_column="de", pair_column="context")
    assert dataset.to_list() == [{"source": "yes", "target": "ja", "pair": "?"}]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_columns_inside_a_column_are_found(tmp_path, suffix):
    path = write(tmp_path / f"data.{suffix}", [{"id": "1", "translation": {"en": "yes", "de": "ja"}}])
    expected = [{"source": "yes", "target": "ja"}]
    assert read_pairs(path, source_column="en", target_column="de").to_list() == expected
    assert read_pairs(path, source_column="translation.en", target_column="translation.de").to_list() == expected


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (["a", "b"], (None, None, None), {"source": "a", "target": "b"}),
        (["x", "target", "source"], (None, None, None), {"source": "source", "target": "target"}),
        (["target", "x"], (None, None, None), {"source": "x", "target": "target"}),
        (["a", "b", "c"], ("b", None, None), {"source": "b", "target": "a"}),
        (["a", "b", "c"], (None, "a", "c"), {"source": "b", "target": "a", "pair": "c"}),
        (["a", "b"], ("a", "a", None), {"source": "a", "target": "a"}),
    ],
)
def test_sides_without_a_name_take_their_own_or_the_next_column(names, given, expected):
    assert choose_columns("data", names, *given) == expected


def fault(path: Path, **columns) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        read_pairs(path, **columns)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path.parent) + "/", "")


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    path = write(tmp_path / "data.csv", ROWS)
    assert fault(path, source_column="src") == "data.csv has no column 'src'; it has source, target"
    path = write(tmp_path / "one.csv", [{"source": "a"}])
    assert fault(path) == "one.csv has no column for the target; it has source"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("column", ["source", "target"])
def test_an_empty_text_is_named_with_its_place(tmp_path, suffix, column):
    rows = [dict(row) for row in ROWS]
    rows[1][column] = " "
    place = {"csv": "line 3", "tsv": "line 3", "jsonl": "line 2"}.get(suffix, "row 2")
    message = fault(write(tmp_path / f"data.{suffix}", rows))
    assert message == f"data.{suffix}, {place}, column '{column}': the text is empty"


def test_lines_are_those_of_the_file_though_a_text_has_several(tmp_path):
    path = write(tmp_path / "data.csv", [ROWS[2], ROWS[2], {"source": "", "target": "x"}])
    assert fault(path) == "data.csv, line 6, column 'source': the text is empty"


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_a_missing_text_is_named_with_its_place(tmp_path, suffix):
    path = write(tmp_path / f"data.{suffix}", [*ROWS, {"source": "a", "target": None}])
    assert fault(path).endswith(" 4, column 'target': there is no text")


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_a_number_is_no_text(tmp_path, suffix):
    path = write(tmp_path / f"data.{suffix}", [{"source": "a", "target": 3}])
    assert fault(path).endswith(" 1, column 'target': expected text, got int")


def test_a_row_without_the_column_is_named(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"a": "x", "b": "y"}\n{"a": "x"}\n', encoding="utf-8")
    assert fault(path) == "data.jsonl, line 2: there is no column 'b'"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file_is_named(tmp_path, suffix):
    path = tmp_path / f"data.{suffix}"
    path.touch()
    assert fault(path) == f"data.{suffix} is empty"


@pytest.mark.parametrize(("name", "text"), [("a.csv", "source,target\n"), ("a.json", "[]"), ("a.jsonl", "\n\n")])
def test_a_file_without_rows_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert fault(tmp_path / name) == f"{name} holds no rows"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl"])
def test_text_that_is_not_utf8_is_named_with_its_place(tmp_path, suffix):
    path = tmp_path / f"data.{suffix}"
    path.write_bytes("a,b\nx,é\n".encode("latin-1"))
    assert fault(path) == f"data.{suffix}, line 2, column 3: not UTF-8 (byte 0xe9)"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "a,b\n1,2,3\n", "a.csv, line 2: 3 fields, but the header has 2"),
        ("a.csv", "a,a\n1,2\n", "a.csv, line 1: column 'a' is there twice"),
        ("a.csv", 'a,b\nx,"y\nz\n', "a.csv, line 2: unexpected end of data (is a quotation mark left open?)"),
        ("a.jsonl", '{"a": "x", "b": "y"}\n{"a": \n', "a.jsonl, line 2: not valid JSON: Expecting value"),
        ("a.json", '[{"a": "x",\n "b" "y"}]', "a.json, line 2: not valid JSON: Expecting ':' delimiter"),
        ("a.json", '["x"]', "a.json, row 1: expected an object with named texts, got str"),
        ("a.parquet", "PAR1 no parquet", "a.parquet is not valid parquet: "),
        ("a.txt", "x", "a.txt: unknown kind of file '.txt'; choose from .csv, .tsv, .json, .jsonl, .parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert fault(tmp_path / name).startswith(message)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match=r"nowhere\.csv"):
        read_pairs(tmp_path / "nowhere.csv")


def test_texts_may_be_longer_than_the_csv_module_expects(tmp_path):
    path = write(tmp_path / "data.csv", [{"source": "x" * 200_000, "target": "y"}])
    limit = csv.field_size_limit()
    assert len(read_pairs(path)[0]["source"]) == 200_000
    assert csv.field_size_limit() == limit


def test_many_rows_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_rnnattn.data._ROWS_AT_ONCE", 3)
    rows = [{"source": f"s{i}", "target": f"t{i}"} for i in range(9)]
    assert read_pairs(write(tmp_path / "data.csv", rows)).to_list() == rows
