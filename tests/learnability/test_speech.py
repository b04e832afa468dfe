"""A recurrent decoder learns to write down words that a voice says."""

import shutil
from pathlib import Path

import pytest

from learned import SEEDS, committed, learn

WRONG = 0.3  # of the letters of new sentences


def check(measured: dict) -> None:
    assert measured["sentences_of_3"]["letter_error_rate"] < WRONG
    # What was never heard is not known.
    assert measured["never_heard"]["word_error_rate"] > measured["sentences_of_3"]["word_error_rate"]


def test_the_committed_results_are_three_seeds_that_write_new_sentences() -> None:
    seeds = committed("speech")
    assert [measured["seed"] for measured in seeds] == SEEDS
    for measured in seeds:
        check(measured)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the sounds come in a package of Debian")
def test_a_decoder_learns_to_write_down_what_it_hears(tmp_path: Path) -> None:
    check(learn("speech", tmp_path))
