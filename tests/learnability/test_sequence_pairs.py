"""What benchmarks say of sequences that models write is what ``generate()`` writes."""

import pytest
import torch
from narrow_presets import narrow
from sequence_pairs import END, FIRST_SYMBOL, PAD, batches, check_generation, generated, share, written

SOURCES = [[3, 4, 5], [6, 7], [8, 3, 3, 9, 5]]


@pytest.fixture
def model():
    torch.manual_seed(1)
    return narrow("bahdanau", width=16, layers=1, vocab_size=12, init_std=1.0).eval()


def test_one_pass_tells_what_generate_writes(model):
    rows = generated(model, [(source, [END] * 9) for source in SOURCES])
    ended = [row if row[-1] == END else [*row, END] for row in rows]
    assert len({tuple(row) for row in rows}) == 3  # the model tells the sources apart
    pairs = [(source, row) for source, row in zip(SOURCES, ended, strict=True)]
    right = written(model, pairs)
    assert right == [row[-1] == END for row in rows]
    check_generation(model, pairs, right)
    changed = [(source, [FIRST_SYMBOL if row[0] != FIRST_SYMBOL else 4, *row[1:]]) for source, row in pairs]
    assert written(model, changed) == [False] * 3
    with pytest.raises(RuntimeError, match="but one pass says True"):
        check_generation(model, changed, [True] * 3)


def test_a_round_of_batches_holds_every_pair_once_and_like_lengths_together():
    pairs = [([3] * (1 + i % 7), [4 + i, END]) for i in range(64)]
    drawn = batches(pairs, 8, seed=0)
    rounds = [[next(drawn) for _ in range(8)] for _ in range(2)]
    for each in rounds:
        assert sorted(int(row[0]) for batch in each for row in batch["labels"]) == list(range(4, 68))
        assert sum(int((batch["input_ids"] == PAD).sum()) for batch in each) <= 64
    assert any(not torch.equal(a["labels"], b["labels"]) for a, b in zip(*rounds, strict=True))


def test_a_share_is_100_only_if_all_are_right():
    assert share([True] * 3) == 100.0
    assert share([True] * 9999 + [False]) == 99.9
    assert share([True, False, False]) == 33.3
