"""The loss: aligned with the logits, blind to ignored labels, and the same however a batch is cut up."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.model.loss_rnnattn import seq2seq_loss, shift_tokens_right
from model_zoo import ZOO, batch, tiny_model

IGNORED = -100
EXACT = {"rtol": 0.0, "atol": 1e-12}
LABELS = torch.tensor([[5, 6, 2, IGNORED, IGNORED], [7, 8, 9, 4, 2], [2, IGNORED, IGNORED, IGNORED, IGNORED]])


def model_and_batch(**overrides: Any) -> tuple[RnnAttnForConditionalGeneration, dict[str, Tensor]]:
    """A float64 model and a source of three rows with their labels."""
    model = tiny_model(decoder_mixers=["gru", "ssru+full_attention"], **overrides).double()
    inputs = batch(model.config)
    del inputs["decoder_input_ids"]
    return model, {**inputs, "labels": LABELS}


def gradients(model: RnnAttnForConditionalGeneration, *losses: Tensor) -> dict[str, Tensor]:
    """Gradients of the sum of the losses, of every parameter."""
    model.zero_grad()
    for loss in losses:
        loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def check_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Asserts that all gradients are equal."""
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **EXACT, msg=name)


# --- the formula -----------------------------------------------------------------------------------------------------


def by_hand(logits: Tensor, labels: Tensor) -> float:
    """Mean over real labels of log(sum of exponentials) - logit of the label at the SAME position."""
    losses = [
        math.log(sum(math.exp(float(logit)) for logit in logits[row, t])) - float(logits[row, t, labels[row, t]])
        for row in range(labels.shape[0])
        for t in range(labels.shape[1])
        if labels[row, t] != IGNORED
    ]
    return sum(losses) / len(losses)


def test_the_loss_is_the_cross_entropy_of_the_label_at_the_same_position() -> None:
    model, inputs = model_and_batch()
    outputs = model(**inputs)
    assert float(outputs.loss.detach()) == pytest.approx(by_hand(outputs.logits.detach(), LABELS), abs=1e-12)


def test_labels_become_the_decoders_input_shifted_once() -> None:
    model, inputs = model_and_batch()
    read = torch.tensor([[1, 5, 6, 2, 0], [1, 7, 8, 9, 4], [1, 2, 0, 0, 0]])
    assert torch.equal(model.prepare_decoder_input_ids_from_labels(labels=LABELS), read)
    assert torch.equal(model(**inputs).logits, model(**inputs, decoder_input_ids=read).logits)


def test_given_decoder_inputs_are_used_as_they_are() -> None:
    model, inputs = model_and_batch()
    other = torch.full_like(LABELS, 3)
    outputs = model(**inputs, decoder_input_ids=other)
    assert float(outputs.loss.detach()) == pytest.approx(by_hand(outputs.logits.detach(), LABELS), abs=1e-12)
    vectors = model.get_decoder().get_input_embeddings()(other)
    assert torch.equal(model(**inputs, decoder_inputs_embeds=vectors).logits, outputs.logits)


def test_without_labels_there_is_no_loss() -> None:
    model, inputs = model_and_batch()
    del inputs["labels"]
    assert model(**inputs, decoder_input_ids=torch.tensor([[1]] * 3)).loss is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_loss_of_half_precision_logits_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits = (20 * torch.randn(3, 5, 700)).to(dtype)
    loss = seq2seq_loss(logits, LABELS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, seq2seq_loss(logits.float(), LABELS), rtol=0.0, atol=0.0)


# --- what is ignored -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 4])
def test_more_ignored_columns_change_nothing(columns: int) -> None:
    model, inputs = model_and_batch()
    loss = model(**inputs).loss
    padding = torch.full((3, columns), IGNORED)
    padded = model(**{**inputs, "labels": torch.cat([LABELS, padding], dim=1)}).loss
    torch.testing.assert_close(padded, loss, **EXACT)
    check_equal(gradients(model, padded), gradients(model, model(**inputs).loss))


@pytest.mark.parametrize("name", ["composites", "decoder_bahdanau_gru", "decoder_lstm", "additive", "untied_separate"])
@pytest.mark.parametrize("items", [None, 0, torch.tensor(0), 7])
def test_when_every_label_is_ignored_loss_and_gradients_are_exactly_zero(name: str, items: Any) -> None:
    model = tiny_model(**ZOO[name]).train()
    inputs = batch(model.config)
    labels = torch.full_like(inputs["decoder_input_ids"], IGNORED)
    loss = model(**inputs, labels=labels, num_items_in_batch=items).loss
    assert loss.item() == 0.0
    for key, gradient in gradients(model, loss).items():  # none is None
        assert (gradient == 0).all(), key


# --- how a batch is cut up -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_tensor", [True, False])
@pytest.mark.parametrize("cuts", [[1, 1, 1], [2, 1], [1, 2]])
def test_micro_batches_sum_to_the_whole_batch(cuts: list[int], as_tensor: bool) -> None:
    model, inputs = model_and_batch()
    whole = model(**inputs).loss
    expected = gradients(model, whole)
    count = (LABELS != IGNORED).sum()
    items = count if as_tensor else int(count)
    parts = zip(*(tensor.split(cuts) for tensor in inputs.values()), strict=True)
    losses = [model(**dict(zip(inputs, part, strict=True)), num_items_in_batch=items).loss for part in parts]
    torch.testing.assert_close(sum(losses), whole, **EXACT)
    check_equal(gradients(model, *losses), expected)


def test_the_number_of_items_divides_the_sum() -> None:
    logits = torch.randn(3, 5, 23, dtype=torch.float64)
    mean = seq2seq_loss(logits, LABELS)
    total = seq2seq_loss(logits, LABELS, num_items_in_batch=1)
    torch.testing.assert_close(total / 9, mean, **EXACT)
    torch.testing.assert_close(seq2seq_loss(logits, LABELS, torch.tensor(18)), mean / 2, **EXACT)


# --- shifting --------------------------------------------------------------------------------------------------------


def test_shifting_puts_the_start_first_and_padding_for_ignored_labels() -> None:
    labels = torch.tensor([[5, 2, IGNORED], [IGNORED, 6, 2]])
    assert shift_tokens_right(labels, 0, 1).tolist() == [[1, 5, 2], [1, 0, 6]]
    assert labels[0, 2] == IGNORED, "labels must not be written to"
    assert shift_tokens_right(labels[:, :1], 0, 1).tolist() == [[1], [1]]


@pytest.mark.parametrize(("missing", "ids"), [("pad_token_id", (None, 1)), ("decoder_start_token_id", (0, None))])
def test_shifting_needs_both_ids(missing: str, ids: tuple[int | None, int | None]) -> None:
    with pytest.raises(ValueError, match=f"{missing} is None: the decoder's input cannot be made from labels"):
        shift_tokens_right(LABELS, *ids)


def test_a_model_without_padding_learns_from_given_decoder_inputs() -> None:
    model, inputs = model_and_batch(pad_token_id=None)
    with pytest.raises(ValueError, match="pad_token_id is None"):
        model(**inputs)
    assert model(**inputs, decoder_input_ids=torch.ones_like(LABELS)).loss.isfinite()
