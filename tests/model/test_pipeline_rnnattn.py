"""The text2text-generation pipeline behaves as it did in transformers 4, for models of transformers and ours."""

import json
import os
import subprocess
import sys
import warnings

import pytest
import torch
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from hf_rnnattn.alignment import align
from hf_rnnattn.model.pipeline_rnnattn import Text2TextGenerationPipeline
from tiny_seq2seq import EOS, FAMILIES, PAD, VOCABULARY, character_tokenizer, tiny_model

TASK = "text2text-generation"


def make(family="bart", tokenizer=None, **kwargs):
    settings = {"max_new_tokens": 8, "num_beams": 2, "device": "cpu", **kwargs}
    return pipeline(TASK, model=tiny_model(family), tokenizer=tokenizer or character_tokenizer(), **settings)


def by_hand(pipe, text, **kwargs):
    """Text to text without the pipeline."""
    inputs = pipe.tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    ids = pipe.model.generate(**inputs, **{"max_new_tokens": 8, "num_beams": 2, "pad_token_id": PAD, **kwargs})
    return pipe.tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


# The shapes of version 4


@pytest.mark.parametrize("family", FAMILIES)
def test_one_text_gives_a_list_of_one_record(family):
    pipe = make(family)
    assert pipe("hello") == [{"generated_text": by_hand(pipe, "hello")[0]}]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_list_gives_a_record_for_each_text_whatever_the_batch(family):
    pipe, texts = make(family), ["hello", "a much longer text", "b", ""]
    expected = [{"generated_text": by_hand(pipe, text)[0]} for text in texts]
    assert pipe(texts) == expected
    assert pipe(texts, batch_size=3) == expected
    assert pipe(tuple(texts)) == expected


@pytest.mark.parametrize("batch_size", [1, 2])
def test_several_sequences_give_a_list_for_each_text(batch_size):
    pipe, texts = make(), ["hello", "you"]
    expected = [
        [{"generated_text": text} for text in by_hand(pipe, source, num_return_sequences=2)] for source in texts
    ]
    assert pipe(texts, num_return_sequences=2, batch_size=batch_size) == expected
    assert pipe("hello", num_return_sequences=2) == expected[0]


def test_an_empty_list_gives_an_empty_list():
    assert make()([]) == []


def test_token_ids_come_as_tensors_in_place_of_text_or_beside_it():
    pipe = make()
    (record,) = pipe("hello", return_tensors=True)
    assert list(record) == ["generated_token_ids"]
    inputs = pipe.tokenizer("hello", return_tensors="pt", return_token_type_ids=False)
    assert torch.equal(record["generated_token_ids"], pipe.model.generate(**inputs, max_new_tokens=8, num_beams=2)[0])
    (record,) = pipe("hello", return_tensors=True, return_text=True)
    assert list(record) == ["generated_token_ids", "generated_text"]
    assert list(pipe("hello", return_tensors=False)[0]) == ["generated_text"]
    with pytest.raises(ValueError, match="return_text=False"):
        pipe("hello", return_text=False)


def test_generators_and_datasets_stream():
    pipe, taken = make(), []

    def texts():
        for text in ["hello", "you", "there"]:
            taken.append(text)
            yield text

    stream = pipe(texts())
    first = next(iter(stream))
    assert first == pipe("hello")
    assert len(taken) < 3
    rows = [{"text": "hello"}, {"text": "you"}, {"text": "there"}]
    expected = [[record] for record in pipe(["hello", "you", "there"])]
    assert list(pipe(KeyDataset(rows, "text"), batch_size=2)) == expected
    assert list(pipe((row["text"] for row in rows), batch_size=2)) == expected


def test_a_column_of_a_dataset_is_a_list():
    datasets = pytest.importorskip("datasets", reason="reading data sets needs the train extra")
    pipe = make()
    column = datasets.Dataset.from_dict({"text": ["hello", "you"]})["text"]
    assert pipe(column) == pipe(["hello", "you"])


def test_decoding_can_clean_up_spaces():
    pipe = make()
    seen = []
    decode = pipe.tokenizer.decode
    pipe.tokenizer.decode = lambda *args, **kwargs: seen.append(kwargs) or decode(*args, **kwargs)
    pipe("hello")
    pipe("hello", clean_up_tokenization_spaces=True)
    assert [kwargs["clean_up_tokenization_spaces"] for kwargs in seen] == [False, True]


# Generation parameters


def test_four_beams_and_256_tokens_are_the_default():
    pipe = pipeline(TASK, model=tiny_model("t5"), tokenizer=character_tokenizer(), device="cpu")
    seen = record_settings(pipe)
    pipe("hello")
    assert (seen[-1].num_beams, seen[-1].max_new_tokens) == (4, 256)
    pipe.model.generation_config.num_beams = 3
    pipe.model.generation_config.max_length = 9
    pipe = pipeline(TASK, model=pipe.model, tokenizer=pipe.tokenizer, device="cpu")
    pipe("hello")
    assert (seen[-1].num_beams, seen[-1].max_new_tokens, seen[-1].max_length) == (3, None, 9)


def record_settings(pipe):
    """What generate is told, call by call, as one generation config each."""
    seen, generate = [], pipe.model.generate

    def recorded(*args, generation_config=None, **kwargs):
        names = {name for name in kwargs if hasattr(GenerationConfig(), name)}
        config = GenerationConfig(**(generation_config or pipe.model.generation_config).to_diff_dict())
        config.update(**{name: kwargs[name] for name in names})
        seen.append(config)
        if generation_config is not None:
            kwargs["generation_config"] = generation_config
        return generate(*args, **kwargs)

    pipe.model.generate = recorded
    return seen


def test_parameters_of_a_call_stand_above_those_of_the_pipeline():
    pipe = make(num_beams=3, max_new_tokens=3)
    assert pipe("hello")[0]["generated_text"] == by_hand(pipe, "hello", num_beams=3, max_new_tokens=3)[0]
    assert pipe("hello", num_beams=1)[0]["generated_text"] == by_hand(pipe, "hello", num_beams=1, max_new_tokens=3)[0]
    config = GenerationConfig(max_new_tokens=5, num_beams=2, decoder_start_token_id=1, eos_token_id=EOS)
    expected = by_hand(pipe, "hello", max_new_tokens=5, num_beams=2)[0]
    assert pipe("hello", generation_config=config)[0]["generated_text"] == expected


def test_an_unknown_parameter_is_refused():
    with pytest.raises(ValueError, match="no_such_parameter"):
        make()("hello", no_such_parameter=1)


def test_a_dictionary_asked_of_generate_changes_no_record():
    pipe = make()
    assert pipe("hello", return_dict_in_generate=True, output_scores=True) == pipe("hello")


def test_the_prefix_of_the_config_goes_before_each_text():
    model = tiny_model("bart")
    model.config.prefix = "say "
    pipe = pipeline(TASK, model=model, tokenizer=character_tokenizer(), max_new_tokens=8, num_beams=2, device="cpu")
    assert pipe(["hello", ""]) == [{"generated_text": by_hand(pipe, text)[0]} for text in ("say hello", "say ")]


def test_parameters_of_the_task_in_the_config_stand_below_the_callers():
    model, tokenizer = tiny_model("t5"), character_tokenizer()
    model.config.task_specific_params = {TASK: {"prefix": "do ", "num_beams": 3, "max_length": 6}}
    pipe = pipeline(TASK, model=model, tokenizer=tokenizer, device="cpu")
    expected = by_hand(pipe, "do it", num_beams=3, max_length=6, max_new_tokens=None)[0]
    assert pipe("it")[0]["generated_text"] == expected
    pipe = pipeline(TASK, model=model, tokenizer=tokenizer, device="cpu", num_beams=1)
    expected = by_hand(pipe, "do it", num_beams=1, max_length=6, max_new_tokens=None)[0]
    assert pipe("it")[0]["generated_text"] == expected
    assert model.config.task_specific_params[TASK]["prefix"] == "do "


def test_generation_stops_at_the_first_token_of_a_stop_sequence():
    pipe = make("t5", num_beams=1)
    text = pipe("hello")[0]["generated_text"]
    stop = text[2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pipe("hello", stop_sequence=stop)[0]["generated_text"] == text[: text.index(stop) + 1]
    with pytest.warns(UserWarning, match="stop_sequence .* is 2 tokens"):
        assert pipe("hello", stop_sequence=stop + "q")[0]["generated_text"] == text[: text.index(stop) + 1]
    with pytest.raises(ValueError, match="stop_sequence must hold at least one token"):
        pipe("hello", stop_sequence="")


@pytest.mark.parametrize("family", ["bart", "rnnattn"])
def test_an_assistant_proposes_tokens_and_changes_none(family):
    pipe = make(family, num_beams=1, assistant_model=tiny_model(family))
    seen, generate = [], pipe.model.generate
    pipe.model.generate = lambda *args, **kwargs: seen.append(kwargs) or generate(*args, **kwargs)
    assert pipe(["hello", "you"]) == make(family, num_beams=1)(["hello", "you"])
    assert [kwargs["assistant_model"] for kwargs in seen] == [pipe.assistant_model] * 2


def test_a_task_built_on_this_one_gets_the_lengths_and_names_its_records():
    class Shortener(Text2TextGenerationPipeline):
        return_name = "summary"

        def check_inputs(self, input_length, min_length, max_length):
            self.lengths = input_length, min_length, max_length

    pipe = Shortener(tiny_model("bart"), character_tokenizer(), device="cpu", max_length=7, min_length=3)
    assert list(pipe("hello")[0]) == ["summary_text"]
    assert pipe.lengths == (6, 3, 7)


# What is refused


@pytest.mark.parametrize("wrong", [None, 4, b"bytes", {"text": "hello"}])
def test_what_is_no_text_is_refused(wrong):
    pipe = make()
    with pytest.raises(ValueError, match="inputs must be a string, got"):
        pipe(wrong)
    with pytest.raises(ValueError, match=r"inputs\[1\] must be a string, got"):
        pipe(["hello", wrong])
    with pytest.raises(ValueError, match="inputs must be a string, got"):
        list(pipe(text for text in ["hello", wrong]))


def test_an_empty_text_is_its_end_token():
    pipe = make()
    assert pipe("") == [{"generated_text": by_hand(pipe, "")[0]}]
    pipe.tokenizer.backend_tokenizer.post_processor = None  # now the tokenizer adds nothing
    assert pipe.preprocess("")["input_ids"].tolist() == [[EOS]]
    pipe.tokenizer.eos_token = None
    with pytest.raises(ValueError, match="source length is 0"):
        pipe("")


@pytest.mark.parametrize("family", ["bart", "rnnattn"])
def test_ids_that_the_embedding_does_not_have_are_refused(family):
    tokenizer = character_tokenizer()
    tokenizer.add_tokens(["€"])
    pipe, size = make(family, tokenizer), len(VOCABULARY)
    with pytest.raises(ValueError, match=rf"input_ids must be in \[0, {size}\), got {size} at row 0, position 3"):
        pipe("abc€")
    with pytest.raises(ValueError, match=rf"got {size} at row 1, position 0"):
        pipe(["abc", "€"], batch_size=2)


@pytest.mark.parametrize("family", ["bart", "rnnattn"])
def test_a_text_longer_than_the_positions_is_refused_and_can_be_truncated(family):
    pipe = make(family)
    with pytest.raises(ValueError, match="source length 101 exceeds max_position_embeddings 64"):
        pipe("a" * 100)
    pipe.tokenizer.model_max_length = 10
    assert pipe("a" * 100, truncation=True) == pipe("a" * 9)


def test_a_model_that_is_no_encoder_decoder_is_refused():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(ValueError, match="must be an encoder-decoder that can generate, got GPT2LMHeadModel"):
        pipeline(TASK, model=model, tokenizer=character_tokenizer(), device="cpu")


def test_lone_surrogates_become_the_replacement_character():
    pipe = make()
    assert pipe("a\ud800b") == pipe("a\ufffdb")


def test_segments_reach_the_models_that_have_them_and_no_others():
    tokenizer = character_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask", "token_type_ids"]
    assert "token_type_ids" in make("rnnattn", tokenizer).preprocess("hello")
    assert "token_type_ids" not in make("bart", tokenizer).preprocess("hello")
    pipe = make("rnnattn", tokenizer)
    pipe.model.config.type_vocab_size = 0
    assert "token_type_ids" not in pipe.preprocess("hello")


# Alignments


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_alignments_are_those_of_align(family, batch_size):
    pipe, texts = make(family), ["hello", "a much longer text", "b"]
    settings = {"num_beams": 3, "num_return_sequences": 2}
    results = pipe(texts, return_alignments=True, batch_size=batch_size, **settings)
    assert [[r["generated_text"] for r in rs] for rs in results] == [
        [r["generated_text"] for r in rs] for rs in pipe(texts, **settings)
    ]
    for text, records in zip(texts, results, strict=True):
        expected = align(pipe.model, pipe.tokenizer, text, max_new_tokens=8, **settings)
        for record, one in zip(records, expected, strict=True):
            found = record["alignments"]
            assert (found.source_tokens, found.target_tokens) == (one.source_tokens, one.target_tokens)
            torch.testing.assert_close(found.weights, one.weights, atol=1e-5, rtol=0)
            assert found.weights.shape == (len(found.target_tokens), len(found.source_tokens))


def test_the_attention_of_the_model_is_given_back_after_alignments():
    pipe = make()
    assert set(pipe("hello", return_alignments=True)[0]) == {"generated_text", "alignments"}
    assert pipe.model.config._attn_implementation == "sdpa"
    with pytest.raises(ValueError, match="source length"):
        pipe("a" * 100, return_alignments=True)
    assert pipe.model.config._attn_implementation == "sdpa"
    assert set(pipe("hello")[0]) == {"generated_text"}


# Saving and loading


@pytest.mark.parametrize("family", ["bart", "t5", "rnnattn"])
def test_a_saved_pipeline_is_a_model_and_its_tokenizer_and_loads_by_path(tmp_path, family):
    pipe = make(family)
    pipe.save_pretrained(tmp_path)
    assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text())
    assert not list(tmp_path.glob("*.py"))
    again = pipeline(TASK, model=str(tmp_path), max_new_tokens=8, num_beams=2, device="cpu")
    assert again(["hello", "you"]) == pipe(["hello", "you"])


FORGET_THE_PACKAGE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_rnnattn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""

USE = """
import json, sys
from transformers import pipeline

settings = {"max_new_tokens": 8, "num_beams": 2, "device": "cpu", "trust_remote_code": True}
pipe = pipeline("text2text-generation", model=sys.argv[1], **settings)
pipe.save_pretrained(sys.argv[2])
record = pipe("hello", return_alignments=True)[0]
print(json.dumps([record["generated_text"], record["alignments"].weights.tolist()]))
"""


def test_a_pipeline_saved_with_its_code_needs_no_installed_package(tmp_path):
    pipe = make("bart")
    pipe.save_pretrained(tmp_path / "one", with_code=True)
    assert not hasattr(pipe.model.config, "custom_pipelines")
    record = pipe("hello", return_alignments=True)[0]
    arguments = [sys.executable, "-c", FORGET_THE_PACKAGE + USE, str(tmp_path / "one"), str(tmp_path / "two")]
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")}
    run = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    text, weights = json.loads(run.stdout.splitlines()[-1])
    assert text == record["generated_text"]
    torch.testing.assert_close(torch.tensor(weights), record["alignments"].weights)
    # what was loaded with its code is saved with it
    for folder in ("one", "two"):
        assert {path.name for path in (tmp_path / folder).glob("*.py")} == {
            "alignment_rnnattn.py",
            "pipeline_inputs.py",
            "pipeline_rnnattn.py",
            "pipeline_saving.py",
            "transformers_versions.py",
        }
        assert list(json.loads((tmp_path / folder / "config.json").read_text())["custom_pipelines"]) == [TASK]


def test_a_pipeline_travels_with_its_code_where_its_model_does(tmp_path, monkeypatch):
    pipe = make("rnnattn")
    monkeypatch.setattr(type(pipe.model), "_auto_class", "AutoModelForSeq2SeqLM")
    pipe.save_pretrained(tmp_path / "with")
    assert (tmp_path / "with" / "pipeline_rnnattn.py").exists()
    pipe.save_pretrained(tmp_path / "without", with_code=False)
    assert not (tmp_path / "without" / "pipeline_rnnattn.py").exists()
