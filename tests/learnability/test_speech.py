"""A recurrent decoder learns to write down words that a voice says."""

import shutil
from pathlib import Path

import pytest

from learned import learn

WRONG = 0.7  # of the letters of new sentences


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the sounds come in a package of Debian")
def test_a_decoder_learns_to_write_down_what_it_hears(tmp_path: Path) -> None:
    measured = learn("speech", tmp_path)
    assert measured["sentences_of_3"]["letter_error_rate"] < WRONG
    # Words that were never heard are not known.
    assert measured["never_heard"]["word_error_rate"] > measured["sentences_of_3"]["word_error_rate"]
