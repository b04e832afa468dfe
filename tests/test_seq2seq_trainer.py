"""The trainer's loss and gradients are those of one large batch, for models that get it wrong by themselves too."""

import itertools
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    EvalPrediction,
    Seq2SeqTrainingArguments,
    TrainerCallback,
)
from transformers.modeling_outputs import Seq2SeqLMOutput

from hf_rnnattn.seq2seq_trainer import SequenceLoss, SequenceTrainer
from hf_rnnattn.time_budget import TimeBudget, TimeBudgetProgressCallback

LENGTHS = (3, 5, 9, 2, 7, 4, 12, 6)
ROWS = [{"input_ids": list(range(4, 4 + n)), "labels": list(range(5, 5 + n))} for n in LENGTHS]


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    width = max(len(row["labels"]) for row in rows)
    inputs = torch.tensor([row["input_ids"] + [1] * (width - len(row["input_ids"])) for row in rows])
    labels = torch.tensor([row["labels"] + [-100] * (width - len(row["labels"])) for row in rows])
    return {"input_ids": inputs, "attention_mask": inputs.ne(1).long(), "labels": labels}


def tiny_bart() -> BartForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in
             (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))}  # fmt: skip
    return BartForConditionalGeneration(
        BartConfig(vocab_size=24, d_model=16, dropout=0.0, max_position_embeddings=32, **sizes)
    )


class Gradients(TrainerCallback):
    def __init__(self) -> None:
        self.of: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        self.of = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def one_step(folder: Path, rows: list[dict], micro_batch: int, smoothing: float) -> tuple[float, dict]:
    gradients = Gradients()
    arguments = Seq2SeqTrainingArguments(
        str(folder), per_device_train_batch_size=micro_batch, gradient_accumulation_steps=len(rows) // micro_batch,
        max_steps=1, label_smoothing_factor=smoothing, max_grad_norm=0, save_strategy="no", report_to=[],
        use_cpu=True, disable_tqdm=True, logging_nan_inf_filter=False,
    )  # fmt: skip
    trainer = SequenceTrainer(
        model=tiny_bart(), args=arguments, train_dataset=rows, data_collator=collate, callbacks=[gradients]
    )
    return trainer.train().training_loss, gradients.of


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_accumulated_micro_batches_equal_one_large_batch(tmp_path: Path, smoothing: float) -> None:
    loss, gradients = one_step(tmp_path, ROWS, len(ROWS), smoothing)
    parts_loss, parts_gradients = one_step(tmp_path, ROWS, 2, smoothing)
    batch = collate(ROWS)
    labels = batch.pop("labels")
    decoder_input_ids = tiny_bart().prepare_decoder_input_ids_from_labels(labels=labels)
    logits = tiny_bart()(**batch, decoder_input_ids=decoder_input_ids).logits
    expected = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing)
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert parts_loss == pytest.approx(loss, abs=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(parts_gradients[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_batch_without_labels_has_loss_and_gradients_zero(tmp_path: Path, smoothing: float) -> None:
    rows = [{**row, "labels": [-100] * len(row["labels"])} for row in ROWS[:2]]
    loss, gradients = one_step(tmp_path, rows, 2, smoothing)
    assert loss == 0.0
    assert all(gradient.eq(0).all() for gradient in gradients.values())


def test_loss_ignores_added_columns_of_ignored_labels() -> None:
    logits = torch.randn(2, 5, 7)
    labels = torch.tensor([[1, 2, 3, -100, -100], [4, -100, -100, -100, -100]])
    loss = SequenceLoss(0.1)
    narrow = loss(Seq2SeqLMOutput(logits=logits[:, :3]), labels[:, :3])
    torch.testing.assert_close(loss((logits,), labels), narrow)
    torch.testing.assert_close(loss((logits,), labels, num_items_in_batch=8), narrow / 2)


def test_smoothing_out_of_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label_smoothing_factor must be in \[0, 1\), got 1.0"):
        SequenceLoss(1.0)


def trainer_with_budget(folder: Path, seconds: float, **options) -> SequenceTrainer:
    ticks = itertools.count()
    budget = TimeBudget(seconds, clock=lambda: float(next(ticks)))  # every look at the clock takes a second
    arguments = Seq2SeqTrainingArguments(
        str(folder), per_device_train_batch_size=2, num_train_epochs=1000, learning_rate=1e-2, report_to=[],
        use_cpu=True, logging_steps=1, **options,
    )  # fmt: skip
    return SequenceTrainer(
        model=tiny_bart(), args=arguments, train_dataset=ROWS, eval_dataset=ROWS, data_collator=collate,
        time_budget=budget,
    )  # fmt: skip


def test_training_stops_when_the_time_is_up_with_the_learning_rate_annealed(tmp_path: Path, capsys) -> None:
    trainer = trainer_with_budget(tmp_path, 12, eval_strategy="steps", eval_steps=100, save_strategy="steps")
    trainer.train()
    log = trainer.state.log_history
    rates = [entry["learning_rate"] for entry in log if "learning_rate" in entry]
    assert len(rates) == trainer.state.global_step == 6  # two looks a step
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(rates[0] * 0.25)  # the last step began with two or three of twelve seconds left
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [6]
    assert (tmp_path / "checkpoint-6").is_dir()


def test_progress_bar_counts_the_seconds_of_the_budget(tmp_path: Path, capsys) -> None:
    trainer = trainer_with_budget(tmp_path, 6, save_strategy="no")
    assert any(isinstance(callback, TimeBudgetProgressCallback) for callback in trainer.callback_handler.callbacks)
    trainer.train()
    assert "6/6 s, step 3, epoch 0.75" in capsys.readouterr().err


def test_training_leaves_the_cache_setting_of_the_config_alone(tmp_path: Path) -> None:
    trainer = trainer_with_budget(tmp_path, 2, save_strategy="no", disable_tqdm=True)
    trainer.train()
    trainer.save_model()
    assert BartConfig.from_pretrained(tmp_path).use_cache is True


@pytest.mark.parametrize("generate", [False, True])
def test_every_row_counts_once_in_the_evaluation(tmp_path: Path, generate: bool) -> None:
    rows = ROWS[:5]  # the last batch of two is half full
    arguments = Seq2SeqTrainingArguments(
        str(tmp_path), per_device_eval_batch_size=2, predict_with_generate=generate, generation_max_length=9,
        report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    model = tiny_bart().eval()
    seen = []

    def count(output: EvalPrediction) -> dict[str, float]:
        seen.append(len(output.label_ids))
        return {}

    trainer = SequenceTrainer(
        model=model, args=arguments, eval_dataset=rows, data_collator=collate, compute_metrics=count
    )
    batches = [(len(part), collate(part)) for part in (rows[:2], rows[2:4], rows[4:])]
    with torch.no_grad():
        expected = sum(size * model(**batch).loss.item() for size, batch in batches) / len(rows)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, abs=1e-5)
    assert seen == [len(rows)]


def test_card_of_the_run_is_not_written_over(tmp_path: Path) -> None:
    trainer = trainer_with_budget(tmp_path, 2, save_strategy="no", disable_tqdm=True)
    trainer.create_model_card(model_name="of transformers")
    assert "of transformers" in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("of the run")
    trainer.create_model_card(model_name="of transformers")
    assert (tmp_path / "README.md").read_text() == "of the run"


def test_evaluation_keeps_the_order_of_its_rows_also_where_training_groups_them_by_length(tmp_path):
    arguments = Seq2SeqTrainingArguments(
        str(tmp_path), train_sampling_strategy="group_by_length", per_device_eval_batch_size=2, report_to=[],
        use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = SequenceTrainer(model=tiny_bart(), args=arguments, train_dataset=ROWS, data_collator=collate)
    labels = trainer.predict(ROWS).label_ids
    assert [int((row != -100).sum()) for row in labels] == list(LENGTHS)


def test_training_again_starts_a_new_schedule(tmp_path: Path) -> None:
    trainer = trainer_with_budget(tmp_path, 12, save_strategy="no", disable_tqdm=True)
    trainer.train()
    first = trainer.lr_scheduler
    trainer.train()
    assert trainer.lr_scheduler is not first
