"""Every way to compute h_t = a_t h_{t-1} + b_t gives what the plain loop gives, gradients too."""

import importlib.util
import warnings
from unittest import mock

import pytest
import torch
from torch.testing import assert_close

import reference
from hf_rnnattn.model import scan
from hf_rnnattn.model.scan import doubling_states, linear_scan, sequential_states

CLOSE = {"rtol": 0.0, "atol": 1e-12}
SOLVERS = {"sequential": sequential_states, "doubling": doubling_states}
HAS_TRITON = importlib.util.find_spec("triton") is not None
IMITATED = not torch.cuda.is_available()  # Triton's interpreter runs its kernels on a CPU, slowly


def triton_states(a, b, start, reverse):
    """The GPU kernel; without a GPU in Triton's interpreter, with such small tiles that sequences take several."""
    from hf_rnnattn.model import scan_triton

    if IMITATED:
        with mock.patch.multiple(scan_triton, TILE_BYTES={1: 128}, WIDEST=8, NARROWEST=2):
            return scan_triton.triton_states(a, b, start, reverse)
    return scan_triton.triton_states(a.cuda(), b.cuda(), start.cuda(), reverse).to(a.device)


if HAS_TRITON:
    SOLVERS["triton"] = triton_states
each_solver = pytest.mark.parametrize("solver", SOLVERS)
# What takes the interpreter a minute.
SLOW_SOLVERS = {"triton"} if IMITATED else set()


def slow_if(long, *values):
    return pytest.param(*values, marks=pytest.mark.slow if long else ())


@pytest.fixture
def use(monkeypatch):
    """Makes ``linear_scan`` use one solver on CPUs."""

    def choose(name):
        monkeypatch.setattr(scan, "device_solver", lambda device: SOLVERS[name])

    return choose


def recurrence(batch=3, length=9, size=4, dtype=torch.float64):
    a, b = torch.rand(batch, length, size, dtype=dtype), torch.randn(batch, length, size, dtype=dtype)
    return a, b, torch.randn(batch, size, dtype=dtype)


def some_mask(batch, length):
    mask = torch.rand(batch, length) > 0.4
    mask[0], mask[-1] = True, False
    return mask


def saturated(length):
    """Decays that are exactly 0, exactly 1, close to either, or in between."""
    a, b, h0 = recurrence(2, length, 8)
    kind = torch.randint(0, 5, a.shape)
    a = torch.where(kind == 0, 0.0, torch.where(kind == 1, 1.0, a))
    a = torch.where(kind == 2, 1.0 - 1e-6 * a, torch.where(kind == 3, 1e-6 * a, a))
    a[..., 0], a[..., 1] = 1.0, 0.0
    return a, (1 - a) * b + 1e-3 * b, h0


@each_solver
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 8, 63, 64, 65])
@pytest.mark.parametrize("masked", [False, True], ids=["all_real", "masked"])
def test_states_equal_the_naive_loop(solver, length, masked, use):
    use(solver)
    a, b, h0 = recurrence(length=length)
    mask = some_mask(3, length) if masked else None
    assert_close(linear_scan(a, b, h0, mask), reference.linear_scan(a, b, h0, mask), **CLOSE)


@each_solver
@pytest.mark.parametrize("length", [1, 2, 9])
def test_solvers_run_both_ways(solver, length):
    a, b, start = recurrence(length=length)
    forward = SOLVERS[solver](a, b, start, False)
    assert_close(forward, torch.cat([start[:, None], reference.linear_scan(a, b, start)], dim=1), **CLOSE)
    backward = SOLVERS[solver](a, b, start, True)
    assert_close(backward, SOLVERS[solver](a.flip(1), b.flip(1), start, False).flip(1), **CLOSE)


@each_solver
@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("masked", [False, True], ids=["all_real", "masked"])
def test_gradients_equal_those_of_the_naive_loop(solver, length, masked, use):
    use(solver)
    leaves = [tensor.requires_grad_() for tensor in recurrence(length=length)]
    mask = some_mask(3, length) if masked else None
    weight = torch.randn(3, length, 4, dtype=torch.float64)
    got = torch.autograd.grad((linear_scan(*leaves, mask) * weight).sum(), leaves)
    want = torch.autograd.grad((reference.linear_scan(*leaves, mask) * weight).sum(), leaves)
    for one, other in zip(got, want, strict=True):
        assert_close(one, other, **CLOSE)


@pytest.mark.parametrize("solver", [slow_if(solver in SLOW_SOLVERS, solver) for solver in SOLVERS])
@pytest.mark.parametrize("masked", [False, True], ids=["all_real", "masked"])
def test_gradcheck_of_first_and_second_order(solver, masked, use):
    use(solver)
    leaves = tuple(tensor.requires_grad_() for tensor in recurrence(2, 5, 2))
    mask = some_mask(2, 5) if masked else None
    torch.autograd.gradcheck(lambda *inputs: linear_scan(*inputs, mask), leaves)
    torch.autograd.gradgradcheck(lambda *inputs: linear_scan(*inputs, mask), leaves)


@each_solver
def test_second_derivatives_of_what_is_not_linear_in_the_states(solver, use):
    """There the states have a gradient by themselves, and another through the first derivatives."""
    use(solver)
    leaves = [tensor.requires_grad_() for tensor in recurrence(2, 5, 3)]

    def second(scan):
        first = torch.autograd.grad(scan(*leaves).pow(3).sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(grad.square().sum() for grad in first), leaves)

    for one, other in zip(second(linear_scan), second(reference.linear_scan), strict=True):
        assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("needed", [(True, False, False), (False, True, False), (False, False, True)])
def test_gradients_of_some_inputs_alone(needed):
    leaves = [tensor.requires_grad_(need) for tensor, need in zip(recurrence(), needed, strict=True)]
    only = [tensor for tensor in leaves if tensor.requires_grad]
    got = torch.autograd.grad(linear_scan(*leaves).square().sum(), only)
    want = torch.autograd.grad(reference.linear_scan(*leaves).square().sum(), only)
    assert_close(got, want, **CLOSE)


@pytest.mark.parametrize(
    ("solver", "length"),
    [
        slow_if(solver in SLOW_SOLVERS and length > 100, solver, length)
        for solver in SOLVERS
        for length in (2, 63, 1024, 8192)
    ],
)
def test_float32_errs_by_its_own_precision_with_saturated_decays(solver, length, use):
    use(solver)
    a, b, h0 = saturated(length)
    leaves = [tensor.float().requires_grad_() for tensor in (a, b, h0)]
    # The loop gets the very numbers that the scan gets, so that only its arithmetic is measured.
    wide = [leaf.detach().double() for leaf in leaves]
    want = reference.linear_scan(*wide)
    got = linear_scan(*leaves)
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()
    grads = torch.autograd.grad(got.sum(), leaves)
    exact = torch.autograd.grad(linear_scan(*[tensor.requires_grad_() for tensor in wide]).sum(), wide)
    for grad, other in zip(grads, exact, strict=True):
        assert grad.isfinite().all()
        assert (grad - other).abs().max() <= 1e-5 * other.abs().max()


@each_solver
def test_nothing_fades_where_the_decay_is_one(solver, use):
    use(solver)
    length = 64 if solver in SLOW_SOLVERS else 4096
    a, b, h0 = torch.ones(1, length, 2), torch.zeros(1, length, 2), torch.randn(1, 2, requires_grad=True)
    states = linear_scan(a, b, h0)
    assert torch.equal(states, h0[:, None].expand_as(states))
    (grad,) = torch.autograd.grad(states[:, -1].sum(), h0)
    assert torch.equal(grad, torch.ones_like(h0))


@each_solver
def test_a_masked_step_repeats_its_predecessor(solver, use):
    use(solver)
    a, b, h0 = recurrence(3, 12)
    mask = some_mask(3, 12)
    states = torch.cat([h0[:, None], linear_scan(a, b, h0, mask)], dim=1)
    assert_close(states[:, 1:][~mask], states[:, :-1][~mask], **CLOSE)


@each_solver
def test_nan_at_a_masked_step_reaches_no_state_and_no_gradient(solver, use):
    use(solver)
    a, b, h0 = recurrence(3, 12)
    mask = some_mask(3, 12)
    a[~mask], b[~mask] = torch.nan, torch.nan
    leaves = [tensor.requires_grad_() for tensor in (a, b, h0)]
    states = linear_scan(*leaves, mask)
    grads = torch.autograd.grad(states.square().sum(), leaves)
    assert states.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads)
    assert not grads[0][~mask].any()
    assert not grads[1][~mask].any()


@each_solver
def test_later_steps_leave_earlier_states_bitwise_alone(solver, use):
    use(solver)
    a, b, h0 = recurrence(length=16)
    changed = b.clone()
    changed[:, 9:] = torch.nan
    assert torch.equal(linear_scan(a, changed, h0)[:, :9], linear_scan(a, b, h0)[:, :9])


@each_solver
def test_any_memory_layout_is_read(solver, use):
    use(solver)
    a, b, h0 = recurrence()
    spread = [tensor.transpose(0, -1).contiguous().transpose(0, -1) for tensor in (a, b, h0)]
    assert_close(linear_scan(*spread), linear_scan(a, b, h0), **CLOSE)
    expanded = torch.full((1, 1, 1), 0.5, dtype=a.dtype).expand_as(a)
    assert_close(linear_scan(expanded, b, h0), reference.linear_scan(expanded, b, h0), **CLOSE)


def test_inputs_are_never_written_to():
    inputs = recurrence()
    before = [tensor.clone() for tensor in inputs]
    linear_scan(*inputs, some_mask(3, 9))
    assert all(torch.equal(one, other) for one, other in zip(inputs, before, strict=True))


@pytest.fixture
def _chosen_anew():
    scan.device_solver.cache_clear()
    yield
    scan.device_solver.cache_clear()


@pytest.mark.usefixtures("_chosen_anew")
def test_a_device_without_a_solver_of_its_own_doubles():
    assert scan.device_solver("mps") is doubling_states


@pytest.mark.usefixtures("_chosen_anew")
def test_a_gpu_whose_kernel_fails_doubles_and_says_so_once():
    broken = mock.Mock(triton_states=mock.Mock(side_effect=RuntimeError("Failed to find C compiler")))
    with (
        mock.patch.dict("sys.modules", {"hf_rnnattn.model.scan_triton": broken}),
        mock.patch("torch.zeros", lambda *sizes, device: torch.ones(sizes)),  # as if there were a GPU
        pytest.warns(UserWarning, match="without its GPU kernel.*Failed to find C compiler"),
    ):
        assert scan.device_solver("cuda") is doubling_states
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan.device_solver("cuda") is doubling_states


@pytest.mark.gpu
def test_a_gpu_has_a_kernel():
    assert scan.device_solver("cuda").__name__ == "triton_states"


class Scan(torch.nn.Module):
    """``linear_scan`` as something that can be exported."""

    def forward(self, a, b, h0):
        return linear_scan(a, b, h0)


def test_an_exported_scan_serves_every_length():
    length = torch.export.Dim("length", min=2, max=1024)
    shapes = ({1: length}, {1: length}, None)
    program = torch.export.export(Scan(), recurrence(), dynamic_shapes=shapes).module()
    for steps in (2, 9, 100, 1000):
        inputs = recurrence(length=steps)
        assert_close(program(*inputs), reference.linear_scan(*inputs), **CLOSE)


def test_a_compiled_scan_is_compiled_anew_only_when_the_length_doubles():
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(linear_scan, backend=backend, fullgraph=True, dynamic=True)
    for steps in range(33, 63):
        inputs = recurrence(length=steps)
        assert_close(compiled(*inputs), reference.linear_scan(*inputs), **CLOSE)
    assert len(graphs) == 1


def test_a_compiled_scan_has_the_same_gradients():
    leaves = [tensor.requires_grad_() for tensor in recurrence()]
    compiled = torch.compile(linear_scan, backend="aot_eager", fullgraph=True)
    got = torch.autograd.grad(compiled(*leaves).square().sum(), leaves)
    want = torch.autograd.grad(reference.linear_scan(*leaves).square().sum(), leaves)
    assert_close(got, want, **CLOSE)


def test_what_does_not_fit_is_refused():
    a, b, h0 = recurrence()
    for inputs in ((a, b[:, 1:], h0), (a, b, h0[1:]), (a[0], b[0], h0)):
        with pytest.raises(ValueError, match="a and b must be"):
            linear_scan(*inputs)
