"""Put the pipelines that transformers 5 dropped back under their names in ``transformers.pipeline``."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from transformers import AutoModelForQuestionAnswering, AutoModelForSeq2SeqLM, Pipeline

from hf_rnnattn.model.pipeline_qa_rnnattn import QuestionAnsweringPipeline
from hf_rnnattn.model.pipeline_rnnattn import Text2TextGenerationPipeline
from hf_rnnattn.model.pipeline_tasks_rnnattn import SummarizationPipeline, TranslationPipeline
from hf_rnnattn.model.transformers_versions import enter_pipeline, enter_task_names


class Task(NamedTuple):
    """A dropped task: its pipeline, the auto class of its models, the default models that transformers 4 had."""

    pipeline_class: type[Pipeline]
    auto_class: Any
    default: dict[Any, Any]


T5 = ("google-t5/t5-base", "a9723ea")
PIPELINES = {
    "text2text-generation": Task(Text2TextGenerationPipeline, AutoModelForSeq2SeqLM, {"model": T5}),
    "summarization": Task(
        SummarizationPipeline, AutoModelForSeq2SeqLM, {"model": ("sshleifer/distilbart-cnn-12-6", "a4f8f3e")}
    ),
    "translation": Task(
        TranslationPipeline, AutoModelForSeq2SeqLM, {("en", to): {"model": T5} for to in ("fr", "de", "ro")}
    ),
    "question-answering": Task(
        QuestionAnsweringPipeline,
        AutoModelForQuestionAnswering,
        {"model": ("distilbert/distilbert-base-cased-distilled-squad", "564e9b5")},
    ),
}
TRANSLATION = re.compile(r"translation_([^_]+)_to_([^_]+)")


def register_pipelines() -> None:
    """Make ``pipeline(task)`` build the classes of ``PIPELINES``; a task that transformers offers is left alone.

    ``translation_xx_to_yy`` is ``translation`` from xx to yy. May be called again.
    """
    for task, (pipeline_class, auto_class, default) in PIPELINES.items():
        enter_pipeline(task, pipeline_class, auto_class, default)
    enter_task_names(_resolve)


def _resolve(task: str, theirs: Callable[[str], Any]) -> Any:
    """Return the name, the entry and the languages of a task, as ``theirs`` does where it knows the name."""
    pair = TRANSLATION.fullmatch(task)
    if pair is not None:
        name, found, _ = theirs("translation")
        return name, found, pair.groups()
    if task.startswith("translation") and task != "translation":
        raise KeyError(f"Invalid translation task {task}, use 'translation_XX_to_YY' format")
    return theirs(task)
