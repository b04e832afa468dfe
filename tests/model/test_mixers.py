"""What every recurrent mixer of the registry promises: its equations, its gradients, its state."""

import pytest
import torch
from torch.testing import assert_close

from recurrent_cells import (
    BATCH,
    CLOSE,
    LENGTH,
    RECURRENT,
    first_bias,
    first_gates,
    lengthened,
    plain_arithmetic,
    random_state,
    reference,
    setting,
)

each_cell = pytest.mark.parametrize("name", RECURRENT)
masked = pytest.mark.parametrize("masked", [False, True], ids=["all_real", "masked"])
stepped = pytest.mark.parametrize("return_steps", [False, True], ids=["one_call", "with_steps"])


@each_cell
@masked
@stepped
def test_outputs_states_and_steps_equal_the_naive_loop(name, masked, return_steps):
    cell, x, mask, state, memory, raw = setting(name, masked)
    got = cell(x, mask, state, memory, return_steps=return_steps)
    want = reference(name, cell, x, mask, state, raw)
    assert_close(got.hidden, want.outputs, **CLOSE)
    assert got.state.keys() == want.state.keys() == set(cell.state_names)
    for key in want.state:
        assert_close(got.state[key], want.state[key], **CLOSE)
    assert (got.steps is not None) == return_steps
    for key, steps in (got.steps or {}).items():
        assert_close(steps, want.steps[key], **CLOSE)
    assert (got.weights is None) == (want.weights is None)
    if want.weights is not None:
        assert_close(got.weights, want.weights, **CLOSE)
        assert_close(got.context, want.context, **CLOSE)


# What the constructors can vary beyond the widths.
VARIANTS = [
    *[
        (name, {"depth": depth, "cell_norm": norm})
        for name in ("elman", "gru", "lstm", "conditional_gru", "conditional_lstm")
        for depth, norm in ((3, "none"), (2, "layer_norm"), (3, "split_layer_norm"))
    ],
    *[
        (name, {"score": score, "depth": depth, "input_feeding": feeding})
        for name in ("luong_gru", "luong_lstm")
        for score, depth, feeding in (("general", 2, False), ("additive", 2, True), ("general", 1, True))
    ],
    ("luong_lstm", {"depth": 2, "cell_norm": "layer_norm", "score": "additive"}),
    ("luong_gru", {"depth": 2, "score": "additive", "attentional_activation": "none"}),
    *[("fused", {"num_heads": heads, "second_pass": twice}) for heads, twice in ((2, False), (2, True), (1, True))],
]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
@masked
@stepped
def test_deep_normalised_and_scored_cells_equal_the_naive_loop_gradients_too(name, options, masked, return_steps):
    cell, x, mask, state, memory, raw = setting(name, masked, batch=3, length=4, **options)
    leaves = [x.requires_grad_(), *cell.parameters()]
    got = cell(x, mask, state, memory, return_steps=return_steps)
    want = reference(name, cell, x, mask, state, raw)
    assert_close(got.hidden, want.outputs, **CLOSE)
    for key in want.state:
        assert_close(got.state[key], want.state[key], **CLOSE)
    for key, steps in (got.steps or {}).items():
        assert_close(steps, want.steps[key], **CLOSE)
    if want.weights is not None:
        assert_close(got.weights, want.weights, **CLOSE)
        assert_close(got.context, want.context, **CLOSE)
    weighing = torch.randn_like(want.outputs)
    if memory is not None:  # whose keys must be made anew, with gradients
        memory = memory._replace(keys=cell.prepare_memory(*raw)[0])
        got = cell(x, mask, state, memory, return_steps=return_steps)
    got_grads = torch.autograd.grad((got.hidden * weighing).sum(), leaves, allow_unused=True)
    want_grads = torch.autograd.grad((want.outputs * weighing).sum(), leaves, allow_unused=True)
    for got_grad, want_grad in zip(got_grads, want_grads, strict=True):
        assert_close(got_grad, want_grad, rtol=0.0, atol=1e-10)


@each_cell
@masked
@stepped
def test_gradients_equal_those_of_the_naive_loop(name, masked, return_steps):
    cell, x, mask, state, memory, raw = setting(name, masked)
    x.requires_grad_()
    leaves = [x, *state.values(), *cell.parameters()]
    for tensor in state.values():
        tensor.requires_grad_()
    if raw is not None:
        values = raw[0].requires_grad_()
        leaves.append(values)
        memory = memory._replace(**dict(zip(("keys", "values"), cell.prepare_memory(values, raw[1]), strict=True)))
    got = cell(x, mask, state, memory, return_steps=return_steps)
    want = reference(name, cell, x, mask, state, raw)
    to_output = torch.randn_like(want.outputs)

    def loss(outputs, final):
        return (outputs * to_output).sum() + sum((k + 1) * final[key].sum() for k, key in enumerate(sorted(final)))

    got_grads = torch.autograd.grad(loss(got.hidden, got.state), leaves)
    want_grads = torch.autograd.grad(loss(want.outputs, want.state), leaves)
    for got_grad, want_grad in zip(got_grads, want_grads, strict=True):
        assert_close(got_grad, want_grad, **CLOSE)


@each_cell
def test_gradients_of_the_steps_equal_those_of_the_naive_loop(name):
    cell, x, mask, state, memory, raw = setting(name, True)
    got = cell(x, mask, state, memory, return_steps=True)
    want = reference(name, cell, x, mask, state, raw)
    for key in cell.state_names:
        if key == "begun":  # which depends on nothing but whether a token was read
            continue
        weight = torch.randn_like(want.steps[key])
        parameters = [first_gates(cell).weight, first_bias(cell)]
        got_grads = torch.autograd.grad((got.steps[key] * weight).sum(), parameters, retain_graph=True)
        want_grads = torch.autograd.grad((want.steps[key] * weight).sum(), parameters, retain_graph=True)
        for got_grad, want_grad in zip(got_grads, want_grads, strict=True):
            assert_close(got_grad, want_grad, **CLOSE)


@each_cell
@masked
def test_gradcheck(name, masked):
    cell, x, mask, state, memory, _ = setting(name, masked, batch=2, length=3)
    keys = sorted(state)

    def run(x, *values):
        out = cell(x, mask, dict(zip(keys, values, strict=True)), memory)
        return out.hidden, *[out.state[key] for key in keys]

    torch.autograd.gradcheck(run, (x.requires_grad_(), *[state[key].requires_grad_() for key in keys]))


@each_cell
@masked
@pytest.mark.parametrize("sizes", [[1] * LENGTH, [3, 4], [1, 5, 1], [2, 2, 3]], ids=str)
def test_any_split_into_chunks_equals_one_call(name, masked, sizes):
    cell, x, mask, state, memory, _ = setting(name, masked)
    whole = cell(x, mask, state, memory, return_steps=True)
    pieces, start = [], 0
    for size in sizes:
        part = slice(start, start + size)
        out = cell(x[:, part], None if mask is None else mask[:, part], state, memory)
        state, start, memory = out.state, start + size, lengthened(cell, memory, out)
        pieces.append(out.hidden)
    assert_close(torch.cat(pieces, dim=1), whole.hidden, **CLOSE)
    for key in whole.state:
        assert_close(state[key], whole.state[key], **CLOSE)


@each_cell
@masked
def test_the_state_passed_in_is_never_written_to(name, masked):
    cell, x, mask, state, memory, _ = setting(name, masked)
    before = {key: value.clone() for key, value in state.items()}
    with torch.no_grad():
        for part in (x, x[:, :1]):
            for return_steps in (False, True):
                cell(part, None if mask is None else mask[:, : part.shape[1]], state, memory, return_steps)
    for key, value in state.items():
        assert torch.equal(value, before[key])


@each_cell
def test_missing_states_are_the_first_ones_which_are_zero_but_for_a_machines_memory(name):
    cell, x, _, _, memory, _ = setting(name)
    first = cell.first_state(BATCH, dtype=x.dtype, device=x.device)
    assert name == "ntm" or all(not value.any() for value in first.values())
    assert_close(cell(x, None, None, memory).hidden, cell(x, None, first, memory).hidden, **CLOSE)
    one = cell.state_names[0]
    half = random_state(cell, BATCH)
    want = cell(x, None, {**first, one: half[one]}, memory).hidden
    assert_close(cell(x, None, {one: half[one]}, memory).hidden, want, **CLOSE)


@each_cell
@masked
@pytest.mark.parametrize("length", [1, LENGTH])
def test_a_state_that_nobody_asked_for_is_not_returned(name, masked, length):
    cell, x, mask, state, memory, _ = setting(name, masked, length=length)
    lean = cell(x, mask, state, memory, return_state=False)
    assert lean.state == {}
    assert_close(lean.hidden, cell(x, mask, state, memory).hidden, **CLOSE)


@each_cell
def test_shapes_and_masks_that_do_not_fit_are_refused(name):
    cell, x, _, _, memory, _ = setting(name)
    real = torch.ones(BATCH, LENGTH, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"x must have shape \(batch, length, 5\), got \(4, 7, 4\)"):
        cell(x[..., :4], None, None, memory)
    with pytest.raises(ValueError, match="x must have shape"):
        cell(x[0], None, None, memory)
    with pytest.raises(ValueError, match="at least one step"):
        cell(x[:, :0], None, None, memory)
    with pytest.raises(ValueError, match=r"mask must have shape \(4, 7\), got \(4, 6\)"):
        cell(x, real[:, :6], None, memory)
    with pytest.raises(TypeError, match=r"mask must be a boolean tensor, got torch\.float32"):
        cell(x, real.float(), None, memory)


@each_cell
@masked
def test_plain_arithmetic_and_kernels_agree(name, masked, monkeypatch):
    cell, x, mask, state, memory, _ = setting(name, masked)
    kernels = cell(x, mask, state, memory)
    with plain_arithmetic(monkeypatch):
        plain = cell(x, mask, state, memory)
    assert_close(kernels.hidden, plain.hidden, **CLOSE)
    for key in plain.state:
        assert_close(kernels.state[key], plain.state[key], **CLOSE)
