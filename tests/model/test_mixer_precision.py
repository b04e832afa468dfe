"""Recurrent mixers in every precision, over any length, within their bounds, and as they are initialised."""

import pytest
import torch
from torch.testing import assert_close

from recurrent_cells import (
    BATCH,
    HIDDEN,
    INPUT,
    LENGTH,
    RECURRENT,
    SCANNED,
    build,
    first_bias,
    holes,
    initialise,
    memory_of,
    setting,
)

each_cell = pytest.mark.parametrize("name", RECURRENT)
masked = pytest.mark.parametrize("masked", [False, True], ids=["all_real", "masked"])


@each_cell
@pytest.mark.parametrize("length", [1, 2, 63, 1024])
def test_float32_stays_close_to_float64_at_any_length(name, length):
    if name in ("elman", "fused", "ntm"):  # may be chaotic with weights this large: at their own initialisation
        cell = build(name)
        initialise(cell)
    else:
        cell = build(name)
    x = torch.randn(2, length, INPUT, dtype=torch.float64) * 3
    memory, _ = memory_of(cell, 2)
    with torch.no_grad():
        want = cell(x, None, None, memory).hidden
        narrow = None if memory is None else memory._replace(keys=memory.keys.float(), values=memory.values.float())
        got = cell.float()(x.float(), None, None, narrow).hidden
    assert got.dtype == torch.float32
    # A machine's heads go on from where they were, sharpened: what was rounded once is sharpened at every step.
    bound = 1e-4 if name == "ntm" else 1e-5
    assert (got - want).abs().max() <= bound * want.abs().max()


@pytest.mark.parametrize("name", SCANNED)
@pytest.mark.parametrize("bias", [-200.0, 0.0, 200.0], ids=["closed", "half", "open"])
def test_scanned_cells_are_exact_over_8192_steps_with_saturated_gates(name, bias):
    cell = build(name)
    with torch.no_grad():
        (cell.gate_bias if name == "kim_ssru" else cell.input_to_gates.bias[HIDDEN:]).add_(bias)
    x = torch.randn(1, 8192, INPUT, dtype=torch.float64)
    with torch.no_grad():
        want = cell(x).hidden
    cell.float()
    got = cell(x.float()).hidden
    scale = max(float(want.abs().max()), 1e-30)
    assert (got - want).abs().max() <= 1e-5 * scale
    grads = torch.autograd.grad(got.sum(), list(cell.parameters()))
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("open_by", [-1e4, 0.0, 1e4], ids=["shut", "half", "open"])
@pytest.mark.parametrize("decay", [-200.0, 0.0, 200.0], ids=["keeps_all", "usual", "forgets_all"])
def test_griffins_unit_is_exact_over_8192_steps_with_saturated_gates(open_by, decay):
    """Also where the decay is exactly 1, at which the root in its equation has an infinite slope."""
    cell = build("rglru")
    with torch.no_grad():
        cell.decay.add_(decay)
        cell.block_bias[:, : cell.block_bias.shape[1] // 2].add_(open_by)
    x = torch.randn(1, 8192, INPUT, dtype=torch.float64)
    with torch.no_grad():
        want = cell(x).hidden
    cell.float()
    got = cell(x.float()).hidden
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()
    grads = torch.autograd.grad(got.sum(), list(cell.parameters()))
    assert all(grad.isfinite().all() for grad in grads)


@each_cell
def test_outputs_are_bounded(name):
    """tanh and gates keep |h| at most 1; a gated mean stays between what it averages."""
    cell, x, _, state, memory, _ = setting(name)
    out = cell(10 * x, None, state, memory, return_steps=True)
    if name in SCANNED:
        candidates = cell.input_to_gates(10 * x)[..., :HIDDEN]
        (trail,) = out.steps.values()
        (start,) = state.values()
        averaged = torch.cat([start[:, None], candidates], dim=1)
        slack = 1e-12
        assert (trail <= averaged.cummax(dim=1).values[:, 1:] + slack).all()
        assert (trail >= averaged.cummin(dim=1).values[:, 1:] - slack).all()
    elif name == "ntm":  # whose output is a projection: its controller is an LSTM, its weights are distributions
        assert out.steps["h"].abs().max() <= 1
        assert all((out.steps[f"{kind}_weights"] <= 1 + 1e-12).all() for kind in ("read", "write"))
    elif name in ("normed_lstm", "rnmt_lstm"):  # whose output gate opens on the cell state itself
        assert (out.hidden.abs() <= out.steps["c"].abs()).all()
        before = torch.cat([state["c"][:, None], out.steps["c"][:, :-1]], dim=1)
        assert (out.steps["c"].abs() <= before.abs() + 1).all()
    elif name == "rglru":  # which never keeps all and never forgets all
        before = {key: torch.cat([state[key][:, None], steps[:, :-1]], dim=1) for key, steps in out.steps.items()}
        decay = cell.gate_activations(x, before)["a"]
        assert (decay > 0).all()
        assert (decay < 1).all()
    else:
        assert out.hidden.abs().max() <= (2 if name == "fused" else 1)  # which adds two of them


@each_cell
@masked
def test_bfloat16_keeps_its_state_in_float32_and_stays_close(name, masked):
    cell = build(name, input_size=32, hidden_size=32, dtype=torch.float32)
    for layer in cell.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.reset_parameters()  # what is read back amplifies errors where the weights are this large
    initialise(cell)
    x, mask = torch.randn(BATCH, 24, 32), holes(BATCH, 24) if masked else None
    memory, _ = memory_of(cell, BATCH, torch.float32)
    want = cell(x, mask, None, memory)
    cell.bfloat16()
    if memory is not None:
        memory = memory._replace(keys=memory.keys.bfloat16(), values=memory.values.bfloat16())
    got = cell(x.bfloat16(), mask, None, memory, return_steps=True)
    assert got.hidden.dtype == torch.bfloat16
    assert all(value.dtype == torch.float32 for value in (*got.state.values(), *got.steps.values()))
    error = (got.hidden.float() - want.hidden).abs().max() / want.hidden.abs().max()
    assert error <= 2e-2


@each_cell
@pytest.mark.parametrize("length", [1, LENGTH])
def test_autocast_keeps_the_state_in_float32_and_stays_close(name, length):
    cell = build(name, dtype=torch.float32)
    x = torch.randn(BATCH, length, INPUT)
    memory, _ = memory_of(cell, BATCH, torch.float32)
    want = cell(x, None, None, memory)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = cell(x, None, None, memory)
    assert got.hidden.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in got.state.values())
    assert (got.hidden - want.hidden).abs().max() <= 2e-2 * max(1.0, float(want.hidden.abs().max()))


@each_cell
def test_initialisation_is_orthogonal_where_recurrent_and_remembers_a_little(name):
    cell = build(name, hidden_size=8)
    initialise(cell)
    for part in getattr(cell, "cells", [cell]):  # a stack has several
        if hasattr(part, "state_to_gates"):
            for block in part.state_to_gates.weight.split(8):
                assert_close(block @ block.T, torch.eye(8, dtype=block.dtype), rtol=0.0, atol=1e-5)
            assert part.state_to_gates.bias is None or not part.state_to_gates.bias.any()
        if name == "kim_ssru":
            assert (part.gate_bias == 1).all()
            return
        if name == "rglru":  # half open, it keeps between 0.9 and 0.999 to the power of 4
            kept = torch.exp(-4 * torch.nn.functional.softplus(part.decay))
            assert (kept >= 0.9**4 - 1e-6).all()
            assert (kept <= 0.999**4 + 1e-6).all()
            assert not torch.cat([part.block_bias.flatten(), part.conv_bias]).any()
            return
        bias = first_bias(part).unflatten(0, (-1, 8))
        kind = name.removeprefix("conditional_").removeprefix("luong_").removeprefix("normed_").removeprefix("rnmt_")
        favoured = {"lstm": (1, 1.0), "ntm": (1, 1.0), "ssru": (1, 1.0), "mingru": (1, -1.0)}.get(kind)
        for gate in range(len(bias)):
            assert (bias[gate] == (favoured[1] if favoured and favoured[0] == gate else 0.0)).all()


@each_cell
def test_initialisation_leaves_alone_what_came_from_a_checkpoint(name):
    cell = build(name)
    before = {key: value.clone() for key, value in cell.named_parameters()}
    for parameter in cell.parameters():
        parameter._is_hf_initialized = True
    initialise(cell)
    for key, value in cell.named_parameters():
        assert torch.equal(value, before[key])
