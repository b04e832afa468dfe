"""Small models of the presets learn to copy, to reverse and to sort."""

import pytest

from learned import SEEDS, committed, learn

TASKS = ("copy", "reverse", "sort")
# More than so many per cent of held-out sequences, in every task. Stacks of self-attention, which take smaller steps,
# are still learning at the end of the budget, and so is one vector between the sides, least of all without gates.
BARS = {
    **dict.fromkeys(("bahdanau", "nematus", "luong-general", "luong-feed", "attention-cosine"), 99.0),
    "interleaved": 98.0,
    **dict.fromkeys(("transformer", "hybrid-transformer-rnn", "ssru-student-tiny"), 93.0),
    **dict.fromkeys(("lstm", "gru"), 88.0),
    "elman": 25.0,
}


def meets(measured):
    return {name: min(measured[name][task] for task in TASKS) > bar for name, bar in BARS.items()}


def test_committed_results_meet_the_bars():
    for measured in committed("sequences"):
        assert all(meets(measured).values()), meets(measured)
    assert [measured["seed"] for measured in committed("sequences")] == SEEDS


@pytest.mark.slow
def test_presets_learn_to_copy_reverse_and_sort(tmp_path):
    """Takes minutes: every preset is trained with one seed."""
    found = meets(learn("sequences", tmp_path))
    assert all(found.values()), found
