"""A recurrent decoder learns to write down what a voice says."""

import shutil
from pathlib import Path

import pytest

from learned import SEEDS, committed, learn

KNOWN, NEW = 0.3, 0.9


def check(measured: dict) -> None:
    """Letters that are wrong of prompts that were heard in training, and of others."""
    assert measured["training"]["letter_error_rate"] < KNOWN
    assert measured["held_out"]["letter_error_rate"] < NEW


def test_the_committed_results_are_three_seeds_that_know_what_they_heard() -> None:
    seeds = committed("speech")
    assert [measured["seed"] for measured in seeds] == SEEDS
    for measured in seeds:
        check(measured)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the sounds come in a package of Debian")
def test_a_decoder_learns_to_write_down_what_it_hears(tmp_path: Path) -> None:
    check(learn("speech", tmp_path))
