"""Pairs of texts out of local files; what is wrong with one is said with its name, the line or row, and the column."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from .model.tokenizer_files import clean_text

SIDES = ("source", "target", "pair")
_ROWS_AT_ONCE = 50_000
_LONGEST_FIELD = 2**31 - 1

Row = tuple[str, Mapping[str, Any]]  # where it stands ("line 3"), and its columns


def read_pairs(
    path: str | Path,
    *,
    source_column: str | None = None,
    target_column: str | None = None,
    pair_column: str | None = None,
) -> Dataset:
    """Reads a csv, tsv, json, jsonl or parquet file.

    csv and tsv files start with a header, and quote fields as spreadsheets do. A json file holds a list of objects, an
    object whose ``data`` is one, or one object a line as jsonl does. Texts are UTF-8. In errors a *line* is one of the
    file, the first one (the header) being 1; a *row*, where there are no lines, counts from 1.

    Raises:
        ValueError: the file is empty, not UTF-8 or not valid, a column is missing, or a text is missing or empty.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise ValueError(f"{path}: unknown kind of file {path.suffix!r}; choose from {', '.join(_READERS)}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    if path.suffix.lower() != ".parquet":
        _check_utf8(path)
    parts: list[Dataset] = []
    texts: dict[str, list[str]] = {}
    columns: dict[str, str] = {}
    for place, row in _READERS[path.suffix.lower()](path):
        if not columns:
            columns = choose_columns(path, list(row), source_column, target_column, pair_column)
            texts = {side: [] for side in columns}
        for side, column in columns.items():
            if column not in row:
                raise ValueError(f"{path}, {place}: there is no column {column!r}")
            texts[side].append(check_text(row[column], f"{path}, {place}", column))
        if len(texts["source"]) == _ROWS_AT_ONCE:
            parts.append(Dataset.from_dict(texts))
            texts = {side: [] for side in columns}
    if not columns:
        raise ValueError(f"{path} holds no rows")
    if texts["source"]:
        parts.append(Dataset.from_dict(texts))
    return concatenate_datasets(parts) if len(parts) > 1 else parts[0]


def choose_columns(
    where: object, names: list[str], source: str | None, target: str | None, pair: str | None
) -> dict[str, str]:
    """Which column holds which side.

    A side without a name takes the column of its own name if there is one, and else the first that is left; the pair
    is only there if named. Columns inside another (``translation: {en, de}``) are ``translation.en``, or just ``en``.

    Raises:
        ValueError: a column is not there.
    """

    def find(name: str) -> str:
        nested = [column for column in names if column.endswith(f".{name}")]
        if name in names:
            return name
        if len(nested) == 1:
            return nested[0]
        raise ValueError(f"{where} has no column {name!r}; it has {', '.join(names)}")

    chosen = {side: find(name) for side, name in zip(SIDES, (source, target, pair), strict=True) if name is not None}
    for side in ("source", "target"):
        if side not in chosen:
            left = [name for name in names if name not in chosen.values()]
            if not left:
                raise ValueError(f"{where} has no column for the {side}; it has {', '.join(names)}")
            other = {"source", "target"} - {side}
            chosen[side] = side if side in left else next((name for name in left if name not in other), left[0])
    return {side: chosen[side] for side in SIDES if side in chosen}


def check_text(value: Any, where: str, column: str) -> str:
    """The text, with lone surrogates replaced.

    Raises:
        ValueError: it is missing, empty, or no text.
    """
    if value is None:
        raise ValueError(f"{where}, column {column!r}: there is no text")
    if not isinstance(value, str):
        raise ValueError(f"{where}, column {column!r}: expected text, got {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{where}, column {column!r}: the text is empty")
    cleaned: str = clean_text(value, column)
    return cleaned


def _check_utf8(path: Path) -> None:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise ValueError(
                    f"{path}, line {number}, column {error.start + 1}: not UTF-8 (byte 0x{byte:02x})"
                ) from error


def _csv_rows(path: Path, delimiter: str) -> Iterator[Row]:
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header: list[str] | None = None
            for line, fields in _csv_lines(reader, path):
                if header is None:
                    header = _header(fields, path)
                elif len(fields) != len(header):
                    raise ValueError(f"{path}, line {line}: {len(fields)} fields, but the header has {len(header)}")
                else:
                    yield f"line {line}", dict(zip(header, fields, strict=True))
    finally:
        csv.field_size_limit(limit)


def _csv_lines(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Records that are not blank, and the line where each begins."""
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {line}: {error} (is a quotation mark left open?)") from error


def _header(fields: list[str], path: Path) -> list[str]:
    twice = sorted({name for name in fields if fields.count(name) > 1})
    if twice:
        raise ValueError(f"{path}, line 1: column {twice[0]!r} is there twice")
    return fields


def _json_rows(path: Path) -> Iterator[Row]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # a first object is complete and more follows: one object a line
            yield from _json_line_rows(path)
            return
        raise ValueError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from error
    if isinstance(data, dict) and isinstance(data.get("data"), list):
        data = data["data"]
    yield from _objects(
        ((f"row {i}", value) for i, value in enumerate(data if isinstance(data, list) else [data], 1)), path
    )


def _json_line_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        yield from _objects(_json_lines(file, path), path)


def _json_lines(file: Iterable[str], path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not valid JSON: {error.msg}") from error


def _objects(values: Iterable[tuple[str, Any]], path: Path) -> Iterator[Row]:
    for place, value in values:
        if not isinstance(value, dict):
            raise ValueError(f"{path}, {place}: expected an object with named texts, got {type(value).__name__}")
        yield place, _flat(value)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Columns inside a column get its name before theirs: ``translation.en``."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        inner = _flat(value) if isinstance(value, dict) else None
        flat.update({name: value} if inner is None else {f"{name}.{key}": item for key, item in inner.items()})
    return flat


def _parquet_rows(path: Path) -> Iterator[Row]:
    from pyarrow import ArrowInvalid, parquet

    try:
        batches = parquet.ParquetFile(path).iter_batches()
        for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), start=1):
            yield f"row {number}", _flat(row)
    except ArrowInvalid as error:
        raise ValueError(f"{path} is not valid parquet: {str(error).splitlines()[0]}") from error


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": lambda path: _csv_rows(path, ","),
    ".tsv": lambda path: _csv_rows(path, "\t"),
    ".json": _json_rows,
    ".jsonl": _json_line_rows,
    ".parquet": _parquet_rows,
}
