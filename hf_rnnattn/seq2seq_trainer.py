"""Seq2SeqTrainer with a loss that is right under gradient accumulation for every sequence-to-sequence model.

What the stock trainer of transformers 5.23 does wrong for such models, and what is done here instead:

- A model whose ``forward`` takes ``**kwargs`` is trusted to divide its loss by ``num_items_in_batch``. BART, Marian,
  T5 and others do not: without label smoothing, n micro-batches make their gradients n times too large. Here the
  trainer computes the loss itself from the logits, one sum over all tokens divided by the whole batch's tokens.
- Without ``**kwargs``, micro-batches are averaged as if they had equally many tokens.
- A batch in which every label is -100 has the loss 0/0 = NaN. Here it is 0, and so are its gradients.
- Evaluation counts the rows that fill up the last batch of several processes, and weighs the loss of a smaller last
  batch like that of a full one. Here every row counts once.
- Training in groups of equal length (``train_sampling_strategy="group_by_length"``) reorders evaluation data too, so
  that predictions are compared with the references of other rows. Here evaluation keeps its order.
- The saved config gets ``use_cache=False``, a setting of the training and not of the model. Here it is left alone.
"""

from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Sampler, SequentialSampler
from transformers import ProgressCallback, Seq2SeqTrainer
from transformers import trainer as trainer_of_transformers
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import EvalLoopOutput, SchedulerType

from hf_rnnattn.finite_training import FiniteGradientsCallback
from hf_rnnattn.model_card import CARD_NAME
from hf_rnnattn.time_budget import TimeBudget, TimeBudgetCallback, TimeBudgetProgressCallback, TimeBudgetSchedule

IGNORED_LABEL = -100


@contextmanager
def _uploads_without(pattern: str) -> Iterator[None]:
    """Within the block, the trainer's uploads leave files of this pattern out; it has no argument to say so."""
    theirs = trainer_of_transformers.hf_api

    def upload(**kwargs: Any) -> Any:
        return theirs().upload_folder(**{**kwargs, "ignore_patterns": [*kwargs.get("ignore_patterns", []), pattern]})

    trainer_of_transformers.hf_api = lambda: SimpleNamespace(upload_folder=upload)
    try:
        yield
    finally:
        trainer_of_transformers.hf_api = theirs


class SequenceLoss:
    """Cross-entropy of the target tokens, with label smoothing, summed and divided by a number of tokens.

        loss = sum_t [(1 - e) (-log p(y_t)) + e / V sum_v (-log p(v))] / n,   over the t whose label is not -100

    Args:
        label_smoothing: e, in [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing_factor must be in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Return the scalar loss.

        Args:
            outputs: a model output with ``logits`` (B, T, V), or a tuple that starts with them.
            labels: (B, T), -100 where there is nothing to predict.
            num_items_in_batch: n; the labels of this call are counted if None. 0 counts as 1.
        """
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
        flat_labels = labels.reshape(-1).to(logits.device)
        total = functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(),
            flat_labels,
            ignore_index=IGNORED_LABEL,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        count = flat_labels.ne(IGNORED_LABEL).sum() if num_items_in_batch is None else num_items_in_batch
        return total / torch.as_tensor(count, device=logits.device).clamp(min=1)


class SequenceTrainer(Seq2SeqTrainer):
    """``Seq2SeqTrainer`` with ``SequenceLoss`` and, if asked for, a time budget.

    Args:
        time_budget: stops the run and drives the learning rate (see ``hf_rnnattn.time_budget``).
        **kwargs: as for ``Seq2SeqTrainer``; ``compute_loss_func`` defaults to ``SequenceLoss``.
    """

    def __init__(self, *args: Any, time_budget: TimeBudget | None = None, **kwargs: Any) -> None:
        model_config = kwargs["model"].config
        use_cache = getattr(model_config, "use_cache", None)
        loss = SequenceLoss(kwargs["args"].label_smoothing_factor)
        kwargs.setdefault("compute_loss_func", loss)
        super().__init__(*args, **kwargs)
        # evaluation with generate asks this attribute for the loss, and the model itself where it is None
        self.label_smoother = loss
        if use_cache is not None:
            model_config.use_cache = use_cache
        self.time_budget = time_budget
        if time_budget is not None:
            self._follow(time_budget)

    def _follow(self, time_budget: TimeBudget) -> None:
        self.add_callback(TimeBudgetCallback(time_budget))
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(TimeBudgetProgressCallback(time_budget))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of a batch. The model does not see the labels, so the decoder's input is made from them here."""
        if "labels" in inputs:
            inputs = {**inputs, "use_cache": False}
            if inputs.get("decoder_input_ids") is None and inputs.get("decoder_inputs_embeds") is None:
                shift = self.accelerator.unwrap_model(model).prepare_decoder_input_ids_from_labels
                inputs["decoder_input_ids"] = shift(labels=inputs["labels"])
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if model.training:
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, FiniteGradientsCallback):
                    callback.note_loss(found[0] if return_outputs else found)
        return found

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As the base class has it, without what ``Seq2SeqTrainer`` changes: it keeps the rows that only fill up."""
        self.gather_function = self.accelerator.gather_for_metrics
        return super().evaluation_loop(*args, **kwargs)

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler | None:
        """The rows in their own order, also where training groups them by length: references are matched by place."""
        if self.args.world_size > 1 or not isinstance(eval_dataset, Sized):
            return None  # the sharding of accelerate keeps the order
        return SequentialSampler(eval_dataset)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save model and tokenizer, and no pickle beside them: nothing reads the arguments back from one."""
        super()._save(output_dir, state_dict)
        Path(output_dir or self.args.output_dir, TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push what training has come to, without the pickle of the arguments, which may hold a token."""
        with _uploads_without(TRAINING_ARGS_NAME):
            super()._push_from_checkpoint(checkpoint_folder)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write transformers' card, as ``push_to_hub`` asks for, unless the run has written one of its own."""
        if not Path(self.args.output_dir, CARD_NAME).exists():
            super().create_model_card(*args, **kwargs)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule of the arguments, over the time budget if there is one."""
        if self.time_budget is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
        self.lr_scheduler = TimeBudgetSchedule(
            optimizer or self.optimizer,
            self.time_budget,
            total_steps=num_training_steps,
            kind=SchedulerType(self.args.lr_scheduler_type).value,
            warmup=self.args.warmup_steps,
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler
