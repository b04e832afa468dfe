"""What a training run is told, from the command line, a YAML or a JSON file, or both."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser, Seq2SeqTrainingArguments

ARGUMENT_FILE_SUFFIXES = (".yaml", ".yml", ".json")


def _option(default: Any, text: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": text, **metadata})


@dataclass
class ModelArguments:
    """Which model to fine-tune, or what a new one looks like, and its tokenizer."""

    model_name_or_path: str | None = _option(None, "Model to fine-tune; without it a new one is made.")
    model_type: str = _option("rnnattn", "Family of a new model, any sequence-to-sequence one of transformers.")
    config_name: str | None = _option(None, "Config of a new model: a folder or a name on the Hub.")
    model_config: str | None = _option(None, "JSON or YAML file with config fields of a new model.")
    config_overrides: str | None = _option(
        None, "Config fields of a new model, over all others: hidden_size=256,encoder_mixers=[gru,gru]"
    )
    tokenizer_name: str | None = _option(None, "Tokenizer; without it the model's, or one trained on the data.")
    source_tokenizer: str = _option(
        "bpe", "Kind of source tokenizer to train.", choices=["char", "whitespace", "wordpiece", "bpe"]
    )
    target_tokenizer: str | None = _option(None, "The same for the target; default: the source's kind.")
    shared_vocabulary: bool = _option(False, "One vocabulary for source and target.")
    tokenizer_vocab_size: int = _option(8000, "Largest size of a trained wordpiece or bpe vocabulary.")
    model_revision: str = _option("main", "Branch, tag or commit of the model on the Hub.")
    trust_remote_code: bool = _option(False, "Run code that comes with the model. Read it first.")
    attn_implementation: str | None = _option(None, "eager, sdpa, flash_attention_2, ...")


@dataclass
class DataArguments:
    """Which data to learn from and to measure on."""

    dataset: str | None = _option(None, "cmudict, or a name for datasets.load_dataset.")
    dataset_config: str | None = _option(None, "Configuration of that dataset.")
    train_file: str | None = _option(None, "csv, tsv, json, jsonl or parquet file.")
    validation_file: str | None = _option(None, "The same for choosing the best checkpoint.")
    test_file: str | None = _option(None, "The same for the final measurement.")
    source_column: str | None = _option(None, "Column of the source; default: the first, or the dataset's own.")
    target_column: str | None = _option(None, "Column of the target; default: the second, or the dataset's own.")
    pair_column: str | None = _option(None, "Column of a second segment of the source.")
    validation_fraction: float = _option(
        0.05, "Share of the training data to hold out if there is no validation data."
    )
    test_words: str | None = _option(None, "With cmudict: file of words, one a line, to hold out for the test.")
    source_prefix: str = _option("", "Text put before every source, as T5 wants it.")
    max_source_length: int = _option(256, "Sources are cut to so many tokens.")
    max_target_length: int = _option(256, "Targets are cut, and generated, to so many tokens.")
    max_train_samples: int | None = _option(None, "Use only so many training examples, drawn at random.")
    max_eval_samples: int | None = _option(None, "Use only so many validation examples, drawn at random.")
    max_predict_samples: int | None = _option(None, "Use only so many test examples, drawn at random.")
    metrics: list[str] = field(
        default_factory=list, metadata={"help": "Metrics to compute on generated text, by name."}
    )


@dataclass
class RunArguments:
    """How the run ends and what its card says."""

    max_train_minutes: float | None = _option(
        None,
        "Stop after so many minutes (evaluations included); the learning rate follows the time. "
        "The run still ends after num_train_epochs or max_steps: give them room.",
    )
    early_stopping_patience: int | None = _option(None, "Stop after so many evaluations without a better one.")
    early_stopping_threshold: float = _option(0.0, "What counts as better.")
    non_finite_gradients: str = _option(
        "stop", "What to do at a step whose gradients are NaN or infinite.", choices=["stop", "skip"]
    )
    overwrite_output_dir: bool = _option(False, "Start anew even if output_dir holds checkpoints to resume from.")
    num_examples: int = _option(5, "Examples shown in the model card.")
    card_name: str | None = _option(None, "Name of the model in its card; default: the name of output_dir.")
    card_license: str | None = _option(None, "Licence of the weights for the card, such as apache-2.0.")
    card_language: list[str] = field(default_factory=list, metadata={"help": "Languages for the card, such as en."})


@dataclass
class Arguments:
    """All of them, and the command that gave them."""

    model: ModelArguments
    data: DataArguments
    run: RunArguments
    training: Seq2SeqTrainingArguments
    command: Sequence[str] = ()


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Read a command line whose first word may be a YAML or JSON file; flags after it stand above the file.

    Raises:
        ValueError: the file is not a mapping, or a key in it is no argument.
        OSError: the file cannot be read.
        SystemExit: argparse's, for unknown flags and ``--help``.
    """
    parser = HfArgumentParser(
        (ModelArguments, DataArguments, RunArguments, Seq2SeqTrainingArguments), allow_abbrev=False
    )
    flags = list(argv)
    if flags and flags[0].endswith(ARGUMENT_FILE_SUFFIXES):
        _use_as_defaults(parser, Path(flags.pop(0)))
    # parse_args first: unknown flags become argparse's short message rather than an exception
    parser.parse_args(flags)
    model, data, run, training = parser.parse_args_into_dataclasses(flags, look_for_args_file=False)
    return Arguments(model, data, run, training, tuple(argv))


def _use_as_defaults(parser: argparse.ArgumentParser, path: Path) -> None:
    values = read_mapping(path)
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    unknown = sorted(set(values) - set(actions))
    if unknown:
        raise ValueError(f"{path}: no such argument: {', '.join(unknown)}")
    for name, value in values.items():
        if actions[name].nargs == "+" and not isinstance(value, list):
            values[name] = [value]
    parser.set_defaults(**values)


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML or JSON file that holds a mapping.

    Raises:
        ValueError: it is not valid, or holds something else.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ValueError(f"{path} must hold names and values, got {type(values).__name__}")
    return values


def parse_overrides(text: str) -> dict[str, Any]:
    """Read ``name=value,name=[value,value]``; values are JSON, or what YAML makes of them.

    Raises:
        ValueError: a part is not ``name=value``, or its value cannot be read.
    """
    overrides: dict[str, Any] = {}
    for part in _split_outside_brackets(text):
        name, equals, value = part.partition("=")
        if not equals or not name.strip().isidentifier():
            raise ValueError(f"config_overrides: {part.strip()!r} is not name=value")
        overrides[name.strip()] = _value(name.strip(), value)
    return overrides


def _value(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"config_overrides: the value of {name} cannot be read: {text!r}") from error


def _split_outside_brackets(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]
