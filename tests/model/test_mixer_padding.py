"""Padding, the future and the other rows of the batch have no say in what a recurrent mixer computes."""

import pytest
import torch
from torch.testing import assert_close

from hf_rnnattn.model.attention import Memory
from recurrent_cells import BATCH, CLOSE, INPUT, RECURRENT, rows_of, setting

each_cell = pytest.mark.parametrize("name", RECURRENT)
masked = pytest.mark.parametrize("masked", [False, True], ids=["all_real", "masked"])


@each_cell
@pytest.mark.parametrize("side", ["left", "right", "inner"])
def test_padding_changes_neither_outputs_nor_state(name, side):
    cell, x, _, state, memory, _ = setting(name)
    places = {"left": range(3, 10), "right": range(7), "inner": [0, 1, 4, 5, 6, 8, 9]}[side]
    places = torch.tensor(list(places))
    padded, mask = torch.zeros(BATCH, 10, INPUT, dtype=x.dtype), torch.zeros(BATCH, 10, dtype=torch.bool)
    padded[:, places], mask[:, places] = x, True
    want, got = cell(x, None, state, memory), cell(padded, mask, state, memory)
    assert_close(got.hidden[:, places], want.hidden, **CLOSE)
    for key in want.state:
        assert_close(got.state[key], want.state[key], **CLOSE)


@each_cell
@pytest.mark.parametrize("return_state", [False, True])
def test_what_stands_in_padding_is_irrelevant_once_cleaned(name, return_state):
    """The model cleans with ``where``; then no output and no gradient sees NaN, and the gradient at padding is 0."""
    cell, x, mask, state, _, raw = setting(name, True)

    def run(dirt):
        dirty = torch.where(mask[..., None], x, dirt).requires_grad_()
        clean = torch.where(mask[..., None], dirty, 0.0)
        memory = None if raw is None else Memory(*cell.prepare_memory(*raw), raw[1])
        out = cell(clean, mask, state, memory, return_state=return_state)
        grads = torch.autograd.grad(out.hidden.square().sum(), [dirty, *cell.parameters()])
        return out.hidden, *grads

    zeros, nans = run(torch.zeros_like(x)), run(torch.full_like(x, torch.nan))
    for from_zeros, from_nans in zip(zeros, nans, strict=True):
        assert torch.equal(from_zeros, from_nans)
    assert not nans[1][~mask].any()


@each_cell
@pytest.mark.parametrize("return_state", [False, True])
def test_the_gradient_at_masked_inputs_is_exactly_zero(name, return_state):
    cell, x, mask, state, memory, _ = setting(name, True)
    out = cell(x.requires_grad_(), mask, state, memory, return_state=return_state)
    (grad,) = torch.autograd.grad(out.hidden.square().sum(), x)
    assert not grad[~mask].any()
    assert grad[mask].any()


@each_cell
@masked
def test_later_tokens_leave_earlier_outputs_bitwise_alone(name, masked):
    cell, x, mask, state, memory, _ = setting(name, masked)
    changed = x.clone()
    changed[:, 4:] = torch.randn_like(changed[:, 4:])
    assert torch.equal(cell(x, mask, state, memory).hidden[:, :4], cell(changed, mask, state, memory).hidden[:, :4])


@each_cell
@masked
def test_rows_do_not_mix(name, masked):
    cell, x, mask, state, memory, _ = setting(name, masked)
    order = torch.tensor([2, 0, 3, 1])
    whole = cell(x, mask, state, memory)

    def rows(chosen):
        part = {key: value[chosen] for key, value in state.items()}
        return cell(x[chosen], None if mask is None else mask[chosen], part, rows_of(memory, chosen))

    assert_close(rows(order).hidden, whole.hidden[order], **CLOSE)
    for row in range(BATCH):
        alone = rows(slice(row, row + 1))
        assert_close(alone.hidden, whole.hidden[row : row + 1], **CLOSE)
        for key in whole.state:
            assert_close(alone.state[key], whole.state[key][row : row + 1], **CLOSE)


@each_cell
def test_a_row_of_padding_keeps_its_state(name):
    cell, x, mask, state, memory, _ = setting(name, True)
    out = cell(x, mask, state, memory)
    for key, before in state.items():
        assert torch.equal(out.state[key][-1], before[-1])
