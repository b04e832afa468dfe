"""Trees of Python's expressions are written and read back, and scored by their brackets."""

import ast
from collections import Counter

import pytest
from python_trees import brackets_of, f1, parse

from learned import SEEDS, committed, learn

TREES = {
    "f.g(3)": "(Call (Attribute _ _ _ )Attribute _ _ _ )Call",
    "a": "_",
    "(a +\n b) * c": "(BinOp _ (BinOp _ _ _ )BinOp _ _ _ )BinOp",
    "a, b": "(Tuple _ _ _ )Tuple",
    "(a, b)": "(Tuple _ _ _ _ _ )Tuple",
    "f(*x, key='a' 'b')": "(Call _ _ (Starred _ _ )Starred _ (keyword _ _ (Constant _ _ )Constant )keyword _ )Call",
    "[x for x in y if x]": "(ListComp _ _ _ _ _ _ _ _ _ )ListComp",
    "a[1:b] # c": "(Subscript _ _ (Slice _ _ _ )Slice _ )Subscript",
}


@pytest.mark.parametrize("expression", TREES)
def test_the_tree_is_that_of_the_syntax(expression):
    sentence, tree = parse(expression)
    assert " ".join(tree) == TREES[expression]
    found = brackets_of(tree, len(sentence))
    node = ast.parse(f"({expression}\n)", mode="eval").body
    labels = {type(each).__name__ for each in ast.walk(node) if isinstance(each, ast.expr)}
    assert {label for label, _, _ in found} <= labels | {"keyword"}
    assert all(end - start > 1 for _, start, end in found)


def test_names_numbers_and_strings_are_just_that():
    sentence, _ = parse("spam.eggs(1, 'x', None) if not b else -2.0")
    assert " ".join(sentence) == "name . name ( number , string , None ) if not name else - number"
    with pytest.raises(SyntaxError):
        parse("a b")


@pytest.mark.parametrize(
    "tree",
    [
        *("(Call _ _ _", "(Call _ _ _ )BinOp", "(Call _ _ )Call", "(Call _ _ _ _ )Call", "_ _ _ )Call", ""),
        *("(Call _ _ )Call _", "_ _ _", "(Call _ _ _ )Call )Call", "(Call _ 2 _ _ )Call"),
    ],
)
def test_trees_that_are_not_well_formed_are_known(tree):
    assert brackets_of(tree.split(), 3) is None
    assert brackets_of(["(Call", "_", "_", "_", ")Call"], 3) == Counter({("Call", 0, 3): 1})


def test_f1_counts_brackets_of_the_same_label_and_place():
    right = parse("a.b(c)")[1]  # a Call of 6 tokens with an Attribute of 3
    other = ["(Call", "(Attribute", "_", "_", ")Attribute", "_", "_", "_", "_", ")Call"]
    assert f1([(right, right)], [6]) == 1.0
    assert f1([(other, right)], [6]) == 0.5
    assert f1([(right[:-1], right)], [6]) == 0.0
    assert f1([(right, right), (right[:-1], right)], [6, 6]) == pytest.approx(2 / 3)


def parses(measured):
    return measured["f1"] > 80.0 and measured["well_formed"] > 78.0


def test_committed_results_meet_the_bar():
    assert [measured["seed"] for measured in committed("parser")] == SEEDS
    for measured in committed("parser"):
        assert parses(measured), measured


@pytest.mark.slow
def test_the_parser_learns_to_write_trees(tmp_path):
    """Takes minutes."""
    measured = learn("parser", tmp_path)
    assert parses(measured), measured
