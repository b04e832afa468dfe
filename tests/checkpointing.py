"""Recomputing activations in the backward pass, by the name that this transformers has for it."""

from typing import Any

from transformers import PreTrainedModel

NAMES = ("activation_checkpointing", "gradient_checkpointing")  # the second is deprecated where there is the first
NAME = next(name for name in NAMES if hasattr(PreTrainedModel, f"{name}_enable"))
FLAG = {NAME: True}  # of TrainingArguments


def checkpoint_activations(model: Any, **kwargs: Any) -> None:
    """Switch it on; keywords go to ``torch.utils.checkpoint``."""
    getattr(model, f"{NAME}_enable")(**({f"{NAME}_kwargs": kwargs} if kwargs else {}))
