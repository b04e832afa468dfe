"""One training run, from its arguments to a checkpoint with its results and its model card.

``prepare_training`` reads and checks everything that a user may have given wrongly; ``TrainingRun.run`` trains.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import (
    AutoTokenizer,
    EarlyStoppingCallback,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    TrainerCallback,
    set_seed,
)
from transformers.trainer_utils import IntervalStrategy

from hf_rnnattn.data_encoding import RnnAttnDataCollator
from hf_rnnattn.finite_training import FiniteGradientsCallback
from hf_rnnattn.model_building import build_model, position_limit
from hf_rnnattn.model_card import write_model_card
from hf_rnnattn.results import RESULTS_NAME, write_results
from hf_rnnattn.resuming import last_complete_checkpoint
from hf_rnnattn.seq2seq_trainer import SequenceTrainer
from hf_rnnattn.time_budget import TimeBudget
from hf_rnnattn.tokenizer_training import train_tokenizers
from hf_rnnattn.training_arguments import Arguments
from hf_rnnattn.training_data import TrainingData, load_training_data
from hf_rnnattn.training_results import measure, run_results

logger = logging.getLogger(__name__)

ERROR_RATES = ("wer", "error_rate")  # how the names of metrics end that are better if smaller


@dataclass
class TrainingRun:
    """A run that is ready to start."""

    arguments: Arguments
    data: TrainingData
    encoded: dict[str, Dataset]
    trainer: SequenceTrainer
    checkpoint: str | None

    def run(self) -> dict[str, Any]:
        """Train, measure, and write checkpoint, results and card to ``output_dir``.

        Returns:
            The results, as ``results.json`` holds them (see ``hf_rnnattn.model_card``).
        """
        trained = self._train() if self.arguments.training.do_train else None
        evaluation = measure(self.trainer, self.data, self.encoded)
        results = run_results(self.arguments, self.data, self.trainer, trained, evaluation)
        if self.trainer.is_world_process_zero():
            folder = Path(self.arguments.training.output_dir)
            write_model_card(folder, results)
            write_results(folder / RESULTS_NAME, results)  # last: where it is, the run has come to its end
        if self.arguments.training.push_to_hub:
            self.trainer.push_to_hub()
        return results

    def _train(self) -> dict[str, float]:
        outcome = self.trainer.train(resume_from_checkpoint=self.checkpoint)
        metrics = {**outcome.metrics, "train_samples": len(self.encoded["train"])}
        self.trainer.save_model()  # the tokenizer too
        self.trainer.log_metrics("train", metrics)
        self.trainer.save_metrics("train", metrics)
        self.trainer.save_state()
        return metrics


def prepare_training(arguments: Arguments) -> TrainingRun:
    """Load the data, make or load tokenizer and model, and find the checkpoint to go on from.

    Raises:
        ValueError: an argument, the data or the config is not valid; the message says which.
        OSError: a file or a model cannot be read.
    """
    training = arguments.training
    data = load_training_data(arguments.data)
    _complete(arguments, data)
    _check(arguments, data)
    checkpoint = _checkpoint(arguments)
    with training.main_process_first(local=False, desc="making the tokenizer"):
        tokenizer = _tokenizer(arguments, data, checkpoint)
    set_seed(training.seed)  # the first weights do not depend on what was drawn before
    model = build_model(arguments.model, tokenizer, checkpoint)
    _fit_lengths(arguments, model.config)
    if arguments.model.model_name_or_path is None:
        model.generation_config.max_length = training.generation_max_length
    with training.main_process_first(desc="encoding the data"):
        encoded = data.encode(tokenizer)
    minutes = arguments.run.max_train_minutes
    trainer = SequenceTrainer(
        model=model,
        args=training,
        train_dataset=encoded.get("train"),
        eval_dataset=encoded.get("validation"),
        data_collator=RnnAttnDataCollator(tokenizer, model=model),
        processing_class=tokenizer,
        compute_metrics=data.metrics_of("validation", tokenizer),
        callbacks=_callbacks(arguments),
        time_budget=None if minutes is None else TimeBudget(60 * minutes),
    )
    return TrainingRun(arguments, data, encoded, trainer, checkpoint)


def _complete(arguments: Arguments, data: TrainingData) -> None:
    """Fill in what follows from the rest of the arguments."""
    training = arguments.training
    # an eval_strategy has set do_eval
    asked_to_evaluate = training.do_eval and training.eval_strategy == IntervalStrategy.NO
    if not (training.do_train or training.do_predict or asked_to_evaluate):
        training.do_train = "train" in data.splits
        training.do_eval = "validation" in data.splits
        training.do_predict = "test" in data.splits
    if arguments.data.metrics:
        training.predict_with_generate = True
    if training.device.type == "cpu":
        training.dataloader_pin_memory = False  # pinning is for copies to a GPU
    if (training.metric_for_best_model or "").endswith(ERROR_RATES):
        training.greater_is_better = False  # transformers takes everything but a loss for better if greater


def _fit_lengths(arguments: Arguments, config: PreTrainedConfig) -> None:
    """Keep texts within the model's tables of positions, and generate no more than a target may have."""
    for side, name in (("encoder", "max_source_length"), ("decoder", "max_target_length")):
        given, rows = getattr(arguments.data, name), position_limit(config, side)
        if rows is not None and given > rows:
            logger.warning("%s is set to %d: the model has no more positions", name, rows)
            setattr(arguments.data, name, rows)
    if arguments.training.generation_max_length is None:
        arguments.training.generation_max_length = arguments.data.max_target_length + 1  # the start token


def _check(arguments: Arguments, data: TrainingData) -> None:
    training, run = arguments.training, arguments.run
    phases = {"train": training.do_train, "validation": training.do_eval, "test": training.do_predict}
    if training.eval_strategy != IntervalStrategy.NO and training.do_train:
        phases["validation"] = True
    for split, wanted in phases.items():
        if wanted and split not in data.splits:
            raise ValueError(f"there is no {split} data; the data has {', '.join(data.splits)}")
    if run.early_stopping_patience is not None and not training.load_best_model_at_end:
        raise ValueError("early_stopping_patience needs load_best_model_at_end, eval_strategy and save_strategy")
    folder = Path(training.output_dir)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output_dir {folder} is not a folder")


def _checkpoint(arguments: Arguments) -> str | None:
    training = arguments.training
    if not training.do_train:
        return None
    if training.resume_from_checkpoint is not None:
        given = Path(training.resume_from_checkpoint)
        if not given.is_dir():
            raise ValueError(f"resume_from_checkpoint: there is no folder {given}")
        return str(given)
    if arguments.run.overwrite_output_dir:
        return None
    checkpoint = last_complete_checkpoint(training.output_dir)
    if checkpoint is not None:
        logger.warning("resuming from %s; pass --overwrite_output_dir to start anew", checkpoint)
    return checkpoint


def _tokenizer(arguments: Arguments, data: TrainingData, checkpoint: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer of the checkpoint or model, or one trained on the training data."""
    model, training = arguments.model, arguments.training
    name = checkpoint or model.tokenizer_name or model.model_name_or_path
    if name is None and training.process_index > 0:
        name = training.output_dir  # the first process has just trained and saved it there
    if name is not None:
        revision = {} if checkpoint else {"revision": model.model_revision}
        return AutoTokenizer.from_pretrained(name, trust_remote_code=model.trust_remote_code, **revision)
    if "train" not in data.splits:
        raise ValueError("a tokenizer needs training data: give train_file, tokenizer_name or model_name_or_path")
    rows = data.splits["train"]
    kinds = {"source": model.source_tokenizer, "target": model.target_tokenizer or model.source_tokenizer}
    sizes = {
        f"{side}_vocab_size": model.tokenizer_vocab_size if kind in ("wordpiece", "bpe") else None
        for side, kind in kinds.items()
    }
    sources = list(rows["source"]) + (list(rows["pair"]) if "pair" in rows.column_names else [])
    tokenizer = train_tokenizers(
        [arguments.data.source_prefix + source for source in sources],
        list(rows["target"]),
        source_kind=kinds["source"],
        target_kind=kinds["target"],
        shared=model.shared_vocabulary,
        **sizes,
    )
    tokenizer.save_pretrained(training.output_dir)
    return tokenizer


def _callbacks(arguments: Arguments) -> list[TrainerCallback]:
    run = arguments.run
    callbacks: list[TrainerCallback] = [FiniteGradientsCallback(run.non_finite_gradients)]
    if run.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(run.early_stopping_patience, run.early_stopping_threshold))
    return callbacks
