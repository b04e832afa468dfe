"""The Elman RNN, the LSTM and the GRU: torch.nn computes the same, and its kernels run only where they may."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from hf_rnnattn.model import mixer_stepping
from hf_rnnattn.model.mixers import MIXERS
from recurrent_cells import CLOSE, HIDDEN, INPUT, STEPPING, build, holes, plain_arithmetic, random_state

each_cell = pytest.mark.parametrize("name", STEPPING)
PEERS = {"elman": (nn.RNN, nn.RNNCell), "gru": (nn.GRU, nn.GRUCell), "lstm": (nn.LSTM, nn.LSTMCell)}
KERNELS = {
    "elman": ("rnn_tanh", "rnn_tanh_cell"),
    "gru": ("gru", "gru_cell"),
    "lstm": ("lstm", "lstm_cell"),
}
BATCH, LENGTH = 4, 7


class SpecialTensor(torch.Tensor):
    """As a quantised or distributed weight is one."""


def inputs(cell):
    return torch.randn(BATCH, LENGTH, INPUT, dtype=torch.float64), random_state(cell, BATCH)


@pytest.fixture
def kernel_calls(monkeypatch):
    """The names of torch's kernels, in the order of their calls."""
    calls = []

    def counted(name, kernel):
        def call(*args):
            calls.append(name)
            return kernel(*args)

        return call

    for kernel in (kernel for pair in KERNELS.values() for kernel in pair):
        monkeypatch.setattr(torch, kernel, counted(kernel, getattr(torch, kernel)))
    return calls


@each_cell
@pytest.mark.parametrize("return_steps", [False, True])
def test_the_weights_of_torch_give_the_outputs_of_torch(name, return_steps):
    cell = build(name)
    peer = PEERS[name][0](INPUT, HIDDEN, batch_first=True, dtype=torch.float64)
    cell.input_to_gates.load_state_dict({"weight": peer.weight_ih_l0, "bias": peer.bias_ih_l0})
    cell.state_to_gates.load_state_dict({"weight": peer.weight_hh_l0, "bias": peer.bias_hh_l0})
    x, state = inputs(cell)
    start = tuple(state[key][None] for key in cell.state_names)
    want, final = peer(x, start if len(start) > 1 else start[0])
    got = cell(x, None, state, return_steps=return_steps)
    assert_close(got.hidden, want, **CLOSE)
    final = final if isinstance(final, tuple) else (final,)
    for key, value in zip(cell.state_names, final, strict=True):
        assert_close(got.state[key], value[0], **CLOSE)


@each_cell
@pytest.mark.parametrize("length", [1, LENGTH])
@pytest.mark.parametrize("masked", [False, True], ids=["all_real", "masked"])
@pytest.mark.parametrize("return_state", [False, True])
def test_kernels_and_plain_arithmetic_agree_in_gradients(name, length, masked, return_state, monkeypatch):
    cell = build(name)
    x, state = inputs(cell)
    x, mask = x[:, :length].requires_grad_(), holes(BATCH, length) if masked else None
    leaves = [x, *[value.requires_grad_() for value in state.values()], *cell.parameters()]

    def grads():
        out = cell(x, mask, state, return_state=return_state)
        loss = out.hidden.square().sum() + sum(value.sin().sum() for value in out.state.values())
        return torch.autograd.grad(loss, leaves)

    with_kernels = grads()
    with plain_arithmetic(monkeypatch):
        plain = grads()
    for one, other in zip(with_kernels, plain, strict=True):
        assert_close(one, other, **CLOSE)


@each_cell
def test_kernels_run_where_they_compute_the_same(name, kernel_calls):
    cell = build(name)
    x, state = inputs(cell)
    mask = holes(BATCH, LENGTH)
    over_many, over_one = KERNELS[name]
    cell(x, None, state)
    cell(x, mask, state, return_state=False)
    cell(x[:, :1], None, state)
    assert kernel_calls == [over_many, over_many, over_one]


def test_the_cell_state_of_a_masked_lstm_is_not_left_to_a_kernel(kernel_calls):
    cell = build("lstm")
    x, state = inputs(cell)
    cell(x, holes(BATCH, LENGTH), state)
    assert kernel_calls == []


@each_cell
@pytest.mark.parametrize("layer", ["input_to_gates", "state_to_gates"])
@pytest.mark.parametrize("length", [1, LENGTH])
def test_a_wrapped_layer_is_called(name, layer, length, kernel_calls):
    """As an adapter wraps it: what the wrapper adds must count."""

    class Adapted(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base
            self.weight, self.bias = base.weight, base.bias

        def forward(self, x):
            return self.base(x) + 1.0

    cell = build(name)
    x, state = inputs(cell)
    setattr(cell, layer, Adapted(getattr(cell, layer)))
    got = cell(x[:, :length], None, state).hidden
    assert kernel_calls == []
    setattr(cell, layer, getattr(cell, layer).base)
    with torch.no_grad():
        getattr(cell, layer).bias += 1.0
    assert_close(got, cell(x[:, :length], None, state).hidden, **CLOSE)


@each_cell
@pytest.mark.parametrize("length", [1, LENGTH])
def test_changed_layers_are_called_instead_of_read(name, length, kernel_calls):
    x = torch.randn(BATCH, length, INPUT, dtype=torch.float64)

    hooked = build(name)
    hooked.state_to_gates.register_forward_hook(lambda module, args, output: output * 0)
    hooked(x)
    normed = build(name)
    nn.utils.parametrizations.weight_norm(normed.input_to_gates)
    normed(x)
    assert kernel_calls == []

    offloaded = build(name)
    offloaded.state_to_gates.forward = lambda h: torch.zeros_like(h).repeat(1, offloaded.gates)
    offloaded(x)
    special = build(name)
    special.input_to_gates.weight = nn.Parameter(special.input_to_gates.weight.detach().as_subclass(SpecialTensor))
    special(x)
    assert kernel_calls == []

    bare = build(name)
    bare.input_to_gates = nn.Linear(INPUT, bare.gates * HIDDEN, bias=False, dtype=torch.float64)
    without = bare(x).hidden
    assert kernel_calls == []
    bare.input_to_gates.bias = nn.Parameter(torch.zeros(bare.gates * HIDDEN, dtype=torch.float64))
    assert_close(without, bare(x).hidden, **CLOSE)


@each_cell
@pytest.mark.parametrize("length", [1, LENGTH])
def test_an_exported_cell_computes_the_same_without_kernels(name, length):
    cell = build(name)
    x, _ = inputs(cell)
    x = x[:, :length]

    class Outputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, x):
            return self.cell(x).hidden

    program = torch.export.export(Outputs(), (x,))
    names = {str(node.target) for node in program.graph.nodes}
    assert not [kernel for kernel in names if any(word in kernel for word in ("lstm", "gru", "rnn_tanh"))]
    assert_close(program.module()(x), cell(x).hidden, **CLOSE)


@each_cell
@pytest.mark.parametrize("length", [1, LENGTH])
def test_a_compiled_cell_is_one_graph_without_kernels(name, length):
    cell = build(name)
    x, state = inputs(cell)
    called = []

    def backend(graph, _):
        called.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    out = torch.compile(cell, backend=backend, fullgraph=True)(x[:, :length], None, state)
    assert called
    assert not [target for target in called if any(word in target for word in ("lstm", "gru", "rnn_tanh"))]
    assert_close(out.hidden, cell(x[:, :length], None, state).hidden, **CLOSE)


def test_half_precision_weights_are_not_left_to_a_kernel(kernel_calls):
    cell = build("gru", dtype=torch.bfloat16)
    cell(torch.randn(BATCH, LENGTH, INPUT, dtype=torch.bfloat16))
    assert kernel_calls == []


def test_every_stepping_cell_of_the_registry_that_has_a_kernel_is_tested_here():
    stepping = [name for name, mixer in MIXERS.items() if issubclass(mixer, mixer_stepping.SteppingMixer)]
    stepping = [name for name in stepping if not MIXERS[name].reads_memory and build(name).is_single]
    assert sorted(stepping) == STEPPING


@pytest.mark.parametrize("name", STEPPING)
def test_kernels_are_given_states_without_gaps(name, monkeypatch):
    """cuDNN takes no others, such as those of one layer of a stack."""
    cell = build(name)
    x, state = torch.randn(3, 4, INPUT, dtype=torch.float64), random_state(cell, 3)
    given = []
    kernel = type(cell).sequence_kernel

    def spied(self, x, weights, *state):
        given.extend(state)
        return kernel(self, x, weights, *state)

    monkeypatch.setattr(type(cell), "sequence_kernel", spied)
    gappy = {key: torch.stack([value, value], -1)[..., 0] for key, value in state.items()}
    assert torch.equal(cell(x, None, gappy).hidden, cell(x, None, state).hidden)
    assert len(given) == 2 * len(state)
    assert all(one.is_contiguous() for one in given)
