"""Attention that reads one position a step learns which one, by reward and as an exact sum."""

from pathlib import Path

import pytest

from learned import SEEDS, committed, learn

KINDS = ("reinforce", "marginal")


def test_committed_results_are_three_seeds_that_read_the_right_position() -> None:
    seeds = committed("hard_attention")
    assert [measured["seed"] for measured in seeds] == SEEDS
    assert all(measured["marginal"] == {"sequences": 1.0, "positions": 1.0} for measured in seeds)
    assert [measured["reinforce"]["sequences"] for measured in seeds].count(1.0) == 2
    assert all(measured["reinforce"]["positions"] > 0.95 for measured in seeds)


@pytest.mark.slow
def test_both_kinds_learn_a_cipher(tmp_path: Path) -> None:
    measured = learn("hard_attention", tmp_path)
    for kind in KINDS:
        assert measured[kind]["sequences"] > 0.95
