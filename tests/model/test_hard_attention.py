"""One position a step: what is drawn, what it teaches, and the exact sum over every position, all by enumeration."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from hf_rnnattn import RnnAttnForCausalLM
from hf_rnnattn.model.hard_attention import ChosenCrossAttention
from lively_models import EXACT, make_lively, run
from model_zoo import tiny_config

SLOTS = 4
FIELDS: dict[str, Any] = {
    "decoder_mixers": ["gru"],
    "cross_attention": "general",
    "readout": "deep",
    "tie_word_embeddings": False,
    "eos_token_id": None,
}


def models(**overrides: Any) -> tuple[Any, Any]:
    """The same weights with draws, in training, and with the exact sum."""
    drawing = make_lively(**FIELDS, **overrides, hard_attention="reinforce")
    exact = make_lively(**FIELDS, **overrides, hard_attention="marginal")
    report = exact.load_state_dict(drawing.state_dict(), strict=False)
    assert report.unexpected_keys == ["distribution.baseline"]
    assert not report.missing_keys
    return drawing.train(), exact


def small_case() -> dict[str, Tensor]:
    """Two sources, the second with padding, and one token to be written after the start."""
    return {
        "input_ids": torch.tensor([[3, 4, 5, 6], [7, 8, 9, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
        "decoder_input_ids": torch.tensor([[1], [1]]),
    }


LABELS = torch.tensor([[5], [8]])


def attention_of(model: Any) -> ChosenCrossAttention:
    attention: ChosenCrossAttention = model.get_decoder().layers[-1].cross_attention
    return attention


def choosing(model: Any, monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    """From now on this position is chosen, whatever the weights."""
    monkeypatch.setattr(
        attention_of(model), "choose", lambda weights: torch.full(weights.shape[:2], position, dtype=torch.long)
    )


def alpha_of(exact: Any, inputs: dict[str, Tensor]) -> Tensor:
    """(B, S) of the only step."""
    return exact(**inputs, output_attentions=True).cross_attentions[0][:, 0, 0]


def gradients(model: Any) -> list[Tensor]:
    return [torch.zeros_like(weight) if weight.grad is None else weight.grad.clone() for weight in model.parameters()]


def test_the_exact_distribution_is_the_sum_over_every_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing, exact = models()
    inputs = small_case()
    inputs["decoder_input_ids"] = torch.tensor([[1, 4, 7], [1, 9, 9]])
    output = run(exact, output_attentions=True, **inputs)
    total = torch.zeros_like(output.logits)
    for position in range(SLOTS):
        choosing(drawing, monkeypatch, position)
        p = run(drawing, **inputs).logits.softmax(-1)
        total += output.cross_attentions[0][:, 0, :, position, None] * p
    assert_close(output.logits.exp(), total, **EXACT)
    assert_close(output.logits.exp().sum(-1), torch.ones(2, 3, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("baseline", [0.0, -2.5])
def test_the_expected_gradient_of_reinforce_is_that_of_the_expected_loss(
    monkeypatch: pytest.MonkeyPatch, baseline: float
) -> None:
    """Over every choice, weighted as it would be drawn, whatever the baseline."""
    drawing, exact = models(hard_attention_entropy=0.0)
    inputs = small_case()
    # Row by row, so that each row has a choice of its own.
    for row in range(2):
        one = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
        label = LABELS[row : row + 1]
        alpha = alpha_of(exact, one)[0].detach()
        expected = [torch.zeros_like(weight) for weight in drawing.parameters()]
        bound = torch.zeros((), dtype=torch.float64)
        for position in range(SLOTS):
            choosing(drawing, monkeypatch, position)
            drawing.distribution.baseline.fill_(baseline)
            drawing.zero_grad()
            drawing(**one, labels=label).loss.backward()
            for total, gradient in zip(expected, gradients(drawing), strict=True):
                total += alpha[position] * gradient
            log_p = drawing(**one).logits[0, 0].log_softmax(-1)[label[0, 0]]
            bound = bound - alpha_of_trained(drawing, one)[position] * log_p
        drawing.zero_grad()
        bound.backward()
        for got, want in zip(expected, gradients(drawing), strict=True):
            assert_close(got, want, rtol=0.0, atol=1e-10)
        assert bound >= exact(**one, labels=label).loss  # Jensen's inequality


def alpha_of_trained(drawing: Any, inputs: dict[str, Tensor]) -> Tensor:
    """(S,) with their gradients."""
    weights: Tensor = drawing.model(**inputs).reading[1][0, 0].exp()
    return weights


def test_the_loss_has_the_value_of_cross_entropy_and_the_entropy_only_a_gradient() -> None:
    inputs = small_case()
    losses, kept = [], []
    for entropy in (0.0, 0.5):
        drawing, _ = models(hard_attention_entropy=entropy)
        torch.manual_seed(0)
        output = drawing(**inputs, labels=LABELS)
        want = torch.nn.functional.cross_entropy(output.logits[:, 0], LABELS[:, 0])
        assert_close(output.loss, want, **EXACT)
        output.loss.backward()
        losses.append(output.loss.item())
        kept.append(attention_of(drawing).score.query_proj.weight.grad)
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert not torch.allclose(kept[0], kept[1])


def test_positions_are_drawn_as_often_as_their_weights_say_and_padding_never() -> None:
    drawing, exact = models()
    inputs = small_case()
    alpha = alpha_of(exact, inputs)
    draws = 4000
    log_weights = drawing.model(**inputs).reading[1].detach().expand(2, draws, SLOTS)
    torch.manual_seed(0)
    drawn = torch.nn.functional.one_hot(attention_of(drawing).choose(log_weights), SLOTS).double().mean(1)
    deviation = (alpha * (1 - alpha) / draws).sqrt()
    assert ((drawn - alpha).abs() <= 4 * deviation + 1e-12).all()
    assert drawn[1, 3] == 0


def test_the_likeliest_position_is_read_when_nothing_is_trained() -> None:
    drawing, exact = models()
    inputs = small_case()
    read = run(drawing.eval(), output_attentions=True, **inputs).cross_attentions[0]
    assert torch.equal(read[:, 0, 0], torch.nn.functional.one_hot(alpha_of(exact, inputs).argmax(-1), SLOTS).double())


def test_the_baseline_follows_the_rewards_and_travels_with_the_weights(tmp_path: Any) -> None:
    drawing, _ = models()
    inputs = small_case()
    before = drawing.distribution.baseline.clone()
    reward = -drawing(**inputs, labels=LABELS).loss
    assert_close(drawing.distribution.baseline, before + 0.1 * (reward.detach() - before), **EXACT)
    held = drawing.distribution.baseline.clone()
    drawing(**inputs, labels=torch.full_like(LABELS, -100))
    drawing.eval()(**inputs, labels=LABELS)
    assert torch.equal(drawing.distribution.baseline, held)
    drawing.save_pretrained(tmp_path)
    assert_close(type(drawing).from_pretrained(tmp_path).distribution.baseline, held, check_dtype=False)


def test_labels_that_are_all_ignored_teach_nothing() -> None:
    drawing, _ = models()
    loss = drawing(**small_case(), labels=torch.full_like(LABELS, -100)).loss
    loss.backward()
    assert loss == 0
    assert all((gradient == 0).all() for gradient in gradients(drawing))


@pytest.mark.parametrize("kind", ["reinforce", "marginal"])
def test_a_source_of_padding_gives_a_distribution(kind: str) -> None:
    model = make_lively(**FIELDS, hard_attention=kind)
    inputs = small_case()
    inputs["attention_mask"][1] = 0
    output = run(model, output_attentions=True, **inputs)
    assert (output.cross_attentions[0][1] == 0).all()
    assert_close(output.logits.softmax(-1).sum(-1), torch.ones(2, 1, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("kind", ["reinforce", "marginal"])
def test_only_the_last_layer_reads(kind: str) -> None:
    model = make_lively(**{**FIELDS, "decoder_mixers": ["gru", "lstm"]}, hard_attention=kind)
    assert [layer.reads_encoder for layer in model.model.decoder.layers] == [False, True]


@pytest.mark.parametrize("kind", ["reinforce", "marginal"])
def test_a_decoder_of_another_encoder_learns_and_keeps_the_logits_asked_for(kind: str) -> None:
    config = tiny_config(**FIELDS, hard_attention=kind, add_cross_attention=True)
    model = RnnAttnForCausalLM(config).double()
    ids, memory = torch.tensor([[1, 4, 5]]), torch.randn(1, 6, 16).double()
    model(ids, encoder_hidden_states=memory, labels=ids).loss.backward()
    assert attention_of(model).score.query_proj.weight.grad.abs().max() > 0
    whole = run(model.eval(), input_ids=ids, encoder_hidden_states=memory).logits
    last = run(model, input_ids=ids, encoder_hidden_states=memory, logits_to_keep=1).logits
    assert_close(last, whole[:, -1:], **EXACT)
    with pytest.raises(ValueError, match=f"hard_attention '{kind}' reads an encoder's output: it must be 'none'"):
        RnnAttnForCausalLM(tiny_config(**FIELDS, hard_attention=kind))


def test_what_leaves_out_choices_is_not_blind_to_what_they_see() -> None:
    """Another source, another distribution: of the exact sum, and of what is drawn."""
    for model in models():
        inputs = small_case()
        before = run(model.eval(), **inputs).logits
        inputs["input_ids"][0] += 1
        assert not torch.allclose(run(model, **inputs).logits[0], before[0])
