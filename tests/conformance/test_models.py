"""transformers' own tests of models, configs and training, over tiny models of ours."""

import unittest
from typing import Any
from unittest import mock

import pytest
import torch
from transformers.models.auto import modeling_auto

import hf_rnnattn
from conformance.exceptions import EXCEPTIONS
from conformance.fetching import importable
from hf_rnnattn import RnnAttnConfig
from hf_rnnattn.model.modeling_rnnattn import as_kind
from model_zoo import tiny_config

importable()

from tests_of_transformers.test_configuration_common import ConfigTester  # noqa: E402
from tests_of_transformers.test_modeling_common import ModelTesterMixin, ids_tensor  # noqa: E402
from tests_of_transformers.test_training_mixin import TrainingTesterMixin  # noqa: E402

MODELS: dict[str, dict[str, Any]] = {
    "Lstm": {"encoder_mixers": ["lstm", "lstm"], "decoder_mixers": ["lstm", "lstm"]},
    "SsruDecoder": {"encoder_mixers": ["full_attention", "full_attention"], "decoder_mixers": ["ssru", "ssru"]},
    "Interleaved": {
        "encoder_mixers": ["gru+full_attention", "gru+full_attention"],
        "decoder_mixers": ["gru+full_attention", "gru+full_attention"],
    },
    "RecurrentEncoder": {
        "encoder_mixers": ["mingru", "gru"],
        "decoder_mixers": ["full_attention", "full_attention"],
    },
}
NAMES = {
    "MODEL_MAPPING_NAMES": {"rnnattn": "RnnAttnModel", "rnnattn_encoder": "RnnAttnEncoderModel"},
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES": {"rnnattn": "RnnAttnForConditionalGeneration"},
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": {"rnnattn": "RnnAttnForCausalLM"},
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES": {"rnnattn": "RnnAttnForMaskedLM"},
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": {"rnnattn": "RnnAttnForSequenceClassification"},
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": {"rnnattn": "RnnAttnForTokenClassification"},
    "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES": {"rnnattn": "RnnAttnForQuestionAnswering"},
}
ENCODER_HEADS = ["MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering"]


class Tester:
    """What transformers asks for a tiny model and a batch for it."""

    def __init__(self, parent: Any, kind: str, **fields: Any) -> None:
        self.parent, self.kind, self.fields = parent, kind, fields
        self.batch_size, self.seq_length, self.vocab_size = 3, 7, 99
        self.encoder_seq_length = self.decoder_seq_length = self.key_length = self.seq_length
        self.hidden_size, self.num_hidden_layers, self.num_attention_heads = 16, 2, 2
        self.num_labels, self.is_training = 3, True
        self.is_encoder_decoder = kind == "both"

    def get_config(self) -> Any:
        config = tiny_config(vocab_size=self.vocab_size, num_labels=self.num_labels, init_std=0.02, **self.fields)
        return as_kind(config, is_encoder_decoder=self.kind == "both", is_decoder=self.kind == "decoder")

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        ids = ids_tensor([self.batch_size, self.seq_length], self.vocab_size).clamp(3)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self.kind == "both":
            target = ids_tensor([self.batch_size, self.seq_length], self.vocab_size).clamp(3)
            inputs |= {"decoder_input_ids": target, "decoder_attention_mask": torch.ones_like(target)}
        return self.get_config(), inputs


class Common(ModelTesterMixin, TrainingTesterMixin):
    """What every class of tests below shares."""

    kind: str
    fields: dict[str, Any]
    training_overfit_learning_rate = 3e-3  # the tiny models are tinier than those of transformers
    model_tester: Any = None

    def setUp(self) -> None:
        for mapping, name in NAMES.items():  # what says which labels a class wants
            patch = mock.patch.dict(getattr(modeling_auto, mapping), name)
            patch.start()
            self.addCleanup(patch.stop)
        self.model_tester = Tester(self, self.kind, **self.fields)
        self.config_tester = ConfigTester(self, config_class=RnnAttnConfig, hidden_size=16)

    def _get_trainable_model_class(self) -> type:
        name = {"both": "ForConditionalGeneration", "encoder": "ForMaskedLM", "decoder": "ForCausalLM"}[self.kind]
        return getattr(hf_rnnattn, f"RnnAttn{name}")

    @pytest.mark.slow
    def test_training_overfit(self) -> None:
        super().test_training_overfit()

    @pytest.mark.slow
    def test_bc_torch_dtype(self) -> None:
        super().test_bc_torch_dtype()

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


def _classes(kind: str) -> list[type]:
    names = {
        "both": ["RnnAttnModel", "RnnAttnForConditionalGeneration"],
        "encoder": ["RnnAttnEncoderModel", *(f"RnnAttnFor{head}" for head in ENCODER_HEADS)],
        "decoder": ["RnnAttnForCausalLM"],
    }[kind]
    return [getattr(hf_rnnattn, name) for name in names]


def _attends(kind: str, fields: dict[str, Any]) -> bool:
    """Whether every layer attends to its own side, as the tests of attention maps presuppose."""
    sides = {"both": ("encoder", "decoder"), "encoder": ("encoder",), "decoder": ("decoder",)}[kind]
    return all("attention" in entry for side in sides for entry in fields[f"{side}_mixers"])


def _expected_failures(kind: str) -> dict[str, Any]:
    """The exceptions for this kind of models. A test that passes against expectation fails."""

    def failing(name: str) -> Any:
        marks = getattr(getattr(Common, name), "pytestmark", [])
        found = unittest.expectedFailure(lambda self: getattr(Common, name)(self))
        found.pytestmark = marks
        return found

    return {name: failing(name) for name, (kinds, _) in EXCEPTIONS.items() if kind in kinds}


for _kind, _suffix in (("both", ""), ("encoder", "EncoderOnly"), ("decoder", "DecoderOnly")):
    for _name, _fields in MODELS.items():
        _members = {
            "kind": _kind,
            "fields": _fields,
            "is_encoder_decoder": _kind == "both",
            "all_model_classes": _classes(_kind),
            "has_attentions": _attends(_kind, _fields),
            "all_generative_model_classes": [],
            "__module__": __name__,
            **_expected_failures(_kind),
        }
        globals()[f"Test{_name}{_suffix}"] = type(f"Test{_name}{_suffix}", (Common, unittest.TestCase), _members)


def test_every_exception_names_a_test() -> None:
    known = {name for name in dir(Common) if name.startswith("test_")}
    assert not EXCEPTIONS.keys() - known
