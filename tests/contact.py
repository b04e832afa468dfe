"""Which tests touch transformers where its releases change it.

They run with the oldest, the pinned and the newest transformers; all other tests with the pinned one. Of tests that
are repeated for every decoder or cell, a few kinds are enough: transformers knows nothing of cells.
"""

from typing import Any

import pytest

from lively_models import DECODERS
from model_zoo import ENCODER_MIXERS

# One recurrence that is scanned and one that is not, attention, both, both in one cell, and states of the encoder.
KINDS = {"ssru", "full_attention", "mixed", "fused", "luong_stack"}
REPEATED = {*DECODERS, *ENCODER_MIXERS}

FILES = (
    "test_transformers_versions.py",
    "test_transformers_contacts.py",
    "test_package.py",
    "test_saving.py",
    "test_promise.py",
    "test_hub.py",
    "test_peft.py",
    "test_alignment.py",
    "test_narrowing_beams.py",
    "test_pipelines.py",
    "test_seq2seq_trainer.py",
    "test_trainer_flags.py",
    "test_text_stream.py",
    "test_generating.py",
    "test_heads_converted.py",
    "test_interrupted_saving.py",
    "model/test_assisted_generation.py",
    "model/test_cache_rnnattn.py",
    "model/test_generation.py",
    "model/test_generation_inputs.py",
    "model/test_generation_options.py",
    "model/test_heads_causal_rnnattn.py",
    "model/test_heads_rnnattn.py",
    "model/test_interrupted_generation.py",
    "model/test_lookup_rnnattn.py",
    "model/test_model_training.py",
    "model/test_pipeline_languages.py",
    "model/test_pipeline_qa_rnnattn.py",
    "model/test_pipeline_rnnattn.py",
    "model/test_pipeline_tasks_rnnattn.py",
    "model/test_pretrained_encoder_rnnattn.py",
    "model/test_source_length_rnnattn.py",
    "model/test_static_cache.py",
    "model/test_tokenization_rnnattn.py",
)


def is_contact(item: pytest.Item) -> bool:
    """Whether a test is in one of these files, and of one of these kinds if it is repeated for many."""
    if not any(item.path.match(f"tests/{name}") for name in FILES):
        return False
    callspec: Any = getattr(item, "callspec", None)
    values = [] if callspec is None else callspec.params.values()
    names = {value for value in values if isinstance(value, str)} & REPEATED
    return names <= KINDS
