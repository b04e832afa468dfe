"""What ``generate`` may be given beside a source: prompts, masks, segments, positions, caches, encoder outputs."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lively_models import (
    DECODERS,
    assert_varied,
    generate,
    greedy_by_hand,
    lively_model,
    make_lively,
    run,
    sources,
    start,
    targets,
)

WIDE = {"num_beams": 3, "num_return_sequences": 2}


def prompts(model: Any, rows: int = 3, length: int = 4) -> Tensor:
    """The start token and ``length`` random ids behind it."""
    return torch.cat([start(model, rows), targets(model, rows, length)], dim=1)


def padded_left(ids: Tensor, row: int, count: int, padding: int) -> tuple[Tensor, Tensor]:
    """The same prompts with the first ``count`` ids of ``row`` gone and padding before it; and the mask."""
    ids, mask = ids.clone(), torch.ones_like(ids)
    ids[row, count:] = ids[row, : ids.shape[1] - count].clone()
    ids[row, :count], mask[row, :count] = padding, 0
    return ids, mask


@pytest.mark.parametrize("name", DECODERS)
def test_a_prompt_is_continued(name: str) -> None:
    model = lively_model(name)
    inputs, prompt = sources(model), prompts(model)
    expected = greedy_by_hand(model, prompt, 8, **inputs)
    assert torch.equal(generate(model, 8, decoder_input_ids=prompt, **inputs), expected)
    without_start = generate(model, 8, decoder_input_ids=prompt[:, 1:], **inputs)
    assert torch.equal(without_start, expected)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("mode", [{}, {"use_cache": False}, WIDE])
def test_a_prompt_padded_on_the_left_is_continued_as_without_padding(name: str, mode: dict[str, Any]) -> None:
    model = lively_model(name)
    inputs, whole = sources(model), prompts(model)
    rows = int(mode.get("num_return_sequences", 1))
    prompt, mask = padded_left(whole, 1, 2, padding=5)
    got = generate(model, 8, decoder_input_ids=prompt, decoder_attention_mask=mask, **mode, **inputs)
    alone = {key: value[1:2] for key, value in inputs.items()}
    expected = generate(model, 8, decoder_input_ids=whole[1:2, :-2], **mode, **alone)
    assert torch.equal(got[rows : 2 * rows, 2:], expected)
    others = generate(model, 8, decoder_input_ids=whole, **mode, **inputs)
    keep = [i for i in range(3 * rows) if i // rows != 1]
    assert torch.equal(got[keep], others[keep])


@pytest.mark.parametrize("name", DECODERS)
def test_a_cache_is_continued_from_the_whole_target_or_from_what_is_new(name: str) -> None:
    model = lively_model(name)
    inputs, prompt = sources(model), prompts(model, length=3)
    first = generate(model, 5, decoder_input_ids=prompt, return_dict_in_generate=True, **inputs)
    expected = generate(model, 11, decoder_input_ids=prompt, **inputs)
    sequences = first.sequences
    again = generate(model, 6, decoder_input_ids=sequences, cache=copy.deepcopy(first.cache), **inputs)
    assert torch.equal(again, expected)
    masked = generate(
        model,
        6,
        decoder_input_ids=sequences,
        decoder_attention_mask=torch.ones_like(sequences),
        cache=first.cache,
        **inputs,
    )
    assert torch.equal(masked, expected)


@pytest.mark.parametrize("name", ["gru", "full_attention", "gru+full_attention"])
def test_only_the_new_part_of_a_target_is_read_if_the_mask_covers_the_cache(name: str) -> None:
    """Three tokens are in the cache, five are new: nothing of the five may be taken for old."""
    model = lively_model(name)
    inputs, ids = sources(model), prompts(model, length=7)
    past = run(model, decoder_input_ids=ids[:, :3], use_cache=True, **inputs).cache
    prepared = model.prepare_inputs_for_generation(ids[:, 3:], cache=past, decoder_attention_mask=torch.ones_like(ids))
    assert torch.equal(prepared["decoder_input_ids"], ids[:, 3:])


def test_of_a_target_already_read_only_the_rest_is_fed() -> None:
    model = lively_model("gru")
    inputs, ids = sources(model), prompts(model, length=7)
    past = run(model, decoder_input_ids=ids[:, :3], use_cache=True, **inputs).cache
    prepared = model.prepare_inputs_for_generation(ids, cache=past)
    assert torch.equal(prepared["decoder_input_ids"], ids[:, 3:])
    whole = torch.ones_like(ids)
    prepared = model.prepare_inputs_for_generation(ids, cache=past, decoder_attention_mask=whole)
    assert torch.equal(prepared["decoder_input_ids"], ids[:, 3:])


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("mode", [{}, WIDE])
def test_encoder_outputs_take_the_place_of_a_source(name: str, mode: dict[str, Any]) -> None:
    model = lively_model(name)
    inputs = sources(model)
    expected = generate(model, 6, **mode, **inputs)
    with torch.no_grad():
        encoded = model.get_encoder()(**inputs)
    got = generate(model, 6, encoder_outputs=replace(encoded), attention_mask=inputs["attention_mask"], **mode)
    assert torch.equal(got, expected)


def test_encoder_outputs_may_be_a_tuple() -> None:
    model = lively_model("mixed")
    inputs, ids = sources(model), targets(model)
    with torch.no_grad():
        encoded = model.get_encoder()(return_dict=False, **inputs)
    assert type(encoded) is tuple
    mask = inputs["attention_mask"]
    got = run(model, encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=ids)
    assert torch.equal(got.logits, run(model, decoder_input_ids=ids, **inputs).logits)
    assert torch.equal(got.encoder_last_hidden_state, encoded[0])
    assert torch.equal(generate(model, 6, encoder_outputs=encoded, attention_mask=mask), generate(model, 6, **inputs))


@pytest.mark.parametrize("mode", [{}, WIDE])
def test_source_vectors_take_the_place_of_source_ids(mode: dict[str, Any]) -> None:
    model = lively_model("mixed")
    inputs = sources(model)
    vectors = model.get_input_embeddings()(inputs["input_ids"])
    got = generate(model, 6, inputs_embeds=vectors, attention_mask=inputs["attention_mask"], **mode)
    assert torch.equal(got, generate(model, 6, **mode, **inputs))


def test_target_vectors_take_the_place_of_target_ids() -> None:
    model = lively_model("mixed")
    inputs, ids = sources(model), targets(model)
    vectors = model.get_decoder().get_input_embeddings()(ids)
    got = run(model, decoder_inputs_embeds=vectors, **inputs).logits
    assert torch.equal(got, run(model, decoder_input_ids=ids, **inputs).logits)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("beams", [1, 3])
def test_source_segments_matter_and_stay_as_given(use_cache: bool, beams: int) -> None:
    model = lively_model("mixed")
    inputs = sources(model)
    segments = (inputs["input_ids"] % 2).long()
    with torch.no_grad():
        encoded = model.get_encoder()(token_type_ids=segments, **inputs)
    expected = generate(model, 8, encoder_outputs=encoded, attention_mask=inputs["attention_mask"], num_beams=beams)
    got = generate(model, 8, token_type_ids=segments, use_cache=use_cache, num_beams=beams, **inputs)
    assert torch.equal(got, expected)
    assert not torch.equal(got, generate(model, 8, num_beams=beams, **inputs))


@pytest.mark.parametrize("name", ["lstm", "mixed", "gru+full_attention"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_the_last_target_segment_goes_on(name: str, use_cache: bool) -> None:
    model = lively_model(name)
    inputs, prompt = sources(model), prompts(model)
    segments = torch.zeros_like(prompt)
    segments[0, 2:], segments[1, -1] = 1, 1
    ids = prompt
    for _ in range(8):  # by hand: the whole target with its segments, at every step
        missing = ids.shape[1] - segments.shape[1]
        whole = torch.cat([segments, segments[:, -1:].expand(-1, missing)], dim=1)
        logits = run(model, decoder_input_ids=ids, decoder_token_type_ids=whole, use_cache=False, **inputs).logits
        ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    got = generate(model, 8, decoder_input_ids=prompt, decoder_token_type_ids=segments, use_cache=use_cache, **inputs)
    assert torch.equal(got, ids)
    assert_varied(ids)
    assert not torch.equal(ids, generate(model, 8, decoder_input_ids=prompt, **inputs))
    beams = {"num_beams": 3, "decoder_input_ids": prompt, "decoder_token_type_ids": segments}
    assert torch.equal(generate(model, 8, **beams, **inputs), generate(model, 8, use_cache=False, **beams, **inputs))


@pytest.mark.parametrize("mode", [{}, {"use_cache": False}, {"prompt_lookup_num_tokens": 3}])
def test_target_positions_go_on_from_those_given(mode: dict[str, Any]) -> None:
    model = lively_model("positions")
    inputs = {key: value[:1] for key, value in sources(model).items()}
    prompt = prompts(model, rows=1)
    positions = torch.arange(prompt.shape[1])[None] * 2 + 3
    ids = prompt
    for _ in range(10):
        more = positions[:, -1:] + torch.arange(1, ids.shape[1] - positions.shape[1] + 1)
        whole = torch.cat([positions, more], dim=1)
        logits = run(model, decoder_input_ids=ids, decoder_position_ids=whole, use_cache=False, **inputs).logits
        ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    got = generate(model, 10, decoder_input_ids=prompt, decoder_position_ids=positions, **mode, **inputs)
    assert torch.equal(got, ids)
    assert not torch.equal(ids, generate(model, 10, decoder_input_ids=prompt, **inputs))


def test_generation_beyond_a_learned_position_table_says_so() -> None:
    fields = {**DECODERS["positions"], "max_position_embeddings": 12}
    model = make_lively(eos_token_id=None, **fields)
    with pytest.raises(ValueError, match="target length 13 exceeds max_position_embeddings 12"):
        generate(model, 20, **sources(model))
    with pytest.raises(ValueError, match="target length 13 exceeds max_position_embeddings 12"):
        generate(model, 20, cache_implementation="static", disable_compile=True, **sources(model))


def test_reading_a_prompt_in_chunks_is_refused() -> None:
    model = lively_model("mixed")
    with pytest.raises(ValueError, match="prefill_chunk_size must be None for encoder-decoders, got 3"):
        generate(model, 4, decoder_input_ids=prompts(model), prefill_chunk_size=3, **sources(model))
