"""Reading a target at once, in chunks or token by token, with or without a cache, is the same."""

import random
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lively_models import DECODERS, EXACT, generate, greedy_by_hand, lively_model, run, sources, start, targets

LENGTH = 9


def logits_in_pieces(model: Any, ids: Tensor, cuts: list[int], mask: Tensor | None = None, **inputs: Any) -> Tensor:
    """The logits of a target that is read piece by piece through one cache, cut before the positions ``cuts``."""
    cache, pieces = None, []
    bounds = [0, *cuts, ids.shape[1]]
    for begin, end in pairwise(bounds):
        part = {"decoder_input_ids": ids[:, begin:end], "cache": cache, "use_cache": True}
        if mask is not None:
            part["decoder_attention_mask"] = mask[:, :end]
        output = run(model, **part, **inputs)
        cache = output.cache
        pieces.append(output.logits)
    return torch.cat(pieces, dim=1)


@pytest.mark.parametrize("name", DECODERS)
def test_step_by_step_and_in_chunks_equal_teacher_forcing(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model, length=LENGTH)
    whole = run(model, decoder_input_ids=ids, use_cache=False, **inputs).logits
    assert_close(logits_in_pieces(model, ids, list(range(1, LENGTH)), **inputs), whole, **EXACT)
    chooser = random.Random(name)
    for _ in range(3):
        cuts = sorted(chooser.sample(range(1, LENGTH), chooser.randint(1, 4)))
        assert_close(logits_in_pieces(model, ids, cuts, **inputs), whole, **EXACT)


@pytest.mark.parametrize("name", DECODERS)
def test_a_cache_changes_no_logits(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model)
    with_cache = run(model, decoder_input_ids=ids, use_cache=True, **inputs)
    without = run(model, decoder_input_ids=ids, use_cache=False, **inputs)
    assert with_cache.cache is not None
    assert without.cache is None
    assert_close(with_cache.logits, without.logits, **EXACT)


@pytest.mark.parametrize("name", DECODERS)
def test_a_later_target_token_changes_no_earlier_logits(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model, length=LENGTH)
    before = run(model, decoder_input_ids=ids, **inputs).logits
    for t in (1, 4, LENGTH - 1):
        changed = ids.clone()
        changed[:, t] = (changed[:, t] + 1) % model.config.vocab_size
        after = run(model, decoder_input_ids=changed, **inputs).logits
        assert torch.equal(after[:, :t], before[:, :t])
        assert not torch.allclose(after[:, t:], before[:, t:])


@pytest.mark.parametrize("name", DECODERS)
def test_a_padded_target_in_chunks_equals_the_whole(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model, length=LENGTH)
    mask = torch.ones_like(ids)
    mask[1, :3], mask[2, 4:6] = 0, 0
    whole = run(model, decoder_input_ids=ids, decoder_attention_mask=mask, use_cache=False, **inputs).logits
    for cuts in (list(range(1, LENGTH)), [2, 5], [4]):
        pieces = logits_in_pieces(model, ids, cuts, mask=mask, **inputs)
        assert_close(pieces[mask.bool()], whole[mask.bool()], **EXACT)


@pytest.mark.parametrize("name", DECODERS)
def test_generation_with_a_cache_equals_the_plainest_loop(name: str) -> None:
    model = lively_model(name)
    inputs = sources(model)
    expected = greedy_by_hand(model, start(model, 3), 12, **inputs)
    cached = generate(model, 12, return_dict_in_generate=True, output_logits=True, **inputs)
    plain = generate(model, 12, use_cache=False, return_dict_in_generate=True, output_logits=True, **inputs)
    assert torch.equal(cached.sequences, expected)
    assert torch.equal(plain.sequences, expected)
    assert_close(torch.stack(cached.logits), torch.stack(plain.logits), rtol=0, atol=1e-6)  # generate returns float32


@pytest.mark.parametrize("name", ["lstm", "gru+full_attention", "mixed", "init_mean"])
def test_gradients_flow_through_two_cached_forwards(name: str) -> None:
    model = lively_model(name)
    inputs, ids = sources(model), targets(model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def gradients(logits: Tensor) -> list[Tensor | None]:
        return list(torch.autograd.grad(logits.square().sum(), parameters, allow_unused=True))

    first = model(decoder_input_ids=ids[:, :4], use_cache=True, **inputs)
    second = model(decoder_input_ids=ids[:, 4:], cache=first.cache, use_cache=True, **inputs)
    cached = gradients(torch.cat([first.logits, second.logits], dim=1))
    whole = gradients(model(decoder_input_ids=ids, use_cache=False, **inputs).logits)
    for one, other in zip(cached, whole, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert_close(one, other, rtol=1e-9, atol=1e-9)
