"""Decoding with proposed tokens: states roll back, so that the result is greedy decoding, token for token."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lively_models import DECODERS, assert_varied, generate, lively_model, make_lively, sources, targets

TOKENS = 200


def one_row(model: Any) -> dict[str, Tensor]:
    """Assisted decoding takes one row at a time; this one has padding."""
    return {key: value[1:2] for key, value in sources(model).items()}


def count_forwards(model: Any, **inputs: Any) -> tuple[Tensor, int]:
    """What ``generate`` gives, and how often the decoder ran for it."""
    calls = []
    hook = model.get_decoder().register_forward_hook(lambda *_: calls.append(1))
    try:
        return generate(model, TOKENS, **inputs), len(calls)
    finally:
        hook.remove()


@pytest.mark.parametrize("name", DECODERS)
def test_prompt_lookup_equals_greedy_decoding(name: str) -> None:
    model = lively_model(name)
    inputs = one_row(model)
    expected = generate(model, TOKENS, **inputs)
    got, forwards = count_forwards(model, prompt_lookup_num_tokens=4, max_matching_ngram_size=2, **inputs)
    assert torch.equal(got, expected)
    assert expected.shape[1] == TOKENS + 1
    assert_varied(expected, least=2)
    assert forwards < TOKENS  # proposals were taken


@pytest.mark.parametrize("tokens", [50, pytest.param(TOKENS, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", DECODERS)
def test_an_assistant_model_changes_nothing(name: str, tokens: int) -> None:
    model = lively_model(name)
    inputs = one_row(model)
    expected = generate(model, tokens, **inputs)
    assert torch.equal(generate(model, tokens, assistant_model=stranger(), **inputs), expected)
    assert expected.shape[1] == tokens + 1


def stranger() -> Any:
    """An assistant that guesses three tokens a round, most of them wrong, so that states roll back all the time."""
    model = make_lively(seed=1, eos_token_id=None, decoder_mixers=["gru"])
    model.generation_config.num_assistant_tokens = 3
    model.generation_config.num_assistant_tokens_schedule = "constant"
    return model


def test_an_assistant_that_agrees_saves_forwards() -> None:
    model = lively_model("lstm")
    twin = make_lively(eos_token_id=None, **DECODERS["lstm"])
    got, forwards = count_forwards(model, assistant_model=twin, **one_row(model))
    assert torch.equal(got, generate(model, TOKENS, **one_row(model)))
    assert forwards < TOKENS / 3


def test_an_assistant_reads_every_token_once() -> None:
    """transformers feeds an encoder-decoder assistant its whole prefix again in every round."""
    model = lively_model("gru")
    twin = make_lively(eos_token_id=None, **DECODERS["gru"])
    lengths = []
    hook = twin.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    generate(model, TOKENS, assistant_model=twin, **one_row(model))
    hook.remove()
    assert max(lengths) <= 3


def test_an_assistant_may_have_learned_positions() -> None:
    """Its table has just the rows that the output needs."""
    model = lively_model("positions")
    assistant = make_lively(eos_token_id=None, **{**DECODERS["positions"], "max_position_embeddings": 44})
    inputs = one_row(model)
    assert torch.equal(generate(model, 40, assistant_model=assistant, **inputs), generate(model, 40, **inputs))


@pytest.mark.parametrize("extra", [{"prompt_lookup_num_tokens": 4}, {"assistant_model": None}])
def test_prompts_masks_and_segments_stay_right_while_tokens_are_proposed(extra: dict[str, Any]) -> None:
    model = lively_model("mixed")
    if "assistant_model" in extra:
        extra = {"assistant_model": make_lively(seed=1, eos_token_id=None, **DECODERS["ssru+elman"])}
    inputs = one_row(model)
    prompt = torch.cat([torch.tensor([[1]]), targets(model, rows=1)], dim=1)
    mask = torch.ones_like(prompt)
    mask[0, 3:5] = 0
    segments = torch.ones_like(prompt)
    inputs |= {"decoder_input_ids": prompt, "decoder_attention_mask": mask, "decoder_token_type_ids": segments}
    assert torch.equal(generate(model, 30, **extra, **inputs), generate(model, 30, **inputs))


def test_the_end_of_sequence_ends_assisted_decoding_where_greedy_decoding_ends() -> None:
    ended = 0
    for name in DECODERS:
        model = lively_model(name, eos=2)
        expected = generate(model, 40, **one_row(model))
        assert torch.equal(generate(model, 40, prompt_lookup_num_tokens=3, **one_row(model)), expected)
        ended += int(expected[0, -1] == 2)
    assert ended >= 3
