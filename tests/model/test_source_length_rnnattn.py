"""Targets that may be so many times as long as their source."""

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, pipeline

from model_zoo import tiny_model
from tiny_seq2seq import character_tokenizer

SOURCES = torch.tensor([[5, 6, 7, 2, 0, 0], [5, 6, 7, 8, 9, 2], [4, 2, 0, 0, 0, 0]])
LENGTHS = [4, 6, 2]


@pytest.fixture
def model():
    """One that never ends a target by itself, so that only the limit does."""
    model = tiny_model(vocab_size=31)  # that of the tokenizer below
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    model.generation_config = GenerationConfig(max_length_factor=2.0, suppress_tokens=[0, 2], **ids)
    return model


def lengths(output):
    """Tokens of each row after the start, without padding, for which beam search may take the end token."""
    return ((output[:, 1:] != 0) & (output[:, 1:] != 2)).sum(-1).tolist()


def generate(model, sources=SOURCES, **options):
    return model.generate(sources, attention_mask=sources != 0, **options)


@pytest.mark.parametrize("search", [{}, {"num_beams": 3}, {"do_sample": True}, {"cache_implementation": "static"}])
def test_every_row_ends_at_the_limit_of_its_own_source(model, search):
    assert lengths(generate(model, **search)) == [2 * length for length in LENGTHS]


def test_a_row_gives_alone_what_it_gives_among_others(model):
    together = generate(model, num_beams=3)
    for row, length, source in zip(together, LENGTHS, SOURCES, strict=True):
        alone = generate(model, source[None, :length], num_beams=3)[0]
        assert row[: len(alone)].tolist() == alone.tolist()


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.5, [6, 9, 3]), (1.3, [5, 7, 2]), (0.1, [1, 1, 1]), (30, [120, 180, 60])]
)
def test_the_limit_is_the_product_rounded_down_and_at_least_1(model, factor, expected):
    assert lengths(generate(model, max_length_factor=factor)) == expected


@pytest.mark.parametrize(("offset", "expected"), [(5, [10, 12, 7]), (0.5, [5, 8, 3]), (None, [5, 7, 2])])
def test_an_offset_is_added_before_rounding_down(model, offset, expected):
    model.generation_config.max_length_offset = offset
    assert lengths(generate(model, max_length_factor=1.25)) == expected


def test_the_lower_of_two_limits_holds(model):
    assert lengths(generate(model, max_new_tokens=7)) == [7, 7, 4]
    assert lengths(generate(model, max_length=6)) == [5, 5, 4]
    assert lengths(generate(model, generation_config=GenerationConfig(max_new_tokens=7))) == [7, 7, 4]


def test_none_turns_the_limit_off(model):
    assert lengths(generate(model, max_length_factor=None)) == [20, 20, 20]
    assert lengths(generate(model, max_length_factor=None, max_new_tokens=30)) == [30, 30, 30]


def test_a_prompt_does_not_count(model):
    output = generate(model, decoder_input_ids=torch.tensor([[1, 5, 5]] * 3))
    assert lengths(output) == [2 + 2 * length for length in LENGTHS]


def test_rows_of_one_source_share_its_limit(model):
    output = generate(model, do_sample=True, num_return_sequences=2)
    assert lengths(output) == [2 * length for length in LENGTHS for _ in range(2)]


def test_without_a_mask_every_token_counts(model):
    assert lengths(model.generate(SOURCES)) == [12, 12, 12]
    vectors = model.get_input_embeddings()(SOURCES)
    assert lengths(model.generate(inputs_embeds=vectors)) == [12, 12, 12]
    encoded = model.get_encoder()(SOURCES)
    assert lengths(model.generate(encoder_outputs=encoded)) == [12, 12, 12]


def test_prompt_lookup_stops_at_the_limit(model):
    source = SOURCES[1:2]
    assert generate(model, source, prompt_lookup_num_tokens=3).tolist() == generate(model, source).tolist()


@pytest.mark.parametrize("factor", [0, -1.0, float("nan"), float("inf"), True, "2"])
def test_other_values_are_refused(model, factor):
    with pytest.raises(ValueError, match="max_length_factor must be positive and finite"):
        generate(model, max_length_factor=factor)


@pytest.mark.parametrize("offset", [-1, float("nan"), float("inf"), True, "2"])
def test_other_offsets_are_refused(model, offset):
    model.generation_config.max_length_offset = offset
    with pytest.raises(ValueError, match="max_length_offset must be at least 0 and finite"):
        generate(model)


def test_the_setting_is_saved_with_the_model(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert loaded.generation_config.max_length_factor == 2.0
    assert lengths(generate(loaded)) == [2 * length for length in LENGTHS]


def test_the_pipelines_default_length_gives_way(model):
    model.generation_config.max_length_factor = 80.0
    pipe = pipeline("text2text-generation", model=model, tokenizer=character_tokenizer())
    (record,) = pipe("abc", return_tensors=True, num_beams=1)
    assert len(record["generated_token_ids"]) - 1 == 80 * len(character_tokenizer()("abc")["input_ids"])
    assert len(pipe("abc", return_tensors=True, max_new_tokens=9)[0]["generated_token_ids"]) == 10
