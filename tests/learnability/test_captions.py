"""A recurrent decoder learns to name what is in pictures."""

import shutil
from pathlib import Path

import pytest

from learned import SEEDS, committed, learn

COUNTED, NAMED = 0.95, 0.6


def check(measured: dict) -> None:
    assert measured["scenes_with_the_right_number_of_items"] > COUNTED
    assert measured["items_of_those_named_rightly"] > NAMED


def test_the_committed_results_are_three_seeds_that_name_most_of_what_is_there() -> None:
    seeds = committed("captions")
    assert [measured["seed"] for measured in seeds] == SEEDS
    for measured in seeds:
        check(measured)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the images come in a package of Debian")
def test_a_decoder_learns_to_name_what_is_in_pictures(tmp_path: Path) -> None:
    check(learn("captions", tmp_path))
