"""The product that decoding uses is the layer's own, and is left to the layer wherever that could differ."""

import pytest
import torch
from torch import nn

from hf_rnnattn.model import plain_linear
from hf_rnnattn.model.plain_linear import linear


@pytest.fixture
def kernel(monkeypatch):
    """The calls of oneDNN's kernel."""
    calls = []
    real = plain_linear._ONEDNN
    assert real is not None, "this torch was built without oneDNN"

    def counted(*arguments):
        calls.append(arguments[0].shape)
        return real(*arguments)

    monkeypatch.setattr(plain_linear, "_ONEDNN", counted)
    return calls


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 512), (1, 1, 512), (2, 5, 512), (4, 1, 512)])
def test_the_kernel_computes_what_the_layer_computes(kernel, shape, bias):
    layer, x = nn.Linear(512, 512, bias=bias), torch.randn(shape)
    with torch.no_grad():
        fast = linear(layer, x)
        exact = layer.double()(x.double())
    assert len(kernel) == 1
    assert fast.shape == exact.shape
    torch.testing.assert_close(fast.double(), exact, rtol=1e-5, atol=1e-6)


def test_a_column_of_a_longer_sequence_is_no_different(kernel):
    layer, x = nn.Linear(512, 512), torch.randn(4, 3, 512)
    with torch.no_grad():
        torch.testing.assert_close(linear(layer, x[:, 1:2]), layer(x)[:, 1:2])
    assert kernel


@torch.no_grad()
def test_small_layers_are_called(kernel):
    layer, x = nn.Linear(512, 511), torch.randn(2, 512)
    assert torch.equal(linear(layer, x), layer(x))
    assert not kernel


def test_gradients_are_the_layers(kernel):
    layer, x = nn.Linear(512, 512), torch.randn(2, 512, requires_grad=True)
    linear(layer, x).sum().backward()
    assert layer.weight.grad is not None
    assert x.grad is not None
    assert not kernel


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@torch.no_grad()
def test_replaced_hooked_and_patched_layers_are_called(kernel):
    x = torch.randn(2, 512)
    hooked, patched = nn.Linear(512, 512), nn.Linear(512, 1024)
    hooked.register_forward_hook(lambda module, arguments, output: output + 1)
    patched.forward = lambda x: torch.zeros(2, 512)
    for layer in (Doubled(512, 512), hooked, patched, nn.Sequential(nn.Linear(512, 512))):
        torch.testing.assert_close(linear(layer, x), layer(x))
    assert not kernel


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_left_to_the_layer(kernel, dtype):
    layer, x = nn.Linear(512, 512).to(dtype), torch.randn(2, 512, dtype=dtype)
    assert linear(layer, x).dtype == dtype
    assert not kernel


@torch.no_grad()
def test_autocast_is_left_to_the_layer(kernel):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(nn.Linear(512, 512), torch.randn(2, 512)).dtype == torch.bfloat16
    assert not kernel


@torch.no_grad()
def test_a_compiled_graph_holds_the_layer(kernel):
    layer, x = nn.Linear(512, 512), torch.randn(2, 512)
    compiled = torch.compile(lambda x: linear(layer, x), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    assert not kernel
