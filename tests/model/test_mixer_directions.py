"""Encoders read from the left, from the right, or both ways."""

import pytest
import torch
from torch.testing import assert_close

from hf_rnnattn.model.mixer_directions import MERGES, DirectionalMixer
from hf_rnnattn.model.mixers import MIXERS
from recurrent_cells import CLOSE, HIDDEN, INPUT, RECURRENT, holes

PLAIN = [name for name in RECURRENT if not MIXERS[name].reads_memory]
each_cell = pytest.mark.parametrize("name", PLAIN)
each_merge = pytest.mark.parametrize("merge", MERGES)
BATCH, LENGTH = 4, 7


def build(name, direction="both", merge="concat_project"):
    sizes = {"input_size": INPUT, "hidden_size": HIDDEN}
    return DirectionalMixer.build(MIXERS[name], **sizes, direction=direction, merge=merge).double()


def inputs():
    return torch.randn(BATCH, LENGTH, INPUT, dtype=torch.float64), holes(BATCH, LENGTH)


@each_cell
def test_forward_is_the_cell(name):
    mixer = build(name, "forward")
    x, mask = inputs()
    assert mixer.backward_cell is None
    assert torch.equal(mixer(x, mask).hidden, mixer.forward_cell(x, mask, return_state=False).hidden)


@each_cell
def test_backward_is_the_cell_on_the_reversed_valid_tokens(name):
    mixer = build(name, "backward")
    x, mask = inputs()
    assert mixer.forward_cell is None
    got = mixer(x, mask).hidden
    for row in range(BATCH - 1):  # the last row is all padding
        valid = mask[row].nonzero().flatten()
        alone = mixer.backward_cell(x[row : row + 1, valid.flip(0)]).hidden.flip(1)
        assert_close(got[row : row + 1, valid], alone, **CLOSE)


@each_cell
@each_merge
def test_both_merges_the_two_halves(name, merge):
    mixer = build(name, "both", merge)
    x, mask = inputs()
    forward = mixer.forward_cell(x, mask).hidden
    backward = mixer.backward_cell(x.flip(1), mask.flip(1)).hidden.flip(1)
    joined = torch.cat([forward, backward], dim=-1)
    want = {
        "concat": lambda: joined,
        "separate": lambda: joined,
        "sum": lambda: forward + backward,
        "concat_project": lambda: mixer.merge_proj(joined),
    }[merge]()
    got = mixer(x, mask)
    assert got.hidden.shape == (BATCH, LENGTH, HIDDEN)
    assert got.state == {}
    assert_close(got.hidden, want, **CLOSE)


@each_cell
@each_merge
@pytest.mark.parametrize("places", [range(3, 10), range(7), (0, 1, 4, 5, 6, 8, 9)], ids=["left", "right", "inner"])
def test_padding_on_any_side_changes_nothing(name, merge, places):
    mixer = build(name, "both", merge)
    x, _ = inputs()
    places = torch.tensor(list(places))
    padded, mask = torch.zeros(BATCH, 10, INPUT, dtype=x.dtype), torch.zeros(BATCH, 10, dtype=torch.bool)
    padded[:, places], mask[:, places] = x, True
    assert_close(mixer(padded, mask).hidden[:, places], mixer(x).hidden, **CLOSE)


@each_cell
def test_swapped_halves_are_the_halves_the_other_way_round(name):
    mixer, (x, mask) = build(name, "both_swapped", "concat"), inputs()
    both = DirectionalMixer(mixer.forward_cell, mixer.backward_cell, "concat")
    assert torch.equal(mixer(x, mask).hidden, both(x, mask).hidden.roll(HIDDEN // 2, dims=-1))


@each_cell
@pytest.mark.parametrize("direction", ["both", "both_swapped"])
def test_separate_stacks_read_their_own_half_of_the_layer_below(name, direction):
    """A change in one half of the input changes the same half of the output and nothing else."""
    mixer = DirectionalMixer.build(
        MIXERS[name], input_size=6, hidden_size=HIDDEN, direction=direction, merge="separate", first=False
    ).double()
    x, half = torch.randn(BATCH, LENGTH, 6, dtype=torch.float64), HIDDEN // 2
    before = mixer(x).hidden
    x[..., :3] += 1.0
    after = mixer(x).hidden
    assert torch.equal(after[..., half:], before[..., half:])
    assert not torch.allclose(after[..., :half], before[..., :half])


def test_every_parameter_gets_a_gradient():
    for name in PLAIN:
        for merge in MERGES:
            mixer = build(name, "both", merge)
            mixer(inputs()[0]).hidden.square().sum().backward()
            assert all(parameter.grad.any() for parameter in mixer.parameters()), (name, merge)


def test_choices_that_do_not_exist_are_refused():
    sizes = {"input_size": INPUT, "hidden_size": HIDDEN}
    with pytest.raises(ValueError, match="direction must be one of forward, backward, both, both_swapped, got 'up'"):
        DirectionalMixer.build(MIXERS["gru"], **sizes, direction="up", merge="sum")
    with pytest.raises(ValueError, match="merge must be one of concat_project, concat, separate, sum, got 'max'"):
        DirectionalMixer.build(MIXERS["gru"], **sizes, direction="both", merge="max")
    odd = {"input_size": 5, "hidden_size": 4, "direction": "both", "merge": "separate", "first": False}
    with pytest.raises(ValueError, match="input_size must be even to be read in halves, got 5"):
        DirectionalMixer.build(MIXERS["gru"], **odd)
    with pytest.raises(ValueError, match=r"hidden_size must be even .* got 5"):
        DirectionalMixer.build(MIXERS["gru"], input_size=INPUT, hidden_size=5, direction="both", merge="concat")
    with pytest.raises(ValueError, match="BahdanauGRUMixer attends to the encoder"):
        DirectionalMixer.build(MIXERS["bahdanau_gru"], **sizes)
