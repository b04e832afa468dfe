"""Training, validation and test data, from files or from a dataset by name.

Every split has the columns ``source`` and ``target``, and ``pair`` where a second segment of the source was named.
"""

import hashlib
from pathlib import Path

from datasets import Dataset, DatasetDict, load_dataset

from .data import check_text, choose_columns, read_pairs

SPLIT_NAMES = {"valid": "validation", "dev": "validation", "val": "validation", "eval": "validation"}
VALIDATION_FRACTION = 0.05  # of the sources, held out where no validation data is given
_ROWS_AT_ONCE = 10_000


def load_splits(
    *,
    train_file: str | Path | None = None,
    validation_file: str | Path | None = None,
    test_file: str | Path | None = None,
    dataset: str | None = None,
    dataset_config: str | None = None,
    source_column: str | None = None,
    target_column: str | None = None,
    pair_column: str | None = None,
    validation_fraction: float = VALIDATION_FRACTION,
    seed: int = 0,
) -> DatasetDict:
    """Loads the splits that are there, from files or from a dataset by name.

    Args:
        train_file, validation_file, test_file: see ``read_pairs``.
        dataset, dataset_config: name and configuration for ``datasets.load_dataset``, instead of files.
        source_column, target_column, pair_column: see ``choose_columns``.
        validation_fraction: share of the training sources to hold out if there is no validation split; 0 for none.
        seed: chooses which.

    Raises:
        ValueError: files and a name are given, or neither; or the data is not as ``read_pairs`` wants it.
        OSError: a file cannot be read, or a dataset cannot be found or downloaded.
    """
    files = {"train": train_file, "validation": validation_file, "test": test_file}
    files = {split: path for split, path in files.items() if path is not None}
    if (dataset is None) == (not files):
        raise ValueError("give either files (train_file, validation_file, test_file) or the name of a dataset")
    columns = {"source_column": source_column, "target_column": target_column, "pair_column": pair_column}
    if dataset is None:
        splits = DatasetDict({split: read_pairs(path, **columns) for split, path in files.items()})
    else:
        splits = load_named(dataset, dataset_config, **columns)
    if "train" in splits and "validation" not in splits and validation_fraction:
        splits["train"], splits["validation"] = hold_out(splits["train"], validation_fraction, seed=seed)
    return splits


def load_named(
    name: str,
    config_name: str | None = None,
    *,
    source_column: str | None = None,
    target_column: str | None = None,
    pair_column: str | None = None,
) -> DatasetDict:
    """Loads a dataset of the Hub, or of a folder, by name; splits called valid, val, dev or eval become validation.

    Raises:
        ValueError: it has no split, a column is missing, or a text is missing or empty.
        OSError: it cannot be found or, without a network, not downloaded.
    """
    try:
        loaded = load_dataset(name, config_name)
    except (OSError, ValueError, RuntimeError) as error:
        raise OSError(f"dataset {name!r} cannot be loaded: {' '.join(str(error).split())}") from error
    splits = DatasetDict()
    for split, dataset in loaded.items():
        where = f"dataset {name!r}, split {split!r}"
        flat = dataset.flatten()
        columns = choose_columns(where, flat.column_names, source_column, target_column, pair_column)
        _check_rows(flat, columns, where)
        splits[SPLIT_NAMES.get(split, split)] = _only_sides(flat, columns)
    return splits


def _check_rows(dataset: Dataset, columns: dict[str, str], where: str) -> None:
    if not len(dataset):
        raise ValueError(f"{where} holds no rows")
    for start in range(0, len(dataset), _ROWS_AT_ONCE):
        rows = dataset[start : start + _ROWS_AT_ONCE]
        for column in columns.values():
            for number, value in enumerate(rows[column], start=start + 1):
                check_text(value, f"{where}, row {number}", column)


def _only_sides(dataset: Dataset, columns: dict[str, str]) -> Dataset:
    """Columns named by their side; one column may be two sides."""
    first = {column: side for side, column in reversed(columns.items())}
    sides = dataset.select_columns(list(first)).rename_columns(first)
    for side, column in columns.items():
        if side not in sides.column_names:
            sides = sides.add_column(side, list(sides[first[column]]))
    return sides


def hold_out(dataset: Dataset, fraction: float, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Splits off about ``fraction`` of the sources, chosen by their hash: the same ones in whatever order rows come.

    All rows with one source fall on one side. At least one source is held out.

    Raises:
        ValueError: fraction is not in (0, 1), or all rows have the same source.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction must be in (0, 1), got {fraction}")
    places = sorted((hash_place(source, seed), source) for source in dataset.unique("source"))
    if len(places) < 2:
        raise ValueError("the training data has one source only: nothing can be held out for validation")
    count = sum(place < fraction for place, _ in places)
    held = {source for _, source in places[: min(max(count, 1), len(places) - 1)]}
    sources = dataset["source"][:]  # as a list: a column of a dataset is slow to walk through
    train = [row for row, source in enumerate(sources) if source not in held]
    validation = [row for row, source in enumerate(sources) if source in held]
    return dataset.select(train), dataset.select(validation)


def hash_place(text: str, seed: int = 0) -> float:
    """A place in [0, 1) that depends on the text and the seed only, evenly spread."""
    digest = hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
