"""A pointer copies what training never showed."""

from pathlib import Path

import pytest

from learned import SEEDS, committed, learn


def test_committed_results_are_three_seeds_that_copy_what_they_never_saw() -> None:
    seeds = committed("copy_unseen")
    assert [measured["seed"] for measured in seeds] == SEEDS
    for measured in seeds:
        assert measured["pointer"]["seen"] > 0.99
        assert measured["pointer"]["unseen"] > 0.99
        assert measured["without_pointer"]["unseen"] == 0.0


@pytest.mark.slow
def test_a_pointer_learns_to_copy_what_it_never_saw(tmp_path: Path) -> None:
    measured = learn("copy_unseen", tmp_path)
    assert measured["pointer"]["unseen"] > 0.99
    assert measured["without_pointer"]["unseen"] == 0.0
