"""What to do about gradients and losses that are not finite: nothing that has been learnt may be lost to them."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import TrainerCallback

logger = logging.getLogger(__name__)

ACTIONS = ("stop", "skip")


class FiniteGradientsCallback(TrainerCallback):
    """Keeps steps whose gradients or loss are NaN or infinite from the weights; for every Trainer of transformers.

    Without it the optimizer makes all weights NaN, the Trainer logs a loss of 0 (``logging_nan_inf_filter``), and the
    next save replaces a good checkpoint. A loss that is not finite nearly always has such gradients; where it has not
    (a target that a mask of minus infinity forbids), the loss tells, if the model returns it or the trainer is a
    ``SequenceTrainer``; the stock trainer with label smoothing shows nobody its loss.

    Args:
        action: ``stop`` raises; ``skip`` leaves the step out, and warns.

    Raises:
        ValueError: another action.
        FloatingPointError: with ``stop``, before the step is made; names the step and the first parameter, in the
            model's order, whose gradient was not finite when it was computed, or the loss if all gradients were.
    """

    def __init__(self, action: str = "stop") -> None:
        if action not in ACTIONS:
            raise ValueError(f"action must be one of {', '.join(ACTIONS)}, got {action!r}")
        self.action = action
        self.skipped = 0
        self._computed: dict[str, Tensor] = {}  # name -> whether its gradients were finite before they were clipped
        self._losses: list[Tensor] = []  # of each micro-batch: whether it was finite

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._watch(name))
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        self._hooks.append(model.register_forward_hook(self._look_at_loss))

    def _look_at_loss(self, model: nn.Module, inputs: Any, output: Any) -> None:
        loss = output.get("loss") if isinstance(output, Mapping) else None
        if model.training and loss is not None:
            self.note_loss(loss)

    def note_loss(self, loss: Tensor) -> None:
        """For trainers that compute the loss of a micro-batch outside the model, of any shape."""
        self._losses.append(torch.isfinite(loss.detach()).all())

    def _watch(self, name: str) -> Any:
        def note(parameter: Tensor) -> None:
            finite = torch.isfinite(parameter.grad).all()
            self._computed[name] = self._computed.get(name, True) & finite

        return note

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        # Decided by what the optimizer would use: gradients that all processes share, where there are several.
        graded = {name: parameter for name, parameter in model.named_parameters() if parameter.grad is not None}
        bad = [name for name, parameter in graded.items() if not torch.isfinite(parameter.grad).all()]
        computed, self._computed = self._computed, {}
        losses, self._losses = self._losses, []
        finite = bool(torch.stack(losses).all()) if losses else True
        if _everywhere(finite and not bad, args.device):
            return
        # Clipping spreads one NaN over all gradients: what was noted before it tells where it came from.
        first = next((name for name in graded if not computed.get(name, True)), bad[0]) if bad else None
        where = f"the gradient of {first}" if first else "the loss" if not finite else "the loss of another process"
        message = f"{where} is not finite at step {state.global_step + 1}"
        if self.action == "stop":
            raise FloatingPointError(f"{message}; nothing was changed by this step")
        self.skipped += 1
        logger.warning("%s: the step is left out", message)
        for parameter in graded.values():
            parameter.grad = None

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for hook in self._hooks:
            hook.remove()


def _everywhere(fine: bool, device: torch.device) -> bool:
    """Whether all is fine in every process: each has a loss of its own, and all must do the same."""
    if not (dist.is_available() and dist.is_initialized()):
        return fine
    shared = torch.tensor(int(fine), device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MIN)
    return bool(shared)
