"""Put the pipelines that transformers 5 dropped back under their names in ``transformers.pipeline``."""

from transformers import AutoModelForSeq2SeqLM, Pipeline, pipelines

from hf_rnnattn.model.pipeline_rnnattn import Text2TextGenerationPipeline

# Task: (class, the default model with its revision as transformers 4 had it).
PIPELINES: dict[str, tuple[type[Pipeline], tuple[str, str]]] = {
    "text2text-generation": (Text2TextGenerationPipeline, ("google-t5/t5-base", "a9723ea")),
}


def register_pipelines() -> None:
    """Make ``pipeline(task)`` build the classes of ``PIPELINES``; a task that transformers offers is left alone.

    Newer transformers 5 refuse these names before they ask their registry, so the name is also taken off that list.
    Nothing else of transformers changes. May be called again.
    """
    refused = getattr(pipelines, "REMOVED_TASKS", {})
    for task, (pipeline_class, default) in PIPELINES.items():
        if task in pipelines.get_supported_tasks() and task not in refused:
            continue
        refused.pop(task, None)
        pipelines.PIPELINE_REGISTRY.register_pipeline(
            task, pipeline_class, pt_model=AutoModelForSeq2SeqLM, default={"model": default}, type="text"
        )
        # Without this mark `save_pretrained` saves a model and its tokenizer, as it does for transformers' own tasks;
        # with it, every saved model would ask for trust_remote_code. Saving the code too is the caller's choice there.
        del pipeline_class._registered_impl
