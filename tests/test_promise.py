"""The promise of loading: a checkpoint that one version saved is loaded unchanged by every later version.

Committed beside the tests are checkpoints with the logits and texts they gave when they were made (see
``fixtures/make_promise.py``). A test here that turns red means that saved models of users would change or break:
mend the code, never the fixture. A field that is added to the config is missing from their ``config.json``; it must
then mean what the model did before, and ``OLD_BEHAVIOUR`` says by which value.
"""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, PreTrainedConfig

from fixtures.make_promise import FOLDER, PROMISES, example, generations
from hf_rnnattn import RnnAttnConfig

# Fields that the config got after a committed checkpoint was made, and the value under which that checkpoint is
# what it was. A new field goes in here together with its default.
OLD_BEHAVIOUR: dict[str, Any] = {
    "is_decoder": False,
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "written_vocab_size": None,
    "encoder_cell_depths": None,
    "decoder_cell_depths": None,
    "cell_norm": "none",
    "input_feeding": True,  # of mixers that those checkpoints could not have
    "attentional_activation": "tanh",
    "decoder_init_cell": False,
    "context_vector": "none",
    "feed_context": False,
    "source_order": "given",
    "residual_start": 0,
    "memory_slots": 128,  # of a mixer that those checkpoints could not have
    "memory_slot_size": 20,
    "memory_heads": 1,
    "readout": "hidden",
    "attention_window": 128,  # of a mixer that those checkpoints could not have
    "classifier_pooling": "mean",
    "copy_from_source": False,
    "attention_hops": 1,  # of an attention that those checkpoints could not have
    "hop_tying": "adjacent",
    "encoder_pooling": "none",
    "hard_attention": "none",
    "hard_attention_entropy": 0.01,  # of no consequence without it
}

CHECKPOINTS = sorted(FOLDER.iterdir())
OWN_FIELDS = {field.name: field for field in dataclasses.fields(RnnAttnConfig)}
for inherited in dataclasses.fields(PreTrainedConfig):
    OWN_FIELDS.pop(inherited.name, None)

each_checkpoint = pytest.mark.parametrize("folder", CHECKPOINTS, ids=[folder.name for folder in CHECKPOINTS])


def missing_fields(folder: Path) -> set[str]:
    """The fields that the committed config.json does not know."""
    return OWN_FIELDS.keys() - json.loads((folder / "config.json").read_text(encoding="utf-8")).keys()


def test_there_is_a_committed_checkpoint_for_each_promise() -> None:
    assert [folder.name for folder in CHECKPOINTS] == sorted(PROMISES)
    for folder in CHECKPOINTS:
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 200 * 1024


@each_checkpoint
def test_a_committed_checkpoint_loads_whole(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _, report = AutoModelForSeq2SeqLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert not [record for record in caplog.records if "unused config keys" in record.getMessage()]


# float64 is the sharper test; sinusoidal positions are float32 all the same, and their last bit is the machine's.
@each_checkpoint
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 3e-6)])
def test_a_committed_checkpoint_gives_its_logits(
    folder: Path, attention: str, dtype: torch.dtype, tolerance: float
) -> None:
    expected = load_file(folder / "expected.safetensors")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention)
    inputs = {name: expected[name] for name in example(model.config)}
    with torch.no_grad():
        logits = model(**inputs).logits
    torch.testing.assert_close(logits.double(), expected["logits"], rtol=0.0, atol=tolerance)


@each_checkpoint
def test_a_committed_checkpoint_writes_the_same(folder: Path) -> None:
    expected = load_file(folder / "expected.safetensors")
    written = generations(AutoModelForSeq2SeqLM.from_pretrained(folder), expected)
    assert {name: ids.tolist() for name, ids in written.items()} == {name: expected[name].tolist() for name in written}


@each_checkpoint
def test_a_field_that_a_checkpoint_does_not_know_means_the_old_behaviour(folder: Path) -> None:
    missing = missing_fields(folder)
    undecided = missing - OLD_BEHAVIOUR.keys()
    assert not undecided, f"say in OLD_BEHAVIOUR by which value of {sorted(undecided)} saved models stay what they are"
    config = RnnAttnConfig.from_pretrained(folder)
    for name in missing:
        assert OWN_FIELDS[name].default is not dataclasses.MISSING
        assert getattr(config, name) == OLD_BEHAVIOUR[name]


def test_every_recorded_old_behaviour_is_of_a_field_that_some_checkpoint_lacks() -> None:
    assert OLD_BEHAVIOUR.keys() == set().union(*map(missing_fields, CHECKPOINTS))


@each_checkpoint
def test_no_field_of_a_committed_checkpoint_was_dropped(folder: Path) -> None:
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = RnnAttnConfig.from_pretrained(folder)
    known = {field.name for field in dataclasses.fields(config)} | {"model_type"}
    assert stored.keys() <= known
    changing = {"transformers_version", "dtype"}  # the version that runs, and an object in place of its name
    for name in stored.keys() - changing:
        assert getattr(config, name) == stored[name], name
