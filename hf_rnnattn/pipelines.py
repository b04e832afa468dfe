"""Put the pipelines that transformers 5 dropped back under their names in ``transformers.pipeline``."""

import re
from typing import Any, NamedTuple

from transformers import AutoModelForQuestionAnswering, AutoModelForSeq2SeqLM, Pipeline, pipelines
from transformers.pipelines import PIPELINE_REGISTRY

from hf_rnnattn.model.pipeline_qa_rnnattn import QuestionAnsweringPipeline
from hf_rnnattn.model.pipeline_rnnattn import Text2TextGenerationPipeline
from hf_rnnattn.model.pipeline_tasks_rnnattn import SummarizationPipeline, TranslationPipeline


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

    Newer transformers 5 refuse these names before they ask their registry, so they are also taken off that list; and
    the registry learns that ``translation_xx_to_yy`` is ``translation`` from xx to yy. Nothing else of transformers
    changes. May be called again.
    """
    refused = getattr(pipelines, "REMOVED_TASKS", {})
    for task, (pipeline_class, auto_class, default) in PIPELINES.items():
        if task in pipelines.get_supported_tasks() and task not in refused:
            continue
        refused.pop(task, None)
        PIPELINE_REGISTRY.register_pipeline(
            task, pipeline_class, pt_model=auto_class, default={"model": default}, type="text"
        )
        PIPELINE_REGISTRY.supported_tasks[task]["default"] = default
        # Without this mark `save_pretrained` saves a model and its tokenizer, as it does for transformers' own tasks;
        # with it, every saved model would ask for trust_remote_code. Saving the code too is the caller's choice there.
        del pipeline_class._registered_impl
    _teach_pairs_of_languages()


def _teach_pairs_of_languages() -> None:
    if "check_task" in vars(PIPELINE_REGISTRY):
        return
    theirs = PIPELINE_REGISTRY.check_task

    def check_task(task: str) -> tuple[str, dict[str, Any], Any]:
        pair = TRANSLATION.fullmatch(task)
        if pair is not None:
            name, found, _ = theirs("translation")
            return name, found, pair.groups()
        if task.startswith("translation") and task != "translation":
            raise KeyError(f"Invalid translation task {task}, use 'translation_XX_to_YY' format")
        return theirs(task)

    PIPELINE_REGISTRY.check_task = check_task  # on the one registry, not on its class
