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

import shutil
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Sampler, SequentialSampler
from transformers import ProgressCallback, Seq2SeqTrainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, HubStrategy, SchedulerType
from transformers.utils import PushInProgress

from hf_rnnattn.finite_training import FiniteGradientsCallback
from hf_rnnattn.model.transformers_versions import TrainerHooks
from hf_rnnattn.model_card import CARD_NAME
from hf_rnnattn.time_budget import TimeBudget, TimeBudgetCallback, TimeBudgetProgressCallback, TimeBudgetSchedule

IGNORED_LABEL = -100
# What a pushed checkpoint gives to the model's repository; the rest of it is for resuming.
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "*_config.json", "*.py")
NEVER_PUSHED = ["_*", f"{PREFIX_CHECKPOINT_DIR}-*", TRAINING_ARGS_NAME]


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


class SequenceTrainer(TrainerHooks, Seq2SeqTrainer):
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

    def evaluation_sampler(self, dataset: Any) -> Sampler | None:
        """The rows in their own order, also where training groups them by length: references are matched by place."""
        if self.args.world_size > 1 or not isinstance(dataset, Sized):
            return None  # the sharding of accelerate keeps the order
        return SequentialSampler(dataset)

    def save_model(self, output_dir: str | None = None, *args: Any, **kwargs: Any) -> None:
        """Save model and tokenizer, and no pickle beside them: nothing reads the arguments back from one."""
        super().save_model(output_dir, *args, **kwargs)
        Path(output_dir or self.args.output_dir, TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def push_checkpoint(self, checkpoint_folder: str) -> None:
        """Upload what training has come to, as ``hub_strategy`` says, in the background.

        transformers' own way uploads a pickle of the arguments too, which may hold a token.
        """
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        running = self.push_in_progress
        if running is not None and not running.is_done() and not self.args.hub_always_push:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        output = Path(self.args.output_dir)
        for pattern in MODEL_FILES:
            for path in Path(checkpoint_folder).glob(pattern):
                shutil.copy(path, output / path.name)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(output)
        message = f"Training in progress, step {self.state.global_step}"
        jobs = [self._upload(output, commit_message=message, ignore_patterns=NEVER_PUSHED)]
        if self.args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            last = self.args.hub_strategy == HubStrategy.CHECKPOINT
            place = "last-checkpoint" if last else Path(checkpoint_folder).name
            jobs.append(self._upload(checkpoint_folder, commit_message=f"{message}, checkpoint", path_in_repo=place))
        if running is not None and not running.is_done():
            jobs += running.jobs
        self.push_in_progress = PushInProgress(jobs)

    def _upload(self, folder: str | Path, **kwargs: Any) -> Any:
        """Start an upload of ``folder`` to the run's repository, and return its future."""
        return HfApi(token=self.args.hub_token).upload_folder(
            repo_id=self.hub_model_id,
            folder_path=folder,
            run_as_future=True,
            revision=self.args.hub_revision,
            **kwargs,
        )

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
        return self.take_scheduler(
            TimeBudgetSchedule(
                optimizer or self.optimizer,
                self.time_budget,
                total_steps=num_training_steps,
                kind=SchedulerType(self.args.lr_scheduler_type).value,
                warmup=self.args.warmup_steps,
            )
        )
