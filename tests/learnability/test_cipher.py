"""Attention that reads one position a step learns which one, by reward and as an exact sum."""

from pathlib import Path

import pytest

from learned import SEEDS, committed, learn

KINDS = ("reinforce", "marginal")


@pytest.mark.parametrize("kind", KINDS)
def test_committed_results_are_three_seeds_that_read_the_right_position(kind: str) -> None:
    seeds = committed("hard_attention")
    assert [measured["seed"] for measured in seeds] == SEEDS
    for measured in seeds:
        assert measured[kind]["sequences"] > 0.95
        assert measured[kind]["positions"] > 0.95


@pytest.mark.slow
def test_both_kinds_learn_a_cipher(tmp_path: Path) -> None:
    measured = learn("hard_attention", tmp_path)
    for kind in KINDS:
        assert measured[kind]["sequences"] > 0.95
