"""transformers' own Seq2SeqTrainer with the flags that users set, on our models."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.testing import assert_close
from transformers import DataCollatorForSeq2Seq, EarlyStoppingCallback, Seq2SeqTrainer, Seq2SeqTrainingArguments

from checkpointing import FLAG, NAME
from distributed_worker import examples
from hf_rnnattn import RnnAttnForConditionalGeneration
from lively_models import DECODERS
from model_zoo import tiny_config
from tiny_seq2seq import character_tokenizer

DECODERS_TO_TRAIN = ("lstm", "ssru", "bahdanau_gru", "gru+full_attention")
COMMON = {"per_device_train_batch_size": 8, "learning_rate": 1e-2, "logging_steps": 1, "disable_tqdm": True}


def trainer(folder, decoder="lstm", callbacks=(), compute_metrics=None, **arguments):
    torch.manual_seed(0)
    model = RnnAttnForConditionalGeneration(tiny_config(vocab_size=31, **DECODERS[decoder]))
    collator = DataCollatorForSeq2Seq(character_tokenizer(), model=model)
    settings = {**COMMON, "max_steps": 8, "report_to": [], "save_strategy": "no", "use_cpu": True, **arguments}
    return Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(str(folder), **settings),
        train_dataset=examples(),
        eval_dataset=examples()[:9],
        data_collator=collator,
        processing_class=collator.tokenizer,
        callbacks=[*callbacks],
        compute_metrics=compute_metrics,
    )


def losses(run):
    run.train()
    return [entry["loss"] for entry in run.state.log_history if "loss" in entry]


@pytest.mark.parametrize("decoder", DECODERS_TO_TRAIN)
@pytest.mark.parametrize(
    "flags",
    [
        {"bf16": True},
        {"label_smoothing_factor": 0.1},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
        FLAG,
        {**FLAG, f"{NAME}_kwargs": {"use_reentrant": True}},
        {"train_sampling_strategy": "group_by_length"},
        {"optim": "adafactor"},
        {"optim": "sgd", "learning_rate": 0.3, "lr_scheduler_type": "cosine", "warmup_steps": 2},
        {"neftune_noise_alpha": 2.0},
        {"dataloader_num_workers": 1, "dataloader_drop_last": True},
        {"include_num_input_tokens_seen": "all", "max_grad_norm": 0.5},
    ],
    ids=str,
)
def test_training_learns_with_every_flag(decoder, flags, tmp_path):
    found = losses(trainer(tmp_path, decoder, **flags))
    assert all(loss > 0 for loss in found)
    assert sum(found[-3:]) < sum(found[:3])


@pytest.mark.parametrize("flags", [FLAG, {"gradient_accumulation_steps": 4}], ids=str)
def test_flags_that_save_memory_change_no_loss(flags, tmp_path):
    size = 8 // flags.get("gradient_accumulation_steps", 1)
    plain = losses(trainer(tmp_path / "plain"))
    found = losses(trainer(tmp_path / "saving", per_device_train_batch_size=size, **flags))
    assert found == pytest.approx(plain, abs=1e-4)


def test_label_smoothing_is_not_shifted_twice(tmp_path):
    run = trainer(tmp_path, label_smoothing_factor=0.2)
    batch = run.data_collator([dict(row) for row in examples()[:4]])
    run.model.eval()
    logits = run.model(**batch).logits
    wanted = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100, label_smoothing=0.2
    )
    assert_close(run.compute_loss(run.model, dict(batch)), wanted, rtol=1e-5, atol=1e-6)


def test_the_state_of_recurrences_stays_float32_in_bf16():
    model = RnnAttnForConditionalGeneration(tiny_config(decoder_mixers=["lstm", "ssru"]))
    ids = torch.ones(2, 3).long()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cache = model(input_ids=ids, decoder_input_ids=ids, use_cache=True).cache
    for layer in cache.self_attention_cache.layers:
        assert {state.dtype for state in layer.states.values()} == {torch.float32}


def test_generated_predictions_stand_in_their_rows(tmp_path):
    seen = {}

    def keep(prediction):
        seen["shapes"] = prediction.predictions.shape, prediction.label_ids.shape
        return {"first": float((prediction.predictions[:, 0] == 1).mean())}

    run = trainer(
        tmp_path,
        predict_with_generate=True,
        generation_max_length=9,
        generation_num_beams=2,
        per_device_eval_batch_size=4,
        eval_accumulation_steps=1,
        compute_metrics=keep,
    )
    metrics = run.evaluate()
    assert seen["shapes"][0][0] == seen["shapes"][1][0] == 9
    assert metrics["eval_first"] == 1.0
    assert metrics["eval_loss"] > 0


def test_early_stopping_the_best_model_and_tensorboard(tmp_path):
    run = trainer(
        tmp_path,
        callbacks=[EarlyStoppingCallback(2)],
        max_steps=40,
        learning_rate=3.0,  # too large: it soon gets worse
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        report_to=["tensorboard"],
    )
    run.train()
    evaluations = [entry["eval_loss"] for entry in run.state.log_history if "eval_loss" in entry]
    assert run.state.global_step < 40
    assert run.state.best_metric == min(evaluations)
    assert run.evaluate()["eval_loss"] == pytest.approx(min(evaluations), abs=1e-5)
    assert len(list(tmp_path.glob("checkpoint-*"))) <= 2
    (events,) = {path.parent for path in tmp_path.rglob("events.out.tfevents.*")}
    log = EventAccumulator(str(events)).Reload()
    logged = [event.value for event in log.Scalars("eval/loss")]
    assert logged[: len(evaluations)] == pytest.approx(evaluations, abs=1e-4)
    assert "train/loss" in log.Tags()["scalars"]


def test_a_compiled_model_trains_to_the_same_losses(tmp_path):
    plain = losses(trainer(tmp_path / "plain", "ssru", max_steps=2))
    compiled = losses(trainer(tmp_path / "compiled", "ssru", max_steps=2, torch_compile_backend="aot_eager"))
    assert compiled == pytest.approx(plain, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS_TO_TRAIN)
def test_inductor_trains_to_the_same_losses(decoder, tmp_path):
    plain = losses(trainer(tmp_path / "plain", decoder, max_steps=3))
    compiled = losses(trainer(tmp_path / "compiled", decoder, max_steps=3, torch_compile=True))
    assert compiled == pytest.approx(plain, abs=1e-3)
