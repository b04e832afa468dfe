"""The data of a training run: what is loaded, what it is called in the record, and its encoded form."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from hf_rnnattn.data_encoding import encode_dataset
from hf_rnnattn.data_splits import load_splits
from hf_rnnattn.evaluation import compute_metrics_fn
from hf_rnnattn.pronunciation import load_cmudict
from hf_rnnattn.training_arguments import DataArguments

CMUDICT = "cmudict"
SUBSET_SEED = 0
CMUDICT_DESCRIPTION = (
    "The CMU Pronouncing Dictionary: words and their phones without stress, split by word. A word with several "
    "pronunciations is scored against the best of them."
)


@dataclass
class TrainingData:
    """Splits with the columns source, target, and where there are any pair and references."""

    splits: DatasetDict
    arguments: DataArguments

    def encode(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Dataset]:
        """Each split as token ids."""
        return {
            name: encode_dataset(
                split,
                tokenizer,
                max_source_length=self.arguments.max_source_length,
                max_target_length=self.arguments.max_target_length,
                source_prefix=self.arguments.source_prefix,
                name=name,
            )
            for name, split in self.splits.items()
        }

    def metrics_of(self, split: str, tokenizer: PreTrainedTokenizerBase) -> Callable[[Any], dict[str, float]] | None:
        """The function that measures predictions for a split; None if no metrics are asked for or it is not there."""
        if not self.arguments.metrics or split not in self.splits:
            return None
        rows = self.splits[split]
        return compute_metrics_fn(tokenizer, self.arguments.metrics, references=references_of(rows))

    def record(self) -> dict[str, Any]:
        """What the results say about the data; folders are left out of the names of files."""
        arguments = self.arguments
        files = {
            name: Path(path).name
            for name, path in (
                ("train", arguments.train_file),
                ("validation", arguments.validation_file),
                ("test", arguments.test_file),
            )
            if path
        }
        record: dict[str, Any] = {
            "name": arguments.dataset or next(iter(files.values())),
            "description": self._description(files),
            "sizes": {name: len(split) for name, split in self.splits.items()},
        }
        if arguments.source_column and arguments.target_column:
            record.update(source_column=arguments.source_column, target_column=arguments.target_column)
        return record

    def _description(self, files: dict[str, str]) -> str:
        if self.arguments.dataset == CMUDICT:
            return CMUDICT_DESCRIPTION
        if self.arguments.dataset:
            config = f" ({self.arguments.dataset_config})" if self.arguments.dataset_config else ""
            return f"The dataset {self.arguments.dataset}{config}."
        named = ", ".join(f"{name} `{file}`" for name, file in files.items())
        held_out = "" if "validation" in files or "validation" not in self.splits else " Validation data was held out."
        return f"Files: {named}.{held_out}"


def references_of(rows: Dataset) -> list[str] | list[list[str]]:
    """The texts, or lists of texts, to score predictions for these rows against."""
    return list(rows["references" if "references" in rows.column_names else "target"])


def load_training_data(arguments: DataArguments) -> TrainingData:
    """Load the splits that the arguments name. What is held out or drawn does not depend on the training's seed.

    Raises:
        ValueError: the data is not as it should be; the message names file, row and column.
        OSError: a file cannot be read.
    """
    if arguments.dataset == CMUDICT:
        splits = load_cmudict(arguments.test_words)
    else:
        splits = load_splits(
            train_file=arguments.train_file,
            validation_file=arguments.validation_file,
            test_file=arguments.test_file,
            dataset=arguments.dataset,
            dataset_config=arguments.dataset_config,
            source_column=arguments.source_column,
            target_column=arguments.target_column,
            pair_column=arguments.pair_column,
            validation_fraction=arguments.validation_fraction,
        )
    for name, most in (
        ("train", arguments.max_train_samples),
        ("validation", arguments.max_eval_samples),
        ("test", arguments.max_predict_samples),
    ):
        if most is not None and name in splits and most < len(splits[name]):
            # the first rows of a sorted file are no sample of it
            splits[name] = splits[name].shuffle(seed=SUBSET_SEED).select(range(most)).flatten_indices()
    return TrainingData(splits, arguments)
