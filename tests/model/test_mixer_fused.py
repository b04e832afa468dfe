"""The fused cell: the simple recurrent network inside it, what it reads of its own past, and its second pass."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from hf_rnnattn.model import attention_growing
from hf_rnnattn.model.attention_growing import GrowingMemory, read_slots
from hf_rnnattn.model.mixer_fused import FusedMixer
from hf_rnnattn.model.mixer_rnn import ElmanMixer
from lively_models import lively_model, run, sources, targets
from recurrent_cells import BATCH, CLOSE, HIDDEN, INPUT, LENGTH, build, holes, lengthened, random_state
from reference_fused import fused

masked = pytest.mark.parametrize("masked", [False, True], ids=["all_real", "masked"])


def inputs(cell, length=LENGTH):
    return torch.randn(BATCH, length, INPUT, dtype=torch.float64), random_state(cell, BATCH)


def elman(input_weight, input_bias, state_weight):
    """The simple recurrent network with these weights."""
    peer = ElmanMixer(input_size=INPUT, hidden_size=HIDDEN).double().requires_grad_(False)
    peer.input_to_gates.weight.copy_(input_weight)
    peer.input_to_gates.bias.copy_(input_bias)
    peer.state_to_gates.weight.copy_(state_weight)
    peer.state_to_gates.bias.zero_()
    return peer


@masked
@pytest.mark.parametrize("second_pass", [False, True])
@torch.no_grad()
def test_without_what_it_reads_the_fusion_state_is_the_simple_recurrent_network(masked, second_pass):
    cell = build("fused", num_heads=2, second_pass=second_pass)
    nn.init.zeros_(cell.read_to_cell.weight)
    x, state = inputs(cell)
    mask = holes(BATCH, LENGTH) if masked else None
    entering, bias = cell.input_to_gates.weight.chunk(4)[2], cell.input_to_gates.bias.chunk(4)[2]
    want = elman(entering, bias, cell.cell_to_cell.weight)(x, mask, {"h": state["c"]})
    got = cell(x, mask, state, return_steps=True)
    assert_close(got.steps["c"], want.hidden, **CLOSE)


@masked
@torch.no_grad()
def test_without_the_fusion_state_the_output_is_the_simple_recurrent_network(masked):
    cell = build("fused", num_heads=2)
    nn.init.zeros_(cell.cell_to_hidden.weight)
    for parameter in (cell.input_to_gates.weight, cell.input_to_gates.bias):
        parameter[3 * HIDDEN :] = 0.0
    x, state = inputs(cell)
    mask = holes(BATCH, LENGTH) if masked else None
    entering, bias = cell.input_to_gates.weight.chunk(4)[1], cell.input_to_gates.bias.chunk(4)[1]
    want = elman(entering, bias, cell.state_to_gates.weight.chunk(2)[1])(x, mask, {"h": state["h"]})
    assert_close(cell(x, mask, state).hidden, want.hidden, **CLOSE)


@torch.no_grad()
def test_what_it_reads_matters():
    """The same tokens end in the same output only if what came before them is the same."""
    cell = build("fused")
    x, state = inputs(cell)
    out = cell(x, None, state)
    before = lengthened(cell, None, out)
    again = cell(x, None, out.state, before).hidden
    assert not torch.allclose(again, cell(x, None, out.state).hidden)


@masked
@pytest.mark.parametrize("second_pass", [False, True])
def test_weights_are_those_of_the_naive_loop(masked, second_pass):
    cell = build("fused", num_heads=2, second_pass=second_pass)
    x, state = inputs(cell)
    mask = holes(BATCH, LENGTH) if masked else None
    weights = {**dict(cell.named_parameters()), "num_heads": 2, "second_pass": second_pass}
    want = fused(weights, x, mask, state)[3]
    got = cell(x, mask, state).self_weights
    real = torch.ones(BATCH, LENGTH, dtype=torch.bool) if mask is None else mask
    assert_close(got.transpose(1, 2)[real], want.transpose(1, 2)[real], **CLOSE)


@torch.no_grad()
def test_an_encoder_reads_later_tokens_in_its_second_pass_and_a_decoder_does_not():
    for second_pass in (False, True):
        cell = build("fused", second_pass=second_pass)
        x, state = inputs(cell)
        changed = x.clone()
        changed[:, -1] += 1.0
        same = torch.equal(cell(x, None, state).hidden[:, 0], cell(changed, None, state).hidden[:, 0])
        assert same is not second_pass


@masked
def test_slots_beyond_a_block_are_read_like_the_others(masked, monkeypatch):
    """What the loop joins in blocks is one memory, gradients too."""
    cell = build("fused", num_heads=2)
    x, state = inputs(cell, length=11)
    mask = holes(BATCH, 11) if masked else None
    leaves = [x.requires_grad_(), *cell.parameters()]

    def grads():
        out = cell(x, mask, state)
        return out.hidden, *torch.autograd.grad(out.hidden.square().sum() + out.values.sum(), leaves)

    whole = grads()
    monkeypatch.setattr(attention_growing, "BLOCK", 3)
    for one, other in zip(grads(), whole, strict=True):
        assert_close(one, other, **CLOSE)


def test_a_growing_memory_keeps_the_order_of_its_slots(monkeypatch):
    monkeypatch.setattr(attention_growing, "BLOCK", 2)
    keys, values, query = (torch.randn(2, 3, 9, 4) for _ in range(3))
    slots = GrowingMemory(keys[:, :, :4], values[:, :, :4])
    for t in range(4, 9):
        slots.append(keys[:, :, t], values[:, :, t])
        want = read_slots(query[:, :, t], [(keys[:, :, : t + 1], values[:, :, : t + 1])], None, 0.0)
        assert_close(slots.read(query[:, :, t], None, 0.0), want)
    assert torch.equal(torch.stack(slots.joined()), torch.stack((keys, values)))


@torch.no_grad()
def test_slots_that_were_never_written_are_not_read():
    """As a static cache has them: zeros between what is held and what comes."""
    cell = build("fused")
    x, state = inputs(cell)
    held = cell(x, holes(BATCH, LENGTH), state)
    memory = lengthened(cell, None, held)
    longer = tuple(nn.functional.pad(part, (0, 0, 0, 5)) for part in memory)
    assert_close(cell(x, None, held.state, longer).hidden, cell(x, None, held.state, memory).hidden, **CLOSE)


def test_dropout_on_the_weights_is_for_training():
    cell = FusedMixer(input_size=INPUT, hidden_size=HIDDEN, dropout=0.5).double()
    x, state = inputs(cell)
    first, second = (cell.train()(x, None, state).hidden for _ in range(2))
    assert not torch.allclose(first, second)
    first, second = (cell.eval()(x, None, state).hidden for _ in range(2))
    assert torch.equal(first, second)


def test_a_memory_that_does_not_fit_is_refused():
    cell = build("fused", num_heads=2)
    x, state = inputs(cell)
    held = lengthened(cell, None, cell(x, None, state))
    with pytest.raises(ValueError, match=r"memory must hold keys of shape \(4, 2, past, 3\), got \(4, 2, 7, 2\)"):
        cell(x, None, state, (held[0][..., :-1], held[1]))
    with pytest.raises(ValueError, match=r"memory must hold values of shape \(4, 2, past, 2\), got \(2, 2, 7, 2\)"):
        cell(x, None, state, (held[0], held[1][:2]))
    with pytest.raises(ValueError, match="second_pass reads whole sequences: memory must be None"):
        build("fused", num_heads=2, second_pass=True)(x, None, state, held)


@torch.no_grad()
def test_weights_of_one_step_are_a_row_of_those_of_all():
    model = lively_model("fused")
    inputs, ids = sources(model), targets(model)
    whole = run(model, decoder_input_ids=ids, output_attentions=True, **inputs).decoder_attentions
    cache = run(model, decoder_input_ids=ids[:, :-1], use_cache=True, **inputs).cache
    last = run(model, decoder_input_ids=ids[:, -1:], cache=cache, output_attentions=True, **inputs)
    for one, every in zip(last.decoder_attentions, whole, strict=True):
        assert_close(one, every[:, :, -1:], **CLOSE)
