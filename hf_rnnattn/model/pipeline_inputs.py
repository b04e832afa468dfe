"""What the pipelines check in texts and token ids before a model gets them, and what a model takes."""

import inspect
from typing import Any

from torch import Tensor


def check_text(text: Any, name: str) -> None:
    """Raises ValueError unless it is a string."""
    if not isinstance(text, str):
        raise ValueError(f"{name} must be a string, got {text!r}")


def without_lone_surrogates(text: str) -> str:
    """The text with U+FFFD in place of what no UTF-8 text can hold, and no tokenizer takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def check_ids(input_ids: Tensor, size: int) -> None:
    """Raises ValueError unless all ids of (B, S) are rows of an embedding of this size."""
    wrong = ((input_ids < 0) | (input_ids >= size)).nonzero()
    if len(wrong):
        row, position = wrong[0].tolist()
        raise ValueError(
            f"input_ids must be in [0, {size}), got {int(input_ids[row, position])} at row {row}, position {position}"
        )


def reads_segments(model: Any) -> bool:
    """Whether the model's forward takes ``token_type_ids``; a wrapper of adapters is looked through."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    taken = "token_type_ids" in inspect.signature(inner.forward).parameters
    return taken and getattr(model.config, "type_vocab_size", 1) > 0
