"""A trained encoder beats the same model from random weights on few examples."""

import shutil
from pathlib import Path

import pytest

from learned import learn

BETTER = 0.15


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the examples are those of Debian's lists of packages")
def test_a_trained_encoder_needs_fewer_examples(tmp_path: Path) -> None:
    measured = learn("bert2rnn", tmp_path)
    assert measured["pretrained"]["right"] > measured["from_scratch"]["right"] + BETTER
