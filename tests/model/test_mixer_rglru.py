"""Griffin's recurrent block is that of transformers' RecurrentGemma, and its convolution sees real tokens only."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import RecurrentGemmaConfig
from transformers.models.recurrent_gemma.modeling_recurrent_gemma import RecurrentGemmaRecurrentBlock

from hf_rnnattn.model.mixer_rglru import RGLRUMixer, bounded_root
from recurrent_cells import CLOSE, build

WIDTH, BLOCKS, LENGTH = 12, 3, 9
ALIKE = {"rtol": 1e-5, "atol": 1e-5}  # transformers carries the state in float32 whatever the inputs


def peers() -> tuple[RGLRUMixer, Any]:
    """Our block and theirs with the same random weights."""
    ours = build("rglru", input_size=WIDTH, hidden_size=WIDTH, num_blocks=BLOCKS, dtype=torch.float32)
    config = RecurrentGemmaConfig(hidden_size=WIDTH, num_attention_heads=BLOCKS, num_hidden_layers=1)
    theirs = RecurrentGemmaRecurrentBlock(config, 0).eval()
    theirs.load_state_dict(named_as_theirs(ours))
    return ours, theirs


def named_as_theirs(cell: RGLRUMixer) -> dict[str, torch.Tensor]:
    """Our weights under the names of RecurrentGemma."""
    recurrence, entrance = cell.block_weight.detach().chunk(2, -1)
    recurrence_bias, entrance_bias = cell.block_bias.detach().chunk(2, -1)
    layers = {"linear_x": cell.input_proj, "linear_y": cell.gate_proj, "linear_out": cell.output_proj}
    return {
        **{f"{name}.{part}": tensor for name, layer in layers.items() for part, tensor in layer.state_dict().items()},
        "conv_1d.weight": cell.conv_weight.detach()[:, None],
        "conv_1d.bias": cell.conv_bias.detach(),
        "rg_lru.recurrent_param": cell.decay.detach(),
        "rg_lru.recurrent_gate_weight": recurrence,
        "rg_lru.recurrent_gate_bias": recurrence_bias,
        "rg_lru.input_gate_weight": entrance,
        "rg_lru.input_gate_bias": entrance_bias,
    }


def run_theirs(theirs: Any, x: torch.Tensor, first: int = 0, use_cache: bool = False) -> torch.Tensor:
    positions = torch.arange(first, first + x.shape[1]).expand(len(x), -1)
    output: torch.Tensor = theirs(x, positions, None, use_cache=use_cache)[0]
    return output


@pytest.mark.parametrize("length", [1, 2, 4, LENGTH])
def test_outputs_equal_those_of_recurrent_gemma(length):
    ours, theirs = peers()
    x = torch.randn(2, length, WIDTH)
    assert_close(ours(x).hidden, run_theirs(theirs, x), **ALIKE)


def test_gradients_equal_those_of_recurrent_gemma():
    ours, theirs = peers()
    x = torch.randn(2, LENGTH, WIDTH, requires_grad=True)
    weighing = torch.randn(2, LENGTH, WIDTH)
    (ours(x).hidden * weighing).sum().backward()
    got, x.grad = x.grad, None
    (run_theirs(theirs, x) * weighing).sum().backward()
    assert_close(got, x.grad, **ALIKE)
    for name, parameter in ours.named_parameters():
        parameter.data = parameter.grad
        assert parameter.grad.any(), name
    want = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, gradient in named_as_theirs(ours).items():
        assert_close(gradient, want[name], rtol=1e-4, atol=1e-4)


def test_step_by_step_decoding_equals_that_of_recurrent_gemma():
    ours, theirs = peers()
    x = torch.randn(2, LENGTH, WIDTH)
    with torch.no_grad():
        state = ours(x[:, :5]).state
        run_theirs(theirs, x[:, :5], use_cache=True)
        for t in range(5, LENGTH):
            got = ours(x[:, t : t + 1], None, state)
            assert_close(got.hidden, run_theirs(theirs, x[:, t : t + 1], first=t, use_cache=True), **ALIKE)
            assert_close(got.state["h"], theirs.rg_lru.recurrent_states, **ALIKE)
            assert_close(got.state["window"].transpose(1, 2), theirs.conv1d_state, **ALIKE)
            state = got.state


def test_the_convolution_reads_the_real_tokens_before_a_hole_and_not_the_hole():
    """With gates and scan out of the way: a cell that forgets at once shows what its convolution read."""
    cell = build("rglru", input_size=4, hidden_size=4)
    with torch.no_grad():
        cell.decay.fill_(100.0)  # a = exp(-8 * 100 * r)
        cell.block_bias.fill_(100.0)  # r = i = 1
    x = torch.randn(1, 9, 4, dtype=torch.float64)
    mask = torch.tensor([[False, True, True, False, True, False, False, True, True]])
    steps = cell(x, mask, return_steps=True).steps
    u = cell.input_proj(x)[0]
    seen = torch.stack([u[1], u[2], u[4], u[7]])  # the last four real ones at step 7
    assert_close(steps["h"][0, 7], (seen.T * cell.conv_weight).sum(1) + cell.conv_bias, **CLOSE)
    assert_close(steps["window"][0, 8], torch.stack([u[4], u[7], u[8]]), **CLOSE)
    assert torch.equal(steps["h"][0, 6], steps["h"][0, 4])


def test_the_root_has_the_slope_of_a_root_until_that_is_too_steep():
    x = torch.tensor([0.0, 1e-9, 1e-3, 0.25, 1.0], dtype=torch.float64, requires_grad=True)
    root = bounded_root(x)
    assert torch.equal(root, x.sqrt())
    (slope,) = torch.autograd.grad(root.sum(), x)
    assert_close(slope, torch.tensor([1000.0, 1000.0, 0.5 / 1e-3**0.5, 1.0, 0.5], dtype=torch.float64))


def test_a_width_that_blocks_do_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"hidden_size must be a multiple of num_blocks \(3\), got 4"):
        RGLRUMixer(input_size=4, hidden_size=4, num_blocks=3)
