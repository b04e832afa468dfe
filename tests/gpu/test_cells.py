"""Every cell on a GPU gives what the naive float64 loop gives on the CPU, gradients too, in every precision."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from hf_rnnattn.model.attention import Memory
from hf_rnnattn.model.mixer_stepping import SteppingMixer
from recurrent_cells import RECURRENT, reference, setting

pytestmark = pytest.mark.gpu
each_cell = pytest.mark.parametrize("name", RECURRENT)
masked = pytest.mark.parametrize("masked", [False, True], ids=["all_real", "masked"])
precise = pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-11), (torch.float32, 1e-4)], ids=["float64", "float32"]
)


@pytest.fixture(autouse=True)
def _full_float32():
    """Products of float32 numbers in float32: cuDNN would take TF32, with ten bits, unless told not to."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def on_gpu(cell, x, mask, state, memory, dtype):
    """The same cell and inputs on the GPU."""
    cell = cell.to("cuda", dtype)
    if memory is not None:
        memory = Memory(*(part.to("cuda", dtype) for part in memory[:2]), memory.mask.cuda())
    state = {key: value.to("cuda", torch.promote_types(dtype, torch.float32)) for key, value in state.items()}
    return cell, x.detach().to("cuda", dtype).requires_grad_(), None if mask is None else mask.cuda(), state, memory


def gradients(hidden: Tensor, weighing: Tensor, leaves: list[Tensor]) -> list[Tensor | None]:
    return list(torch.autograd.grad((hidden * weighing.to(hidden)).sum(), leaves, allow_unused=True))


def scaled(value: Tensor | None, bound: float) -> dict[str, float]:
    return {"rtol": 0.0, "atol": bound * max(1.0, 0.0 if value is None else float(value.detach().abs().max()))}


@each_cell
@masked
@precise
@pytest.mark.parametrize("return_state", [False, True], ids=["outputs", "with_state"])
def test_outputs_states_and_gradients_equal_the_naive_loop(name, masked, dtype, bound, return_state):
    cell, x, mask, state, memory, raw = setting(name, masked)
    x.requires_grad_()
    want = reference(name, cell, x, mask, state, raw)
    weighing = torch.randn_like(want.outputs)
    expected = gradients(want.outputs, weighing, [x, *cell.parameters()])
    ours, x, mask, state, memory = on_gpu(cell, x, mask, state, memory, dtype)
    got = ours(x, mask, state, memory, return_state=return_state)
    assert_close(got.hidden.double().cpu(), want.outputs, **scaled(want.outputs, bound))
    for key, value in got.state.items():
        assert value.is_cuda
        assert_close(value.double().cpu(), want.state[key], **scaled(want.state[key], bound))
    if memory is None:  # the keys of a memory were made outside of the cell, without a gradient
        for grad, other in zip(gradients(got.hidden, weighing, [x, *ours.parameters()]), expected, strict=True):
            assert (grad is None) == (other is None)
            if other is not None:
                assert_close(grad.double().cpu(), other, **scaled(other, 10 * bound))


@each_cell
@masked
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_stays_near_and_carries_float32(name, masked, dtype):
    cell, x, mask, state, memory, raw = setting(name, masked)
    want = reference(name, cell, x, mask, state, raw)
    cell, x, mask, state, memory = on_gpu(cell, x, mask, state, memory, torch.float32)
    with torch.autocast("cuda", dtype):
        got = cell(x, mask, state, memory)
    assert_close(got.hidden.double().cpu(), want.outputs, **scaled(want.outputs, 0.1))
    assert all(value.dtype == torch.float32 for value in got.state.values())
    got.hidden.float().square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in cell.parameters())


@pytest.mark.parametrize("name", [n for n in RECURRENT if n in ("elman", "gru", "lstm")])
@pytest.mark.parametrize("training", [False, True])
def test_cudnn_runs_and_gives_gradients_in_every_mode(name, training):
    cell, x, _, state, _, _ = setting(name)
    assert isinstance(cell, SteppingMixer)
    cell, x, _, state, _ = on_gpu(cell.train(training), x, None, state, None, torch.float32)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        cell(x, None, state).hidden.sum().backward()
    assert "aten::_cudnn_rnn" in {event.key for event in profile.key_averages()}
    assert x.grad.isfinite().all()


def test_cudnn_does_not_complain_about_the_place_of_weights():
    code = (
        "import torch; from hf_rnnattn.model.mixers import MIXERS;"
        "MIXERS['lstm'](input_size=4, hidden_size=4).cuda()(torch.randn(2, 3, 4, device='cuda'))"
    )
    run = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert "RNN module weights" not in run.stderr


@pytest.mark.parametrize("name", ["elman", "gru", "lstm"])
def test_a_state_that_is_a_view_is_read(name):
    """As that of a layer in a stack, or of one direction."""
    cell, x, _, state, _, _ = setting(name)
    cell, x, _, state, _ = on_gpu(cell, x, None, state, None, torch.float64)
    views = {key: torch.stack([value, value], -1)[..., 0] for key, value in state.items()}
    assert not any(view.is_contiguous() for view in views.values())
    assert_close(cell(x, None, views).hidden, cell(x, None, state).hidden)
