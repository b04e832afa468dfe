"""The fused cell knows the parity of strings longer than any in training; a transformer of its size does not."""

from pathlib import Path

import pytest

from learned import SEEDS, committed, learn

LONGEST = "256"  # bits; strings in training have 40 at most
ALL = 99.0  # percent; what a model that guesses knows is 50
GUESSING = 60.0


def test_committed_results_are_three_seeds_of_models_of_one_size() -> None:
    seeds = committed("parity")
    assert [measured["seed"] for measured in seeds] == SEEDS
    for measured in seeds:
        fused, transformer = measured["fused"], measured["transformer"]
        assert abs(fused["parameters"] / transformer["parameters"] - 1) < 0.05
        assert fused["accuracy"][LONGEST] >= ALL
        assert transformer["accuracy"][LONGEST] <= GUESSING


@pytest.mark.slow
def test_the_fused_cell_learns_parity_beyond_the_lengths_of_its_training(tmp_path: Path) -> None:
    measured = learn("parity", tmp_path)
    assert measured["fused"]["accuracy"][LONGEST] >= ALL
    assert measured["transformer"]["accuracy"][LONGEST] <= GUESSING
