"""Heads of a neural Turing machine: where they look, and what their writing leaves alone."""

from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from hf_rnnattn.model.addressing import (
    address,
    ask,
    content_weights,
    read,
    sharpened,
    shifted,
    write,
)
from recurrent_cells import CLOSE, build, setting
from reference_ntm import content_address, convolve, head_address

ROWS, HEADS, SLOTS, WIDTH = 3, 2, 5, 4
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def memory(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(ROWS, SLOTS, WIDTH, dtype=dtype)


def numbers(dtype: torch.dtype = torch.float64, scale: float = 2.0) -> torch.Tensor:
    """What a controller may ask for."""
    return scale * torch.randn(ROWS, HEADS, WIDTH + 6, dtype=dtype)


def weights(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(ROWS, HEADS, SLOTS, dtype=dtype).softmax(-1)


def test_each_part_of_an_address_equals_the_naive_loops():
    slots, asked, before = memory(), numbers(), weights()
    parts = ask(asked)
    got = address(slots, parts, before)
    found = content_weights(slots, parts.key, parts.strength)
    moved = shifted(before, parts.shift)
    for row in range(ROWS):
        for head in range(HEADS):
            assert_close(got[row, head], head_address(slots[row], asked[row, head], before[row, head]), **CLOSE)
            want = content_address(slots[row], parts.key[row, head], parts.strength[row, head, 0])
            assert_close(found[row, head], want, **CLOSE)
            assert_close(moved[row, head], convolve(before[row, head], parts.shift[row, head]), **CLOSE)


@DTYPES
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
def test_an_address_is_a_distribution_whatever_is_asked(dtype, scale):
    """Also from a head that is at one slot, and where gates and powers saturate."""
    one_slot = torch.eye(SLOTS, dtype=dtype).expand(ROWS, SLOTS, SLOTS)[:, :HEADS]
    for before in (weights(dtype), one_slot):
        got = address(memory(dtype), ask(numbers(dtype, scale)), before)
        assert (got >= 0).all()
        assert_close(got.sum(-1), torch.ones(ROWS, HEADS, dtype=dtype))


def test_gradients_of_an_address_are_finite_where_heads_are_at_one_slot():
    before = torch.eye(SLOTS).expand(ROWS, SLOTS, SLOTS)[:, :HEADS].clone().requires_grad_()
    asked, slots = numbers(torch.float32, 1e3).requires_grad_(), memory(torch.float32).requires_grad_()
    got = address(slots, ask(asked), before)
    grads = torch.autograd.grad((got * torch.randn_like(got)).sum(), [before, asked, slots])
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("factor", [0.001, 7.0, 1e6])
def test_scaling_keys_or_slots_leaves_content_addressing_unchanged(factor):
    slots, parts = memory(), ask(numbers())
    want = content_weights(slots, parts.key, parts.strength)
    assert_close(content_weights(slots, factor * parts.key, parts.strength), want, **CLOSE)
    assert_close(content_weights(factor * slots, parts.key, parts.strength), want, **CLOSE)


def test_a_stronger_key_looks_more_at_the_slot_that_is_most_like_it():
    slots, parts = memory(), ask(numbers())
    best = [content_weights(slots, parts.key, torch.full((ROWS, HEADS, 1), b)).amax(-1) for b in (0.0, 1.0, 9.0, 99.0)]
    assert_close(best[0], torch.full((ROWS, HEADS), 1 / SLOTS, dtype=torch.float64))
    assert all((more > less).all() for less, more in pairwise(best))


def test_a_shift_goes_around_the_end_of_the_memory():
    at_last = torch.eye(SLOTS)[None, None, -1]
    onward, back = torch.tensor([[[0.0, 0.0, 1.0]]]), torch.tensor([[[1.0, 0.0, 0.0]]])
    assert torch.equal(shifted(at_last, onward)[0, 0], torch.eye(SLOTS)[0])
    assert torch.equal(shifted(shifted(at_last, onward), back), at_last)


def test_sharpening_by_one_changes_nothing_and_by_more_never_spreads():
    spread = weights()
    assert_close(sharpened(spread, torch.ones(ROWS, HEADS, 1)), spread, **CLOSE)
    assert (sharpened(spread, torch.full((ROWS, HEADS, 1), 3.0)).amax(-1) > spread.amax(-1)).all()


@DTYPES
def test_writing_with_zero_erase_and_zero_add_leaves_the_memory_bitwise_unchanged(dtype):
    slots, nothing = memory(dtype), torch.zeros(ROWS, HEADS, WIDTH, dtype=dtype)
    assert torch.equal(write(slots, weights(dtype), nothing, nothing), slots)


@DTYPES
def test_a_machine_whose_write_heads_erase_and_add_nothing_keeps_its_memory_bitwise(dtype):
    cell, x, mask, state, _, _ = setting("ntm", True)
    erase, add = cell.state_to_heads.weight[-2 * cell.read_size :].chunk(2)
    bias = cell.state_to_heads.bias[-2 * cell.read_size :]
    with torch.no_grad():
        for part in (erase, add, bias):
            part.zero_()
        bias[: cell.read_size] = -1e4  # the gate that erases is shut
    out = cell.to(dtype)(x.to(dtype), mask, {name: value.to(dtype) for name, value in state.items()}, None, True)
    want = state["memory"].to(dtype)
    assert torch.equal(out.state["memory"], want)
    assert torch.equal(out.steps["memory"], want[:, None].expand_as(out.steps["memory"]))


def test_erasing_all_and_adding_is_storing_and_reading_gives_it_back():
    slots, at = memory(), torch.eye(SLOTS, dtype=torch.float64).expand(ROWS, SLOTS, SLOTS)[:, :HEADS]
    stored = torch.randn(ROWS, HEADS, WIDTH, dtype=torch.float64)
    after = write(slots, at, torch.ones_like(stored), stored)
    assert torch.equal(read(after, at), stored)
    assert torch.equal(after[:, HEADS:], slots[:, HEADS:])


def test_every_weight_of_a_machine_is_a_distribution_at_every_step():
    cell, x, mask, _, _, _ = setting("ntm", True)
    steps = cell(10 * x, mask, return_steps=True).steps
    for name in ("read_weights", "write_weights"):
        assert (steps[name] >= 0).all()
        assert_close(steps[name].sum(-1), torch.ones_like(steps[name][..., 0]))


def test_what_a_machine_does_is_the_same_with_more_slots_until_it_reaches_them():
    """The same weights serve any number of slots: two moves away from the first one, 9 slots are as good as 12."""
    cells = [build("ntm", memory_slots=slots) for slots in (9, 12)]
    cells[1].load_state_dict(cells[0].state_dict())
    with torch.no_grad():
        for cell in cells:  # location only: what is found by content depends on how many empty slots there are
            gates = cell.state_to_heads.weight[: cell.address_size].view(2 * cell.memory_heads, -1, cell.hidden_size)
            biases = cell.state_to_heads.bias[: cell.address_size].view(2 * cell.memory_heads, -1)
            gates[:, -5], biases[:, -5] = 0.0, -1e4
    x = torch.randn(2, 3, cells[0].input_size, dtype=torch.float64)
    few, many = (cell(x).hidden for cell in cells)
    assert_close(few, many, **CLOSE)
