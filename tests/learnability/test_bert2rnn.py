"""A trained encoder beats the same model from random weights on few examples."""

import shutil
from pathlib import Path

import pytest

from learned import SEEDS, committed, learn

BETTER = 0.15


def check(measured: dict) -> None:
    assert measured["pretrained"]["right"] > measured["from_scratch"]["right"] + BETTER


def test_the_committed_results_are_three_seeds_in_which_the_trained_encoder_is_ahead() -> None:
    seeds = committed("bert2rnn")
    assert [measured["seed"] for measured in seeds] == SEEDS
    for measured in seeds:
        check(measured)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the examples are those of Debian's lists of packages")
def test_a_trained_encoder_needs_fewer_examples(tmp_path: Path) -> None:
    check(learn("bert2rnn", tmp_path))
