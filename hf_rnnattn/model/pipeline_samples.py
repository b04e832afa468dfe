"""The ways to ask: what the question-answering pipeline may be called with, as samples of a question and a context."""

import types
from collections.abc import Iterable
from typing import Any

from torch.utils.data import Dataset

from .pipeline_inputs import without_lone_surrogates


def samples_of(args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """What the pipeline was called with, as a list of samples, or the generator or dataset that it got.

    Raises:
        ValueError, KeyError: see ``checked_sample``.
    """
    if len(args) == 2 and all(isinstance(text, str) for text in args):
        args, named = (), dict(zip(("question", "context"), args, strict=True))
    if args:
        inputs = args[0] if len(args) == 1 else list(args)
    elif named.keys() == {"question", "context"}:
        inputs = _paired(named["question"], named["context"])
    else:
        raise ValueError(f"question and context must be given, or dicts with them, got {sorted(named) or 'nothing'}")
    if isinstance(inputs, types.GeneratorType | Dataset):
        return inputs
    if isinstance(inputs, dict) or not isinstance(inputs, Iterable) or isinstance(inputs, str):
        inputs = [inputs]
    return [checked_sample(sample) for sample in inputs]


def _paired(question: Any, context: Any) -> list[dict[str, Any]]:
    questions = [question] if isinstance(question, str) else question
    if not isinstance(questions, list):
        raise ValueError(f"question must be a string or a list of strings, got {question!r}")
    contexts = [context] * len(questions) if isinstance(context, str) else context
    if not isinstance(contexts, list) or len(contexts) != len(questions):
        raise ValueError(f"context must be a string or a list with one for each of {len(questions)} questions")
    return [{"question": one, "context": other} for one, other in zip(questions, contexts, strict=True)]


def checked_sample(sample: Any) -> dict[str, str]:
    """``{"question": …, "context": …}`` of a dict or of an object like transformers' SquadExample.

    Other keys are left out, so a row of SQuAD is a sample.

    Raises:
        ValueError: it is neither, or one of the two is no string or empty.
        KeyError: the dict lacks one of the two.
    """
    if hasattr(sample, "question_text"):
        sample = {"question": sample.question_text, "context": sample.context_text}
    if not isinstance(sample, dict):
        raise ValueError(f"a sample must be a dict with question and context, got {sample!r}")
    for name in ("question", "context"):
        if name not in sample:
            raise KeyError(f"a sample must have the keys question and context, got {sorted(sample)}")
        if not isinstance(sample[name], str) or not sample[name]:
            raise ValueError(f"{name} must be a string that is not empty, got {sample[name]!r}")
    return {name: without_lone_surrogates(sample[name]) for name in ("question", "context")}
