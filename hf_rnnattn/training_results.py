"""What a training run measures at its end, and the record it leaves (see ``hf_rnnattn.model_card`` for its keys)."""

import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedConfig, Seq2SeqTrainingArguments

from hf_rnnattn.command_line import command_line
from hf_rnnattn.evaluation import METRICS
from hf_rnnattn.generating import TextGenerator
from hf_rnnattn.model_building import needs_package, vocabulary_fields
from hf_rnnattn.results import machine, package_versions
from hf_rnnattn.seq2seq_trainer import SequenceTrainer
from hf_rnnattn.training_arguments import Arguments
from hf_rnnattn.training_data import TrainingData

# the trainer's names of the splits, and what it measures about itself rather than about the model
PREFIXES = {"validation": "eval", "test": "test"}
MEASURES_OF_THE_RUN = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
ALWAYS_RECORDED = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "weight_decay", "max_grad_norm",
    "per_device_train_batch_size", "gradient_accumulation_steps", "label_smoothing_factor", "seed",
)  # fmt: skip
NEVER_RECORDED = {
    "output_dir", "run_name", "hub_token", "logging_dir", "push_to_hub", "hub_model_id", "do_train", "do_eval",
    "do_predict", "disable_tqdm", "dataloader_pin_memory", "resume_from_checkpoint", "project", "local_rank",
}  # fmt: skip
CONFIG_ALWAYS_RECORDED = ("hidden_size", "encoder_mixers", "decoder_mixers")
CONFIG_NEVER_RECORDED = {"architectures", "dtype", "transformers_version", "_name_or_path", "id2label", "label2id"}
SECRET_FLAGS = ("--hub_token",)


def measure(trainer: SequenceTrainer, data: TrainingData, encoded: Mapping[str, Dataset]) -> dict[str, Any]:
    """Evaluate on validation and test data as far as the arguments ask for it.

    Writes ``eval_results.json``, ``test_results.json`` and ``all_results.json`` as transformers' examples do.

    Returns:
        {split: {"examples": number, "metrics": {name: value}}}.
    """
    wanted = {"validation": trainer.args.do_eval, "test": trainer.args.do_predict}
    evaluation = {}
    for split, prefix in PREFIXES.items():
        if not wanted[split]:
            continue
        rows = encoded[split]
        trainer.compute_metrics = data.metrics_of(split, trainer.processing_class)
        metrics = trainer.evaluate(rows, metric_key_prefix=prefix)
        metrics[f"{prefix}_samples"] = len(rows)
        trainer.log_metrics(prefix, metrics)
        trainer.save_metrics(prefix, metrics)
        evaluation[split] = {"examples": len(rows), "metrics": _of_the_model(metrics, prefix)}
    return evaluation


def _of_the_model(metrics: Mapping[str, float], prefix: str) -> dict[str, float | None]:
    named = {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items() if name.startswith(prefix)}
    return {name: _finite(value) for name, value in named.items() if name not in (*MEASURES_OF_THE_RUN, "samples")}


def examples(trainer: SequenceTrainer, data: TrainingData, count: int) -> list[dict[str, str]]:
    """The first ``count`` texts of the test data, or else of the validation data, and what the model makes of them."""
    rows = next((data.splits[split] for split in ("test", "validation") if split in data.splits), None)
    if rows is None or count < 1:
        return []
    shown = rows.select(range(min(count, len(rows))))
    sources = [data.arguments.source_prefix + source for source in shown["source"]]
    generator = TextGenerator(
        trainer.model,
        trainer.processing_class,
        max_source_length=data.arguments.max_source_length,
        num_beams=trainer.args.generation_num_beams,
        max_length=trainer.args.generation_max_length,
    )
    predictions = generator(sources, list(shown["pair"]) if "pair" in shown.column_names else None)
    return [
        {"source": source, "prediction": prediction, "reference": reference}
        for source, (prediction, *_), reference in zip(sources, predictions, shown["target"], strict=True)
    ]


def run_results(
    arguments: Arguments,
    data: TrainingData,
    trainer: SequenceTrainer,
    training: Mapping[str, Any] | None,
    evaluation: Mapping[str, Any],
) -> dict[str, Any]:
    """The record of a run.

    Args:
        arguments: of the run.
        data: of the run.
        trainer: after training.
        training: the metrics that training returned, None without training.
        evaluation: as ``measure`` returns it.
    """
    run, model, tokenizer = arguments.run, trainer.model, trainer.processing_class
    vocabulary = vocabulary_fields(tokenizer)
    record: dict[str, Any] = {
        "name": run.card_name or Path(arguments.training.output_dir).resolve().name,
        "license": run.card_license,
        "language": run.card_language or None,
        "base_model": arguments.model.model_name_or_path,
        "data": data.record(),
        "model": {
            "class": type(model).__name__,
            "model_type": model.config.model_type,
            "parameters": model.num_parameters(),
            "needs_package": needs_package(model, tokenizer),
            "config": recorded_config(model.config),
        },
        "tokenizer": {
            "class": type(tokenizer).__name__,
            "source_vocabulary": vocabulary["encoder_vocab_size"],
            "target_vocabulary": vocabulary["vocab_size"],
        },
        "training": _training_record(arguments, trainer, training),
        "evaluation": dict(evaluation),
        "generation": {
            "num_beams": arguments.training.generation_num_beams or model.generation_config.num_beams or 1,
            "max_length": arguments.training.generation_max_length,
        },
        "metric_notes": {name: METRICS[name].description for name in arguments.data.metrics} or None,
        "examples": examples(trainer, data, run.num_examples),
        "command": command_line("scripts/train_seq2seq.py", without_secrets(arguments.command)),
        "versions": package_versions(),
        "machine": machine(),
    }
    return {name: value for name, value in record.items() if value is not None}


def _training_record(
    arguments: Arguments, trainer: SequenceTrainer, metrics: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    if metrics is None:
        return None
    state = trainer.state
    return {
        "seconds": metrics["train_runtime"],
        "steps": state.global_step,
        "epochs": state.epoch,
        "loss": _finite(metrics["train_loss"]),
        "processes": arguments.training.world_size,
        "best_metric": state.best_metric,
        "best_step": state.best_global_step,
        "max_train_minutes": arguments.run.max_train_minutes,
        "arguments": recorded_arguments(arguments.training),
    }


def recorded_arguments(training: Seq2SeqTrainingArguments) -> dict[str, Any]:
    """The arguments that always matter, and those that differ from their defaults. Never tokens or folders."""
    record = {}
    for field in dataclasses.fields(training):
        value = getattr(training, field.name)
        value = value.value if isinstance(value, enum.Enum) else value
        default = field.default.value if isinstance(field.default, enum.Enum) else field.default
        chosen = isinstance(value, bool | int | float | str) and value != (default or False)
        if field.name in ALWAYS_RECORDED or (chosen and field.name not in NEVER_RECORDED):
            record[field.name] = value
    return dict(sorted(record.items()))


def recorded_config(config: PreTrainedConfig) -> dict[str, Any]:
    """The config's main fields, and those that differ from the family's defaults."""
    default = type(config)().to_dict()
    return {
        name: value
        for name, value in config.to_dict().items()
        if name in CONFIG_ALWAYS_RECORDED or (value != default.get(name) and name not in CONFIG_NEVER_RECORDED)
    }


def without_secrets(command: Sequence[str]) -> list[str]:
    """The command line with the values of secret flags replaced."""
    safe: list[str] = []
    for word in command:
        flag, equals, _ = word.partition("=")
        if safe and safe[-1] in SECRET_FLAGS:
            safe.append("***")
        else:
            safe.append(f"{flag}=***" if equals and flag in SECRET_FLAGS else word)
    return safe


def _finite(value: Any) -> Any:
    """JSON has no NaN: a number that is none is recorded as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
