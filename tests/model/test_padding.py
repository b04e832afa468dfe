"""Padding of source and target, wherever it stands and whatever it holds, changes nothing at real positions."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lively_models import DECODERS, EXACT, generate, lively_model, make_lively, run, targets
from model_zoo import ENCODER_MIXERS

LENGTH = 6
MIXED = {"decoder_mixers": ["gru+full_attention", "bahdanau_gru", "ssru"], "eos_token_id": None}
BOTH_WAYS = {"encoder_mixers": ["lstm", "ssru"], "encoder_directions": "both"}

# name -> what is special about the encoder.
ENCODERS: dict[str, dict[str, Any]] = {
    **{name: {"encoder_mixers": [name, name]} for name in ENCODER_MIXERS},
    "composite": {"encoder_mixers": ["lstm+full_attention", "full_attention+mingru"]},
    "backward": {"encoder_mixers": ["gru", "mingru"], "encoder_directions": "backward", "decoder_init": "last"},
    "concat_project": {**BOTH_WAYS, "encoder_merge": "concat_project", "decoder_init": "last"},
    "sum": {**BOTH_WAYS, "encoder_merge": "sum", "decoder_init": "mean"},
    "last_of_both": {**BOTH_WAYS, "decoder_init": "last"},
    "no_layers": {"encoder_layers": 0, "encoder_mixers": [], "decoder_init": "mean"},
    "post_norm": {"encoder_mixers": ["gru+full_attention"], "norm_position": "post", "norm_type": "rms_norm"},
    "sinusoidal": {"encoder_mixers": ["full_attention"], "encoder_position_embedding": "sinusoidal"},
}
LAYOUTS = {
    "right": lambda row: [*row, None, None, None],
    "left": lambda row: [None, None, None, *row],
    "inner": lambda row: [*row[:2], None, None, *row[2:4], None, *row[4:]],
    "everywhere": lambda row: [None, *row[:1], None, *row[1:], None, None, None, None, None],
}


def lay_out(ids: Tensor, layout: str, filler: int = 5) -> tuple[Tensor, Tensor]:
    """``ids`` (B, T) with padding put among them: ids and mask, both longer."""
    rows = [LAYOUTS[layout](row) for row in ids.tolist()]
    mask = torch.tensor([[token is not None for token in row] for row in rows])
    return torch.tensor([[filler if token is None else token for token in row] for row in rows]), mask


def clean_sources(rows: int = 3, length: int = LENGTH) -> Tensor:
    return torch.randint(3, 13, (rows, length), generator=torch.Generator().manual_seed(5))


def check_source_padding(model: Any) -> None:
    source, ids = clean_sources(), targets(model)
    plain = run(model, input_ids=source, decoder_input_ids=ids, output_attentions=True)
    generated = generate(model, 6, input_ids=source)
    for layout in LAYOUTS:
        padded, mask = lay_out(source, layout)
        for dtype in (torch.bool, torch.long):
            inputs = {"input_ids": padded, "attention_mask": mask.to(dtype)}
            got = run(model, decoder_input_ids=ids, output_attentions=True, **inputs)
            assert_close(got.logits, plain.logits, **EXACT)
        real = got.encoder_last_hidden_state[mask].view(plain.encoder_last_hidden_state.shape)
        assert_close(real, plain.encoder_last_hidden_state, **EXACT)
        for weights, expected in zip(got.cross_attentions, plain.cross_attentions, strict=True):
            over_real = weights.movedim(-1, 1)[mask].view(*expected.movedim(-1, 1).shape).movedim(1, -1)
            assert_close(over_real, expected, **EXACT)
            assert (weights.movedim(-1, 1)[~mask] == 0).all()
        assert torch.equal(generate(model, 6, **inputs), generated)


@pytest.mark.parametrize("name", ENCODERS)
def test_padding_of_the_source_changes_nothing_behind_any_encoder(name: str) -> None:
    fields = {"decoder_mixers": ["gru", "full_attention"], "eos_token_id": None, "attn_implementation": "eager"}
    check_source_padding(make_lively(**{**fields, **ENCODERS[name]}))


@pytest.mark.parametrize("name", DECODERS)
def test_padding_of_the_source_changes_nothing_before_any_decoder(name: str) -> None:
    check_source_padding(lively_model(name, attention="eager"))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", DECODERS)
def test_padding_of_the_target_changes_nothing(name: str, attention: str) -> None:
    model = lively_model(name, attention=attention)
    source, ids = clean_sources(), targets(model, length=7)
    plain = run(model, input_ids=source, decoder_input_ids=ids).logits
    for layout in LAYOUTS:
        padded, mask = lay_out(ids, layout)
        got = run(model, input_ids=source, decoder_input_ids=padded, decoder_attention_mask=mask).logits
        assert_close(got[mask].view(plain.shape), plain, **EXACT)


@pytest.mark.parametrize("name", DECODERS)
def test_the_rest_of_the_batch_changes_nothing(name: str) -> None:
    model = lively_model(name)
    source, mask = lay_out(clean_sources(4), "right")
    mask[1, 3:], mask[2, :4] = False, False
    ids = targets(model, rows=4)
    together = run(model, input_ids=source, attention_mask=mask, decoder_input_ids=ids).logits
    order = torch.tensor([3, 1, 0, 2])
    permuted = run(model, input_ids=source[order], attention_mask=mask[order], decoder_input_ids=ids[order]).logits
    assert_close(permuted, together[order], **EXACT)
    for row in range(4):
        alone = run(model, input_ids=source[row][mask[row]][None], decoder_input_ids=ids[row : row + 1]).logits
        assert_close(alone[0], together[row], **EXACT)


def test_padding_leaves_the_embeddings_as_zeros_whatever_row_of_the_table_it_names() -> None:
    model = make_lively(**MIXED, encoder_vocab_size=20)
    source, mask = lay_out(clean_sources(), "everywhere", filler=19)
    expected = run(model, input_ids=source, attention_mask=mask, decoder_input_ids=targets(model)).logits
    with torch.no_grad():
        model.get_input_embeddings().weight[19] = float("nan")
    inputs = {"input_ids": source, "attention_mask": mask, "decoder_input_ids": targets(model)}
    output = run(model, output_hidden_states=True, **inputs)
    assert (output.encoder_hidden_states[0][~mask] == 0).all()
    assert torch.equal(output.logits, expected)


def gradients(model: Any, loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    """Gradients of ``inputs``; checks that those of the parameters are finite."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, [*inputs, *parameters], allow_unused=True)
    assert all(grad is None or grad.isfinite().all() for grad in found)
    return list(found[: len(inputs)])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ENCODERS)
def test_nan_in_the_padding_of_source_vectors_reaches_nothing(name: str, attention: str) -> None:
    model = make_lively(attn_implementation=attention, **{**MIXED, **ENCODERS[name]})
    source, mask = lay_out(clean_sources(), "everywhere")
    vectors = model.get_input_embeddings()(source).detach()
    ids = targets(model)
    expected = run(model, inputs_embeds=vectors, attention_mask=mask, decoder_input_ids=ids).logits
    for poison in (float("nan"), float("inf"), 1e30):
        poisoned = torch.where(mask[..., None], vectors, poison).requires_grad_()
        logits = model(inputs_embeds=poisoned, attention_mask=mask, decoder_input_ids=ids).logits
        assert torch.equal(logits, expected)
        (grad,) = gradients(model, logits.square().sum(), poisoned)
        assert (grad[~mask] == 0).all()
        assert grad[mask].any(-1).all()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", DECODERS)
def test_nan_in_the_padding_of_encoder_outputs_and_target_vectors_reaches_nothing(name: str, attention: str) -> None:
    model = lively_model(name, attention=attention)
    source, mask = lay_out(clean_sources(), "everywhere")
    target, target_mask = lay_out(targets(model), "everywhere")
    with torch.no_grad():
        encoded = model.get_encoder()(source, attention_mask=mask)
        memory = encoded.last_hidden_state
        vectors = model.get_decoder().get_input_embeddings()(target)

    def logits(memory: Tensor, vectors: Tensor) -> Tensor:
        given = {"encoder_outputs": replace(encoded, last_hidden_state=memory), "attention_mask": mask}
        got: Tensor = model(decoder_inputs_embeds=vectors, decoder_attention_mask=target_mask, **given).logits
        return got[target_mask]

    expected = logits(memory, vectors).detach()
    poisoned = [
        torch.where(real[..., None], tensor, float("nan")).requires_grad_()
        for real, tensor in ((mask, memory), (target_mask, vectors))
    ]
    got = logits(*poisoned)
    assert torch.equal(got, expected)
    of_memory, of_target = gradients(model, got.square().sum(), *poisoned)
    assert (of_memory[~mask] == 0).all()
    assert (of_target[~target_mask] == 0).all()
    assert of_target[target_mask].any(-1).all()
    reached = of_memory[mask].any(-1)
    assert reached.any() if name == "hard_reinforce" else reached.all()  # which reads a position a step


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", DECODERS)
def test_a_source_that_is_all_padding_reads_as_nothing(name: str, attention: str) -> None:
    model = lively_model(name, attention=attention)
    source, ids = clean_sources(), targets(model)
    mask = torch.ones_like(source)
    mask[2, -2:] = 0
    before = run(model, input_ids=source, attention_mask=mask, decoder_input_ids=ids).logits
    mask[1] = 0
    output = model(
        input_ids=source, attention_mask=mask, decoder_input_ids=ids, output_attentions=attention == "eager"
    )
    assert output.logits.isfinite().all()
    assert torch.equal(output.logits[[0, 2]], before[[0, 2]])
    assert not torch.allclose(output.logits[1], before[1])
    if attention == "eager":
        for weights in output.cross_attentions:
            assert (weights[1] == 0).all()
            assert_close(weights[[0, 2]].sum(-1), torch.ones_like(weights[[0, 2]].sum(-1)), **EXACT)
    gradients(model, output.logits.square().sum())
    other = source.clone()
    other[1] = 3  # nothing that stands there is read
    again = run(model, input_ids=other, attention_mask=mask, decoder_input_ids=ids).logits
    assert torch.equal(again, output.logits)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_source_that_is_all_padding_is_finite_behind_any_encoder(name: str) -> None:
    model = make_lively(**{**MIXED, **ENCODERS[name]})
    source, ids = clean_sources(), targets(model)
    mask = torch.ones_like(source)
    mask[1] = 0
    output = model(input_ids=source, attention_mask=mask, decoder_input_ids=ids)
    assert output.logits.isfinite().all()
    assert output.encoder_last_hidden_state.isfinite().all()
    gradients(model, output.logits.square().sum())
    plain = run(model, input_ids=source, decoder_input_ids=ids).logits
    assert_close(output.logits[[0, 2]], plain[[0, 2]], **EXACT)


@pytest.mark.parametrize("name", DECODERS)
def test_a_target_that_is_all_padding_is_finite(name: str) -> None:
    model = lively_model(name)
    source, ids = clean_sources(), targets(model)
    mask = torch.ones_like(ids)
    mask[1] = 0
    logits = model(input_ids=source, decoder_input_ids=ids, decoder_attention_mask=mask).logits
    assert logits.isfinite().all()
    gradients(model, logits.square().sum())
    plain = run(model, input_ids=source, decoder_input_ids=ids).logits
    assert_close(logits[[0, 2]], plain[[0, 2]], **EXACT)
