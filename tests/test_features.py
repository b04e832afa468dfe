"""The table of features names, for every entry of ours, a test that exists."""

import ast
import re

import pytest

from sources import PROJECT

PAGE = PROJECT / "docs" / "features.md"
ROWS = [
    line
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not re.match(r"\| (feature \||---)|\|---", line)
]
CELL = re.compile(r"\[\w+\]\(\.\./(tests/[\w/]+\.py)\) `(test_\w+)`")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_a_row_has_four_columns_and_its_test_exists(row):
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == 5
    assert all(cells)
    path, name = CELL.fullmatch(cells[4]).groups()
    tree = ast.parse((PROJECT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_there_are_rows():
    assert len(ROWS) > 25
