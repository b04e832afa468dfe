"""A neural Turing machine copies sequences that are twice as long as those of its training."""

from pathlib import Path

import pytest

from learned import SEEDS, committed, learn


def test_committed_results_are_three_seeds_that_copy_twice_the_length_of_training() -> None:
    seeds = committed("ntm_copy")
    assert [measured["seed"] for measured in seeds] == SEEDS
    for measured in seeds:
        assert measured["lstm"]["parameters"] > measured["ntm"]["parameters"]
        assert measured["ntm"]["copied"]["20"] > 0.99
        assert measured["ntm"]["copied"]["40"] > 0.9
        assert measured["lstm"]["copied"] == {"20": 0.0, "40": 0.0}


@pytest.mark.slow
def test_a_machine_learns_to_copy_twice_the_length_of_training(tmp_path: Path) -> None:
    measured = learn("ntm_copy", tmp_path)
    assert measured["ntm"]["copied"]["40"] > 0.9
