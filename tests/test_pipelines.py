"""The names of dropped pipelines, given back without touching anything else of transformers."""

import pytest
import transformers
from transformers.pipelines import PIPELINE_REGISTRY

import hf_rnnattn
from hf_rnnattn.model.pipeline_rnnattn import Text2TextGenerationPipeline
from hf_rnnattn.pipelines import register_pipelines
from tiny_seq2seq import character_tokenizer, tiny_model

TASK = "text2text-generation"


def test_the_name_works_after_the_import():
    assert TASK in transformers.pipelines.get_supported_tasks()
    pipe = transformers.pipeline(TASK, model=tiny_model("bart"), tokenizer=character_tokenizer(), device="cpu")
    assert type(pipe) is Text2TextGenerationPipeline is hf_rnnattn.Text2TextGenerationPipeline


def test_registering_again_changes_nothing():
    before = PIPELINE_REGISTRY.supported_tasks[TASK]
    register_pipelines()
    assert PIPELINE_REGISTRY.supported_tasks[TASK] is before


def test_a_task_that_transformers_offers_is_left_alone(monkeypatch):
    theirs = {"impl": object, "pt": (), "default": {}, "type": "text"}
    monkeypatch.setitem(PIPELINE_REGISTRY.supported_tasks, TASK, theirs)
    register_pipelines()
    assert PIPELINE_REGISTRY.supported_tasks[TASK] is theirs


@pytest.mark.parametrize("refused", [{}, {TASK: "Use another.", "question-answering": "Use another."}, None])
def test_a_task_is_registered_whether_it_is_refused_or_unknown(monkeypatch, refused):
    monkeypatch.delitem(PIPELINE_REGISTRY.supported_tasks, TASK)
    monkeypatch.delattr(transformers.pipelines, "REMOVED_TASKS", raising=False)
    if refused is not None:
        monkeypatch.setattr(transformers.pipelines, "REMOVED_TASKS", refused, raising=False)
    register_pipelines()
    assert PIPELINE_REGISTRY.supported_tasks[TASK]["impl"] is Text2TextGenerationPipeline
    assert not refused or list(refused) == ["question-answering"]
