"""Gradients that are not finite change no weight and no checkpoint, and the message says where they came from."""

import pytest
import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback

from distributed_worker import collate, examples
from hf_rnnattn import RnnAttnForConditionalGeneration
from hf_rnnattn.checkpoint import load_strict
from hf_rnnattn.finite_training import FiniteGradientsCallback
from hf_rnnattn.seq2seq_trainer import SequenceTrainer
from model_zoo import tiny_config

BAD_STEP = 4
FORBIDDEN = 13  # words below this are forbidden: half of them, so that every batch has some to say
PARAMETER = "model.decoder.layers.1.feed_forward.fc1.weight"


class Spoil(TrainerCallback):
    """Makes the gradient of one parameter NaN or infinite at one step."""

    def __init__(self, value: float) -> None:
        self.value = value

    def on_step_begin(self, args, state, control, model, **kwargs) -> None:
        parameter = model.get_parameter(PARAMETER)
        if state.global_step + 1 == BAD_STEP:
            self.hook = parameter.register_hook(lambda grad: grad + self.value)
        elif state.global_step == BAD_STEP:
            self.hook.remove()


class SpoilLogits(TrainerCallback):
    """Changes what the model says at one step: to NaN, or so that a word of the target is forbidden."""

    def __init__(self, change) -> None:
        self.change = change

    def on_step_begin(self, args, state, control, model, **kwargs) -> None:
        if state.global_step + 1 == BAD_STEP:
            self.hook = model.lm_head.register_forward_hook(lambda module, inputs, logits: self.change(logits))
        elif state.global_step == BAD_STEP:
            self.hook.remove()


def forbid(logits):
    """A mask of minus infinity: the loss is infinite, the gradients are not."""
    return logits.masked_fill(torch.arange(logits.shape[-1]) < FORBIDDEN, float("-inf"))


def trainer(folder, kind, *callbacks, **arguments):
    torch.manual_seed(0)
    model = RnnAttnForConditionalGeneration(tiny_config())
    training = Seq2SeqTrainingArguments(
        str(folder),
        per_device_train_batch_size=4,
        max_steps=6,
        save_steps=1,
        learning_rate=1e-2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **arguments,
    )
    return kind(model=model, args=training, train_dataset=examples(), data_collator=collate, callbacks=[*callbacks])


@pytest.mark.parametrize("kind", [Seq2SeqTrainer, SequenceTrainer])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_stopping_names_step_and_parameter_and_keeps_what_was_learnt(kind, value, accumulation, tmp_path):
    run = trainer(tmp_path, kind, Spoil(value), FiniteGradientsCallback(), gradient_accumulation_steps=accumulation)
    with pytest.raises(FloatingPointError, match=rf"the gradient of {PARAMETER} is not finite at step {BAD_STEP};"):
        run.train()
    assert all(torch.isfinite(parameter).all() for parameter in run.model.parameters())
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{n}" for n in (1, 2, 3)]
    last = load_strict(tmp_path / "checkpoint-3").state_dict()
    assert all(torch.equal(value, last[name]) for name, value in run.model.state_dict().items())


@pytest.mark.parametrize("kind", [Seq2SeqTrainer, SequenceTrainer])
def test_skipping_leaves_the_step_out_and_goes_on(kind, tmp_path, caplog):
    guard = FiniteGradientsCallback("skip")
    run = trainer(tmp_path, kind, Spoil(float("nan")), guard)
    run.train()
    assert guard.skipped == 1
    assert f"the gradient of {PARAMETER} is not finite at step {BAD_STEP}: the step is left out" in caplog.text
    before, after, later = (load_strict(tmp_path / f"checkpoint-{n}").state_dict() for n in (3, 4, 5))
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert any(not torch.equal(later[name], after[name]) for name in after)


def first_with_a_gradient(model):
    """The first parameter, in the model's order, that the loss depends on."""
    batch = collate([examples()[0]])
    model.train()
    model(**batch).loss.backward()
    return next(name for name, parameter in model.named_parameters() if parameter.grad is not None)


@pytest.mark.parametrize(("kind", "accumulation"), [(Seq2SeqTrainer, 1), (Seq2SeqTrainer, 2), (SequenceTrainer, 2)])
@pytest.mark.parametrize(("change", "loss_alone"), [(lambda logits: logits * float("nan"), False), (forbid, True)])
def test_a_loss_that_is_not_finite_stops_the_run(change, loss_alone, kind, accumulation, tmp_path):
    stopping = FiniteGradientsCallback()
    run = trainer(tmp_path, kind, SpoilLogits(change), stopping, gradient_accumulation_steps=accumulation)
    first = first_with_a_gradient(RnnAttnForConditionalGeneration(tiny_config()))
    where = "the loss" if loss_alone else f"the gradient of {first}"
    with pytest.raises(FloatingPointError, match=rf"^{where} is not finite at step {BAD_STEP};"):
        run.train()
    last = load_strict(tmp_path / "checkpoint-3").state_dict()
    assert all(torch.equal(value, last[name]) for name, value in run.model.state_dict().items())
    assert not (tmp_path / "checkpoint-4").exists()


def test_a_loss_that_is_not_finite_is_skipped(tmp_path, caplog):
    guard = FiniteGradientsCallback("skip")
    trainer(tmp_path, Seq2SeqTrainer, SpoilLogits(forbid), guard).train()
    assert guard.skipped == 1
    assert f"the loss is not finite at step {BAD_STEP}: the step is left out" in caplog.text
    before, after, later = (load_strict(tmp_path / f"checkpoint-{n}").state_dict() for n in (3, 4, 5))
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert any(not torch.equal(later[name], after[name]) for name in after)


def test_without_it_the_weights_are_lost(tmp_path):
    """What the callback is for: the stock Trainer goes on with NaN weights, and saves them."""
    run = trainer(tmp_path, Seq2SeqTrainer, Spoil(float("nan")))
    run.train()
    with pytest.raises(ValueError, match="non-finite values in"):
        load_strict(tmp_path / "checkpoint-6")


def test_it_changes_nothing_where_gradients_are_finite(tmp_path):
    runs = []
    for name, callbacks in (("with", [FiniteGradientsCallback()]), ("without", [])):
        run = trainer(tmp_path / name, Seq2SeqTrainer, *callbacks)
        run.train()
        runs.append(run.model.state_dict())
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_another_action_is_refused():
    with pytest.raises(ValueError, match="action must be one of stop, skip, got 'ignore'"):
        FiniteGradientsCallback("ignore")
