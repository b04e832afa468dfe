"""A neural Turing machine learns to sort by priorities, better than an LSTM that is larger."""

from pathlib import Path
from typing import Any

import pytest

from learned import SEEDS, committed, learn

SORTED = 0.75  # of sequences as long as those of the training


def is_learnt(measured: dict[str, Any]) -> bool:
    return bool(measured["ntm"]["sorted"]["6"]["sequences"] > SORTED)


def test_committed_results_are_three_seeds_that_sort() -> None:
    seeds = committed("ntm_sort")
    assert [measured["seed"] for measured in seeds] == SEEDS
    assert all(map(is_learnt, seeds))
    for measured in seeds:
        assert measured["lstm"]["parameters"] > measured["ntm"]["parameters"]
        assert measured["ntm"]["sorted"]["6"]["sequences"] > measured["lstm"]["sorted"]["6"]["sequences"]


@pytest.mark.slow
def test_a_machine_learns_to_sort(tmp_path: Path) -> None:
    assert is_learnt(learn("ntm_sort", tmp_path))
