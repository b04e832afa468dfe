"""``generate``: every mode gives what its definition says, for every decoder."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

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
)

EOS = 2
SCORES = {"rtol": 0.0, "atol": 1e-5}  # generate computes its scores in float32


def log_probabilities(model: Any, ids: Tensor, **inputs: Any) -> Tensor:
    """The log-probability of every token of ``ids`` but the first, by one forward pass: (B, T - 1)."""
    logits = run(model, decoder_input_ids=ids[:, :-1], use_cache=False, **inputs).logits
    return logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]


def real_tokens(ids: Tensor) -> Tensor:
    """Which generated tokens count: those up to and with the first end of sequence, (B, T - 1) bool."""
    ended = (ids[:, 1:] == EOS).long()
    return ended.cumsum(1) - ended == 0


@pytest.mark.parametrize("name", DECODERS)
def test_what_the_models_generate_varies(name: str) -> None:
    model = lively_model(name)
    assert_varied(generate(model, 20, **sources(model)))


@pytest.mark.parametrize("name", DECODERS)
def test_one_row_alone_generates_what_it_does_in_a_batch(name: str) -> None:
    model = lively_model(name, eos=EOS)
    inputs = sources(model)
    together = generate(model, 10, **inputs)
    beams = generate(model, 10, num_beams=3, **inputs)
    for row in range(3):
        alone = {key: value[row : row + 1] for key, value in inputs.items()}
        for batched, single in (
            (together, generate(model, 10, **alone)),
            (beams, generate(model, 10, num_beams=3, **alone)),
        ):
            length = single.shape[1]
            assert torch.equal(batched[row, :length], single[0])
            assert not real_tokens(batched[row : row + 1])[0, length - 1 :].any()


@pytest.mark.parametrize("name", DECODERS)
def test_one_beam_that_keeps_all_is_greedy(name: str) -> None:
    model = lively_model(name)
    inputs = sources(model)
    one = generate(model, 8, num_beams=1, **inputs)
    assert torch.equal(one, greedy_by_hand(model, start(model, 3), 8, **inputs))


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("penalty", [1.0, 0.4])
def test_beam_scores_are_sums_of_log_probabilities(name: str, penalty: float) -> None:
    model = lively_model(name, eos=EOS)
    inputs = sources(model)
    beams = 4
    found = generate(
        model,
        7,
        num_beams=beams,
        num_return_sequences=beams,
        length_penalty=penalty,
        return_dict_in_generate=True,
        output_scores=True,
        **inputs,
    )
    repeated = {key: value.repeat_interleave(beams, dim=0) for key, value in inputs.items()}
    counts = real_tokens(found.sequences)
    sums = (log_probabilities(model, found.sequences, **repeated) * counts).sum(1)
    assert_close(found.sequences_scores, (sums / counts.sum(1) ** penalty).float(), **SCORES)
    assert len({tuple(row) for row in found.sequences.tolist()}) > beams  # not one beam over and over


def every_sequence(size: int, length: int) -> Tensor:
    """All sequences that end with the end of sequence, or at ``length`` tokens; that id fills what is behind it."""
    rows = set()
    for tokens in itertools.product(range(size), repeat=length):
        end = tokens.index(EOS) + 1 if EOS in tokens else length
        rows.add(tokens[:end] + (EOS,) * (length - end))  # as transformers' beam search does where padding is id 0
    return torch.tensor(sorted(rows))


@pytest.mark.parametrize("name", DECODERS)
def test_a_beam_wide_enough_finds_the_best_of_all_sequences(name: str) -> None:
    size, length = 4, 3
    sources_own = None if DECODERS[name].get("copy_from_source") else 11  # what is copied must be in the vocabulary
    model = make_lively(vocab_size=size, encoder_vocab_size=sources_own, eos_token_id=EOS, **DECODERS[name])
    inputs = {key: value[:1] for key, value in sources(model).items()}
    every = every_sequence(size, length)
    ids = torch.cat([start(model, len(every)), every], dim=1)
    repeated = {key: value.expand(len(ids), -1) for key, value in inputs.items()}
    counts = real_tokens(ids)
    scores = (log_probabilities(model, ids, **repeated) * counts).sum(1) / counts.sum(1)
    best = scores.topk(5)
    found = generate(
        model,
        length,
        num_beams=size**length,
        num_return_sequences=5,
        early_stopping="never",
        return_dict_in_generate=True,
        output_scores=True,
        **inputs,
    )
    padded = torch.nn.functional.pad(found.sequences, (0, ids.shape[1] - found.sequences.shape[1]), value=EOS)
    assert torch.equal(padded, ids[best.indices])
    assert_close(found.sequences_scores, best.values.float(), **SCORES)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("mode", [{"do_sample": True}, {"num_beams": 3}, {"num_beams": 3, "do_sample": True}])
def test_every_mode_gives_the_same_with_and_without_a_cache(name: str, mode: dict[str, Any]) -> None:
    model = lively_model(name)
    inputs = sources(model)
    outputs = []
    for use_cache in (True, False):
        torch.manual_seed(3)
        outputs.append(generate(model, 8, use_cache=use_cache, num_return_sequences=2, **mode, **inputs))
    assert torch.equal(*outputs)
    assert_varied(outputs[0])


def test_a_seed_decides_what_is_sampled() -> None:
    model = lively_model("lstm")
    inputs = sources(model)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(generate(model, 12, do_sample=True, top_k=0, **inputs))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_samples_follow_the_distribution_of_the_model() -> None:
    model = lively_model("ssru+elman")
    inputs = {key: value[:1] for key, value in sources(model).items()}
    drawn = generate(model, 1, do_sample=True, top_k=0, num_return_sequences=4000, **inputs)[:, 1]
    expected = run(model, decoder_input_ids=start(model, 1), **inputs).logits[0, -1].softmax(-1)
    seen = torch.bincount(drawn, minlength=len(expected)) / len(drawn)
    assert (seen - expected).abs().max() < 0.04  # five standard deviations


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
def test_early_stopping_changes_when_a_search_ends_and_not_what_scores_mean(early_stopping: Any) -> None:
    model = lively_model("mixed", eos=EOS)
    inputs = sources(model)
    kwargs = {"num_beams": 4, "early_stopping": early_stopping, "return_dict_in_generate": True, "output_scores": True}
    found = generate(model, 12, **kwargs, **inputs)
    plain = generate(model, 12, use_cache=False, **kwargs, **inputs)
    assert torch.equal(found.sequences, plain.sequences)
    counts = real_tokens(found.sequences)
    sums = (log_probabilities(model, found.sequences, **inputs) * counts).sum(1)
    assert_close(found.sequences_scores, (sums / counts.sum(1)).float(), **SCORES)


def test_beams_return_their_hypotheses_best_first() -> None:
    model = lively_model("gru", eos=EOS)
    found = generate(
        model,
        8,
        num_beams=5,
        num_return_sequences=5,
        return_dict_in_generate=True,
        output_scores=True,
        **sources(model),
    )
    scores = found.sequences_scores.view(3, 5)
    assert torch.equal(scores, scores.sort(dim=1, descending=True).values)


def test_generating_leaves_no_tensor_on_any_module() -> None:
    model = make_lively(**DECODERS["mixed"])

    def kept() -> dict[str, list[str]]:
        return {
            name: sorted(key for key, value in vars(module).items() if isinstance(value, torch.Tensor | dict | list))
            for name, module in model.named_modules()
        }

    def tensors() -> int:
        return sum(
            torch.is_tensor(value) for module in model.modules() for value in _inside(list(vars(module).values()))
        )

    before, count = kept(), tensors()
    first = generate(model, 6, num_beams=2, **sources(model))
    assert kept() == before
    assert tensors() == count
    assert torch.equal(generate(model, 6, num_beams=2, **sources(model)), first)


def _inside(values: list[Any]) -> list[Any]:
    """``values`` with what lists, tuples and dicts among them hold."""
    found = []
    for value in values:
        if isinstance(value, dict):
            found += _inside(list(value.values()))
        elif isinstance(value, list | tuple):
            found += _inside(list(value))
        else:
            found.append(value)
    return found
