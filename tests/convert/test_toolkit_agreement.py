"""Models that JoeyNMT, OpenNMT-py and eole trained say here what they say there."""

import json

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

from hf_rnnattn.convert.eole import convert_eole
from hf_rnnattn.convert.joeynmt import convert_joeynmt
from hf_rnnattn.convert.opennmt import convert_opennmt
from sources import PROJECT
from toolkit_models import MODELS, TOOLKITS, assembled, recorded

CONVERTERS = {"eole": convert_eole, "joeynmt": convert_joeynmt, "opennmt": convert_opennmt}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The folder of each model, made once."""
    made = {}

    def convert(toolkit, name):
        if (toolkit, name) not in made:
            folder = tmp_path_factory.mktemp(f"{toolkit}-{name}")
            CONVERTERS[toolkit](assembled(toolkit, name, folder / "theirs"), output=folder / "ours")
            made[toolkit, name] = folder / "ours"
        return made[toolkit, name]

    return convert


def loaded(folder):
    return AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def test_every_toolkit_has_its_models():
    assert {toolkit for toolkit, _ in MODELS} == set(TOOLKITS)
    for model in MODELS:
        records = recorded(*model)
        assert len(records) == 200
        assert len({record.output for record in records}) > 150


@pytest.mark.parametrize(("toolkit", "name"), MODELS)
def test_all_texts_are_the_toolkits_in_one_batch(toolkit, name, converted):
    model, tokenizer = loaded(converted(toolkit, name))
    records = recorded(toolkit, name)
    batch = tokenizer([record.source for record in records], padding=True, return_tensors="pt")
    texts = tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True)
    assert texts == [record.output for record in records]


@pytest.mark.parametrize(("toolkit", "name"), MODELS)
def test_log_probabilities_are_the_toolkits(toolkit, name, converted):
    model, tokenizer = loaded(converted(toolkit, name))
    for record in recorded(toolkit, name)[::20]:
        batch = tokenizer(record.source, return_tensors="pt")
        out = model.generate(**batch, output_logits=True, return_dict_in_generate=True)
        written = out.sequences[0, 1:]
        steps = torch.stack([logits[0].log_softmax(-1) for logits in out.logits])
        assert abs(float(steps.gather(1, written[:, None]).sum()) - record.score) < 1e-4


@pytest.mark.parametrize(("toolkit", "name"), MODELS)
def test_the_pipeline_says_the_same(toolkit, name, converted):
    pipe = pipeline("text2text-generation", model=str(converted(toolkit, name)))
    records = recorded(toolkit, name)[:5]
    answers = pipe([record.source for record in records])
    assert [answer["generated_text"] for answer in answers] == [record.output for record in records]


@pytest.mark.parametrize(("toolkit", "name"), MODELS)
def test_training_goes_on_from_where_the_toolkit_left_it(toolkit, name, converted):
    """Labels end as the toolkit's do: the loss of the recorded output is its score."""
    model, tokenizer = loaded(converted(toolkit, name))
    record = recorded(toolkit, name)[0]
    batch = tokenizer(record.source, text_target=record.output, return_tensors="pt")
    loss = model(**batch).loss
    assert abs(loss.item() * batch["labels"].shape[1] + record.score) < 1e-4
    loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_the_committed_measurement_is_of_these_models():
    """README.md and docs/toolkits.md quote it: eleven models, all texts the same, log-probabilities within 1e-4."""
    path = PROJECT / "benchmarks" / "results" / "toolkit_agreement.json"
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    assert sorted(MODELS) == sorted((toolkit, name) for toolkit, models in results.items() for name in models)
    assert len(MODELS) == 11
    for found in (found for models in results.values() for found in models.values()):
        assert found["identical"] == found["texts"] == 200
        assert found["largest_error_of_a_log_probability"] < 1e-4
