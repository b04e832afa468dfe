"""A recurrent decoder learns to write down words that a voice says."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from learned import SEEDS, committed, learn

WRONG = 0.15  # of the words of new sentences as long as those of the training


def is_learnt(measured: dict[str, Any]) -> bool:
    """Heard words are known in new sentences; those never heard are not."""
    return bool(
        measured["sentences_of_3"]["word_error_rate"] < WRONG and measured["never_heard"]["word_error_rate"] > 0.9
    )


def test_committed_results_are_three_seeds_that_know_the_words_they_heard() -> None:
    assert [measured["seed"] for measured in committed("speech")] == SEEDS
    assert all(map(is_learnt, committed("speech")))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the sounds come in a package of Debian")
def test_a_decoder_learns_to_write_down_what_it_hears(tmp_path: Path) -> None:
    assert is_learnt(learn("speech", tmp_path))
