"""What to do about gradients that are not finite: nothing that has been learnt may be lost to them."""

import logging
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

logger = logging.getLogger(__name__)

ACTIONS = ("stop", "skip")


class FiniteGradientsCallback(TrainerCallback):
    """Keeps gradients that are NaN or infinite from the weights; for every Trainer of transformers.

    Without it the optimizer makes all weights NaN, the Trainer logs a loss of 0 (``logging_nan_inf_filter``), and the
    next save replaces a good checkpoint. A loss that is not finite has such gradients, so it is caught too.

    Args:
        action: ``stop`` raises; ``skip`` leaves the step out, and warns.

    Raises:
        ValueError: another action.
        FloatingPointError: with ``stop``, before the step is made; names the step and the first parameter, in the
            model's order, whose gradient was not finite when it was computed.
    """

    def __init__(self, action: str = "stop") -> None:
        if action not in ACTIONS:
            raise ValueError(f"action must be one of {', '.join(ACTIONS)}, got {action!r}")
        self.action = action
        self.skipped = 0
        self._computed: dict[str, Tensor] = {}  # name -> whether its gradients were finite before they were clipped

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._watch(name))
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]

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
        if not bad:
            return
        # Clipping spreads one NaN over all gradients: what was noted before it tells where it came from.
        first = next((name for name in graded if not computed.get(name, True)), bad[0])
        message = f"the gradient of {first} is not finite at step {state.global_step + 1}"
        if self.action == "stop":
            raise FloatingPointError(f"{message}; nothing was changed by this step")
        self.skipped += 1
        logger.warning("%s: the step is left out", message)
        for parameter in graded.values():
            parameter.grad = None

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for hook in self._hooks:
            hook.remove()
