"""What the scripts of this folder share: the order in which transformers' examples call transformers."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import datasets
from transformers import AutoConfig, AutoTokenizer, HfArgumentParser, Trainer, TrainingArguments, set_seed


@dataclass
class Start:
    """Where a run starts from; the names are those of the examples."""

    model_name_or_path: str
    train_file: str
    validation_file: str
    test_file: str
    trust_remote_code: bool = field(default=False)


def parse(*types: type) -> tuple[Any, ...]:
    """The command line; sets the seed, as the examples do before they load anything."""
    parsed = HfArgumentParser(types).parse_args_into_dataclasses()
    set_seed(parsed[-1].seed)
    return parsed


def read(start: Start, **options: Any) -> datasets.DatasetDict:
    """The three splits."""
    files = {"train": start.train_file, "validation": start.validation_file, "test": start.test_file}
    return datasets.load_dataset("json", data_files=files, cache_dir=None, token=None, **options)


def load(auto_class: Any, start: Start, **fields: Any) -> tuple[Any, Any]:
    """The tokenizer and the model, by the calls and with all the options that the examples pass."""
    options = {"cache_dir": None, "revision": "main", "token": None, "trust_remote_code": start.trust_remote_code}
    config = AutoConfig.from_pretrained(start.model_name_or_path, **fields, **options)
    tokenizer = AutoTokenizer.from_pretrained(start.model_name_or_path, use_fast=True, **options)
    more = {"ignore_mismatched_sizes": False} if fields else {}
    return tokenizer, auto_class.from_pretrained(
        start.model_name_or_path, from_tf=False, config=config, **more, **options
    )


def encode(
    rows: datasets.Dataset, function: Callable[[Any], Any], training: TrainingArguments, **options: Any
) -> datasets.Dataset:
    """The rows as the model takes them."""
    with training.main_process_first(desc="map"):
        return rows.map(function, batched=True, num_proc=None, load_from_cache_file=False, **options)


def record(trainer: Trainer, split: str, metrics: dict[str, float], rows: Any) -> None:
    """Logs and saves metrics."""
    metrics[f"{split}_samples"] = len(rows)
    trainer.log_metrics(split, metrics)
    trainer.save_metrics(split, metrics)


def train(trainer: Trainer, **resume: Any) -> None:
    """Trains, and saves model, tokenizer, metrics and state."""
    metrics = trainer.train(resume_from_checkpoint=None, **resume).metrics
    trainer.save_model()
    record(trainer, "train", metrics, trainer.train_dataset)
    trainer.save_state()


def write_lines(trainer: Trainer, name: str, lines: list[str]) -> None:
    """Writes predictions, one a line."""
    if trainer.is_world_process_zero():
        with open(os.path.join(trainer.args.output_dir, name), "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
