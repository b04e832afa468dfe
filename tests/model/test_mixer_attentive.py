"""The cell that attends inside its recurrence: what its weights and its memory promise."""

import pytest
import torch
from torch.testing import assert_close

from hf_rnnattn.model.attention import Memory
from recurrent_cells import CLOSE, INPUT, MEMORY, SLOTS, build, memory_of

BATCH, LENGTH = 4, 6


@pytest.fixture
def cell():
    return build("bahdanau_gru")


def inputs():
    return torch.randn(BATCH, LENGTH, INPUT, dtype=torch.float64)


def test_weights_are_a_distribution_over_the_real_slots(cell):
    memory, (_, mask) = memory_of(cell, BATCH)
    out = cell(inputs(), memory=memory)
    assert out.weights.shape == (BATCH, 1, LENGTH, SLOTS)
    assert (out.weights >= 0).all()
    assert not out.weights[~mask[:, None, None].expand_as(out.weights)].any()
    real = mask.any(1)
    assert_close(out.weights[real].sum(-1), torch.ones(int(real.sum()), 1, LENGTH, dtype=torch.float64), **CLOSE)


def test_a_memory_of_padding_gives_weights_and_context_of_exactly_zero(cell):
    memory, (_, mask) = memory_of(cell, BATCH)
    assert not mask[0].any()
    out = cell(inputs(), memory=memory)
    assert not out.weights[0].any()
    assert not out.context[0].any()
    assert out.hidden.isfinite().all()


def test_nan_in_masked_slots_reaches_nothing(cell):
    _, (values, mask) = memory_of(cell, BATCH)
    x = inputs()

    def run(dirt):
        dirty = torch.where(mask[..., None], values, dirt).requires_grad_()
        out = cell(x, memory=Memory(*cell.prepare_memory(dirty, mask), mask))
        return out.hidden, out.weights, *torch.autograd.grad(out.hidden.square().sum(), [dirty, *cell.parameters()])

    zeros, nans = run(torch.zeros_like(values)), run(torch.full_like(values, torch.nan))
    for from_zeros, from_nans in zip(zeros, nans, strict=True):
        assert torch.equal(from_zeros, from_nans)
    assert not nans[2][~mask].any()


def test_permuting_the_memory_permutes_the_weights_and_keeps_the_context(cell):
    memory, _ = memory_of(cell, BATCH)
    order = torch.randperm(SLOTS)
    x = inputs()
    want = cell(x, memory=memory)
    got = cell(x, memory=Memory(memory.keys[:, order], memory.values[:, order], memory.mask[:, order]))
    assert_close(got.weights, want.weights[..., order], **CLOSE)
    assert_close(got.context, want.context, **CLOSE)
    assert_close(got.hidden, want.hidden, **CLOSE)


def test_the_query_is_the_previous_state(cell):
    """The first weights depend on the state at the start, and not on the first token."""
    memory, _ = memory_of(cell, BATCH)
    first = cell(inputs(), memory=memory).weights[:, :, 0]
    assert torch.equal(cell(inputs(), memory=memory).weights[:, :, 0], first)
    other = {"h": torch.ones(BATCH, cell.hidden_size, dtype=torch.float64)}
    assert not torch.allclose(cell(inputs(), None, other, memory).weights[1:, :, 0], first[1:])


def test_a_memory_that_is_missing_or_does_not_fit_is_refused(cell):
    memory, _ = memory_of(cell, BATCH)
    x = inputs()
    with pytest.raises(ValueError, match="needs memory, got None"):
        cell(x)
    with pytest.raises(ValueError, match=r"memory\.values must have shape"):
        cell(x, memory=memory._replace(values=memory.values[..., 1:]))
    with pytest.raises(ValueError, match=r"memory\.keys must have shape"):
        cell(x, memory=memory._replace(keys=memory.keys[..., 1:]))
    with pytest.raises(ValueError, match="memory must hold 4 rows"):
        cell(x, memory=memory._replace(keys=memory.keys[:, 1:]))
    with pytest.raises(ValueError, match="memory must hold 3 rows"):
        cell(x[1:], memory=memory)
    with pytest.raises(TypeError, match=r"memory\.mask must be a boolean tensor"):
        cell(x, memory=memory._replace(mask=memory.mask.float()))
    with pytest.raises(ValueError, match=r"memory mask must have shape \(4, 5\), got \(4, 4\)"):
        cell.prepare_memory(torch.zeros(BATCH, SLOTS, MEMORY), memory.mask[:, 1:])
