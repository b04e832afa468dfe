"""The cache: whatever is done to its rows or its end equals decoding from scratch, and nothing leaks."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

from lively_models import (
    DECODERS,
    EXACT,
    RECURRENT_DECODERS,
    generate,
    lively_model,
    make_lively,
    run,
    sources,
    targets,
)


def empty_cache(model: Any) -> EncoderDecoderCache:
    """A cache built by hand, as documentation shows it."""
    return EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache(config=model.config))


def read(model: Any, ids: Tensor, cache: Any = None, **inputs: Any) -> Any:
    """Reads ``ids`` behind what the cache holds: logits and cache."""
    return run(model, decoder_input_ids=ids, cache=cache, use_cache=True, **inputs)


def held(cache: EncoderDecoderCache) -> list[Tensor]:
    """Every tensor of the decoder's own cache."""
    tensors = []
    for layer in cache.self_attention_cache.layers:
        tensors += [tensor for tensor in (layer.keys, layer.values) if tensor is not None]
        tensors += [layer.states[name] for name in sorted(layer.states)]
    return tensors


def take(inputs: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {key: value[rows] for key, value in inputs.items()}


ROW_OPERATIONS = {
    "reorder": (lambda cache, rows: cache.reorder_cache(rows), [2, 0, 0]),
    "select": (lambda cache, rows: cache.batch_select_indices(rows), [2, 1]),
    "repeat": (lambda cache, rows: cache.batch_repeat_interleave(2), [0, 0, 1, 1, 2, 2]),
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("operation", ROW_OPERATIONS)
@pytest.mark.parametrize("recording", [False, True])
def test_changed_rows_equal_decoding_the_changed_inputs(name: str, operation: str, recording: bool) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model, length=9)
    change, indices = ROW_OPERATIONS[operation]
    rows = torch.tensor(indices)
    cache = empty_cache(model)
    if recording:
        cache.activate_past_recording()
    read(model, ids[:, :5], cache, **inputs)
    change(cache, rows)
    after = read(model, ids[rows, 5:], cache, **take(inputs, rows)).logits
    whole = run(model, decoder_input_ids=ids[rows], use_cache=False, **take(inputs, rows)).logits
    assert_close(after, whole[:, 5:], **EXACT)
    if recording:  # the record of the past follows its rows
        cache.crop(-7)
        again = read(model, ids[rows, 2:], cache, **take(inputs, rows)).logits
        assert_close(again, whole[:, 2:], **EXACT)


@pytest.mark.parametrize("name", DECODERS)
def test_a_reset_cache_is_an_empty_one(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model)
    cache = empty_cache(model)
    expected = read(model, ids, cache, **inputs).logits
    other = {**inputs, "input_ids": inputs["input_ids"].flip(0)}
    cache.reset()
    assert cache.get_seq_length() == 0
    read(model, ids.flip(1)[:2], cache, **take(other, torch.tensor([0, 1])))
    cache.reset()
    assert torch.equal(read(model, ids, cache, **inputs).logits, expected)


@pytest.mark.parametrize("name", DECODERS)
def test_crop_restores_the_cache_bit_for_bit(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model, length=10)
    cache = empty_cache(model)
    cache.activate_past_recording()
    read(model, ids[:, :3], cache, **inputs)
    read(model, ids[:, 3:4], cache, **inputs)
    after_four = [tensor.clone() for tensor in held(cache)]
    read(model, ids[:, 4:7], cache, **inputs)  # several forwards before one crop
    read(model, ids[:, 7:8], cache, **inputs)
    read(model, ids[:, 8:], cache, **inputs)
    cache.crop(-6)
    assert cache.get_seq_length() == 4
    assert all(torch.equal(one, other) for one, other in zip(held(cache), after_four, strict=True))
    whole = run(model, decoder_input_ids=ids, use_cache=False, **inputs).logits
    assert_close(read(model, ids[:, 4:], cache, **inputs).logits, whole[:, 4:], **EXACT)


@pytest.mark.parametrize("name", DECODERS)
def test_crop_goes_back_to_before_the_first_token_and_works_again_afterwards(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model, length=8)
    whole = run(model, decoder_input_ids=ids, use_cache=False, **inputs).logits
    cache = empty_cache(model)
    cache.activate_past_recording()
    read(model, ids.flip(1)[:, :4], cache, **inputs)
    cache.crop(-4)
    assert cache.get_seq_length() == 0
    assert_close(read(model, ids[:, :5], cache, **inputs).logits, whole[:, :5], **EXACT)
    cache.crop(-2)
    cache.crop(0)
    read(model, ids.flip(1)[:, :2], cache, **inputs)
    cache.crop(-2)
    assert_close(read(model, ids[:, 3:], cache, **inputs).logits, whole[:, 3:], **EXACT)


def test_crop_with_padding_rolls_back_over_masked_tokens() -> None:
    model = lively_model("mixed")
    inputs, ids = sources(model), targets(model, length=7)
    mask = torch.ones_like(ids)
    mask[0, :2], mask[1, 3:5] = 0, 0
    whole = run(model, decoder_input_ids=ids, decoder_attention_mask=mask, **inputs).logits
    cache = empty_cache(model)
    cache.activate_past_recording()
    read(model, ids[:, :6], cache, decoder_attention_mask=mask[:, :6], **inputs)
    cache.crop(-3)
    again = read(model, ids[:, 3:], cache, decoder_attention_mask=mask, **inputs).logits
    kept = mask[:, 3:].bool()
    assert_close(again[kept], whole[:, 3:][kept], **EXACT)


@pytest.mark.parametrize("name", DECODERS)
def test_crop_by_nothing_drops_the_record_and_keeps_the_state(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model, length=6)
    cache = empty_cache(model)
    cache.activate_past_recording()
    read(model, ids[:, :4], cache, **inputs)
    before = [tensor.clone() for tensor in held(cache)]
    cache.crop(0)
    assert all(torch.equal(one, other) for one, other in zip(held(cache), before, strict=True))
    if any(layer.states for layer in cache.self_attention_cache.layers):
        with pytest.raises(ValueError, match="by 1 tokens, 0 were recorded"):
            cache.crop(-1)


@pytest.mark.parametrize("name", ["gru", "lstm", "ssru+elman", "gru+full_attention", "full_attention+ssru", "mixed"])
def test_crop_beyond_the_record_says_so_and_changes_nothing(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model, length=6)
    whole = run(model, decoder_input_ids=ids, use_cache=False, **inputs).logits
    cache = empty_cache(model)
    read(model, ids[:, :2], cache, **inputs)
    with pytest.raises(ValueError, match="activate_past_recording"):
        cache.crop(-1)
    cache.activate_past_recording()
    read(model, ids[:, 2:4], cache, **inputs)
    with pytest.raises(ValueError, match="by 3 tokens, 2 were recorded"):
        cache.crop(-3)
    with pytest.raises(ValueError, match="positive"):
        cache.crop(2)
    assert cache.get_seq_length() == 4
    assert_close(read(model, ids[:, 4:], cache, **inputs).logits, whole[:, 4:], **EXACT)


@pytest.mark.parametrize("name", DECODERS)
def test_two_sequences_through_two_caches_do_not_touch_one_another(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model, rows=4), targets(model, rows=4, length=7)
    caches: list[Any] = [None, None]
    logits: list[list[Tensor]] = [[], []]
    halves = [torch.tensor([0, 1]), torch.tensor([2, 3])]
    for t in range(7):
        for i, rows in enumerate(halves):
            output = read(model, ids[rows, t : t + 1], caches[i], **take(inputs, rows))
            caches[i] = output.cache
            logits[i].append(output.logits)
    for i, rows in enumerate(halves):
        whole = run(model, decoder_input_ids=ids[rows], use_cache=False, **take(inputs, rows)).logits
        assert_close(torch.cat(logits[i], dim=1), whole, **EXACT)


@pytest.mark.parametrize("name", DECODERS)
def test_a_copied_cache_is_decoded_twice_with_one_result(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model, length=6)
    cache = read(model, ids[:, :3], **inputs).cache
    twin = copy.deepcopy(cache)
    first = read(model, ids[:, 3:], cache, **inputs).logits
    assert torch.equal(read(model, ids[:, 3:], twin, **inputs).logits, first)


@pytest.mark.parametrize("name", DECODERS)
def test_reading_on_never_writes_into_tensors_handed_out_before(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model, length=6)
    cache = read(model, ids[:, :3], **inputs).cache
    before = held(cache)
    copies = [tensor.clone() for tensor in before]
    for t in range(3, 6):
        read(model, ids[:, t : t + 1], cache, **inputs)
    assert all(torch.equal(one, other) for one, other in zip(before, copies, strict=True))


@pytest.mark.parametrize("name", RECURRENT_DECODERS)
def test_a_recurrent_decoders_own_cache_does_not_grow_with_the_output(name: str) -> None:
    model = lively_model(name)
    inputs = {key: value[:1] for key, value in sources(model).items()}
    sizes = []
    for length in (10, 1000 if name in ("ssru", "lstm") else 60):
        ids = targets(model, rows=1, length=length)
        cache = None
        for begin in range(0, length, 10):
            cache = read(model, ids[:, begin : begin + 10], cache, **inputs).cache
        assert cache.get_seq_length() == length
        sizes.append(sum(tensor.numel() for tensor in held(cache)))
        stored = sum(tensor.untyped_storage().nbytes() for tensor in held(cache))
        assert stored <= 11 * sum(
            tensor.nbytes for tensor in held(cache)
        )  # the states of one chunk, not the whole past
    assert sizes[0] == sizes[1]


def test_a_cache_built_without_the_config_is_refused() -> None:
    model = lively_model("gru")
    inputs, ids = sources(model), targets(model)
    ours = DynamicCache(config=model.config)
    shallow = DynamicCache(config=make_lively(decoder_mixers=["gru"]).config)
    for wrong in (
        EncoderDecoderCache(DynamicCache(), DynamicCache()),
        EncoderDecoderCache(ours, DynamicCache()),
        EncoderDecoderCache(DynamicCache(), ours),
        EncoderDecoderCache(shallow, ours),
        ours,
    ):
        with pytest.raises(ValueError, match=r"the cache must be EncoderDecoderCache\("):
            read(model, ids, wrong, **inputs)


def test_a_static_cache_for_another_source_length_is_refused() -> None:
    """It would give the decoder empty slots to attend to."""
    model = lively_model("mixed")
    inputs, ids = sources(model), targets(model)
    static = [StaticCache(config=model.config, max_cache_len=20) for _ in range(2)]
    with pytest.raises(ValueError, match="holds 20 source tokens, the source has 7"):
        read(model, ids, EncoderDecoderCache(*static), **inputs)


@pytest.mark.parametrize("name", DECODERS)
def test_a_cache_built_by_hand_serves_generate(name: str) -> None:
    model = lively_model(name)
    inputs = sources(model)
    expected = generate(model, 6, **inputs)
    assert torch.equal(generate(model, 6, cache=empty_cache(model), **inputs), expected)
    view = model.config.get_text_config(decoder=True)
    cache = EncoderDecoderCache(DynamicCache(config=view), DynamicCache(config=view))
    assert torch.equal(generate(model, 6, cache=cache, **inputs), expected)


def test_states_are_float32_whatever_the_model_computes_in() -> None:
    for name in ("gru", "lstm", "ssru", "mingru", "elman", "bahdanau_gru", "init_mean"):
        model = make_lively(**DECODERS[name]).bfloat16()
        cache = read(model, targets(model), **sources(model)).cache
        for layer in cache.self_attention_cache.layers:
            assert all(state.dtype == torch.float32 for state in layer.states.values())
