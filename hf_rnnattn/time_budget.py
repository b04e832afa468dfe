"""Training for a given time: a wall clock, a learning rate that follows it, a stop, and a progress bar in seconds.

A run that is told "three minutes" does not know its number of steps, so a schedule over steps would be cut off
half-way. Here the learning rate follows progress, the larger of the spent share of the time and the done share of the
steps: it is annealed to the end whichever of the two ends the run.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "constant": lambda progress: 1.0,
    "constant_with_warmup": lambda progress: 1.0,
}


class TimeBudget:
    """Seconds that a training may take, those of an interrupted run that is resumed included.

    Args:
        seconds: the budget, > 0.
        clock: returns seconds from any fixed point; tests give their own.

    Raises:
        ValueError: seconds is not a positive finite number.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"the time budget must be a positive number of seconds, got {seconds}")
        self.seconds = seconds
        self.spent = 0.0
        self._clock = clock
        self._started_at: float | None = None

    def start(self) -> None:
        """Start the clock at the seconds already spent."""
        self._started_at = self._clock() - self.spent

    def read(self) -> float:
        """Take the time and return the spent share of the budget in [0, 1]; 0 before the start.

        Processes read different clocks but must agree on when to stop and on the learning rate: the first's counts.
        """
        if self._started_at is not None:
            self.spent = _of_first_process(self._clock() - self._started_at)
        return self.share

    @property
    def share(self) -> float:
        """The spent share of the budget in [0, 1], as of the last reading."""
        return min(self.spent / self.seconds, 1.0)


def _of_first_process(value: float) -> float:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    if torch.distributed.get_world_size() == 1:
        return value
    on_gpu = torch.distributed.get_backend() == "nccl"
    shared = torch.tensor([value], dtype=torch.float64, device="cuda" if on_gpu else "cpu")
    torch.distributed.broadcast(shared, src=0)
    return float(shared.item())


class TimeBudgetSchedule(LRScheduler):
    """Learning rate over the progress p = max(spent / budget, step / steps).

        factor = warmup * decay(p),  warmup = min(1, step / warmup_steps) or, for a share w < 1, min(1, p / w)

    After a warm-up that is a share, the decay starts at its end: decay((p - w) / (1 - w)).

    Args:
        optimizer: its groups' ``lr`` are the peak.
        budget: the clock, shared with ``TimeBudgetCallback``.
        total_steps: the steps after which the run ends even if time is left.
        kind: one of linear, cosine, constant, constant_with_warmup.
        warmup: steps if >= 1, else a share of the run, as in ``TrainingArguments.warmup_steps``.

    Raises:
        ValueError: kind is unknown, warmup is negative, or total_steps < 1.
    """

    def __init__(
        self, optimizer: Optimizer, budget: TimeBudget, *, total_steps: int, kind: str = "linear", warmup: float = 0.0
    ) -> None:
        if kind not in DECAYS:
            raise ValueError(
                f"lr_scheduler_type {kind!r} cannot follow a time budget; choose from {', '.join(DECAYS)}"
            )
        if warmup < 0:
            raise ValueError(f"warmup_steps must be >= 0, got {warmup}")
        if total_steps < 1:
            raise ValueError(f"total_steps must be >= 1, got {total_steps}")
        self.budget = budget
        self.total_steps = total_steps
        self.kind = kind
        self.warmup = warmup
        super().__init__(optimizer)

    def factor(self) -> float:
        """The share of the peak learning rate, in [0, 1], for the step that comes next."""
        step = self.last_epoch
        progress = max(self.budget.read(), min(step / self.total_steps, 1.0))
        decay = DECAYS[self.kind]
        if self.warmup >= 1:
            return min(1.0, step / self.warmup) * decay(progress)
        if progress < self.warmup:
            return progress / self.warmup
        return decay((progress - self.warmup) / (1.0 - self.warmup))

    def get_lr(self) -> list[float]:
        """The learning rate of each parameter group."""
        factor = self.factor()
        return [base * factor for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: plain numbers only, so that it loads with ``weights_only``."""
        state: dict[str, Any] = {name: getattr(self, name) for name in ("last_epoch", "base_lrs", "_last_lr")}
        state["spent"] = self.budget.spent
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint stood; one written without a budget has spent nothing of it."""
        self.last_epoch = state_dict["last_epoch"]
        self.base_lrs = state_dict["base_lrs"]
        self._last_lr = state_dict["_last_lr"]
        self.budget.spent = state_dict.get("spent", 0.0)


class TimeBudgetCallback(TrainerCallback):
    """Stops the training when the budget is spent, after evaluating and saving if the run does so by steps."""

    def __init__(self, budget: TimeBudget) -> None:
        self.budget = budget

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.budget.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.budget.read() >= 1.0:
            control.should_training_stop = True
            # by epochs, the trainer does both itself when it leaves the loop
            control.should_evaluate = control.should_evaluate or args.eval_strategy == IntervalStrategy.STEPS
            control.should_save = control.should_save or args.save_strategy == SaveStrategy.STEPS
        return control


class TimeBudgetProgressCallback(ProgressCallback):
    """The trainer's progress bar, in seconds of the budget rather than in steps that will never be reached."""

    def __init__(self, budget: TimeBudget) -> None:
        super().__init__()
        self.budget = budget

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            bar_format = "{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}"
            self.training_bar = tqdm(total=self.budget.seconds, dynamic_ncols=True, bar_format=bar_format)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self.training_bar.set_postfix_str(f"step {state.global_step}, epoch {state.epoch:.2f}", refresh=False)
            self.training_bar.update(min(self.budget.spent, self.budget.seconds) - self.training_bar.n)
