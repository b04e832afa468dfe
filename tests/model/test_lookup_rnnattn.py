"""Prompt lookup that reads the source: what is proposed, how much, and when; the result is held by the tests of
assisted decoding."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

from hf_rnnattn.model.lookup_rnnattn import SourceLookupCandidateGenerator, real_tokens
from lively_models import generate, lively_model, make_lively
from model_zoo import build, tiny_config

EOS = 2


def generator(source: list[int] | None = None, most: int = 4, size: int = 3, max_length: int = 100) -> Any:
    settings = PromptLookupCandidateGenerator(
        eos_token_id=torch.tensor([EOS]),
        num_output_tokens=most,
        max_matching_ngram_size=size,
        max_length=max_length,
    )
    return SourceLookupCandidateGenerator(settings, None if source is None else torch.tensor(source))


def proposed(lookup: Any, tokens: list[int]) -> list[int]:
    ids, logits = lookup.get_candidates(torch.tensor([tokens]))
    assert logits is None
    assert ids[0, : len(tokens)].tolist() == tokens
    return ids[0, len(tokens) :].tolist()


def by_hand(context: list[int], tokens: list[int], size: int, most: int) -> list[int]:
    """What followed the first of the longest matches, up to the end of the sequence."""
    for length in range(min(size, len(tokens)), 0, -1):
        for end in range(length, len(context)):
            if context[end - length : end] == tokens[-length:]:
                found = context[end : end + most]
                return found[: found.index(EOS)] if EOS in found else found
    return []


ids = st.lists(st.integers(1, 5), min_size=1, max_size=12)


@given(source=st.none() | ids, tokens=ids, size=st.integers(1, 4), most=st.integers(1, 6))
def test_proposals_are_what_followed_the_longest_match(source, tokens, size, most):
    lookup = generator(source, most, size)
    assert proposed(lookup, tokens) == by_hand((source or []) + tokens, tokens, size, most)


def test_of_several_matches_the_one_behind_the_last_copy_counts():
    lookup = generator([5, 6, 7, 5, 6, 8], most=2, size=2)
    assert proposed(lookup, [1, 5, 6]) == [7, 5]
    lookup.update_candidate_strategy(torch.tensor([[1, 5, 6, 7, 5, 6]]), torch.empty(0), 2)
    assert proposed(lookup, [1, 5, 6, 7, 5, 6])[0] == 8


def test_as_much_is_proposed_as_was_taken_and_twice_that_if_all_was():
    source = list(range(10, 40))
    lookup, counts = generator(source, most=8), []
    for taken in (3, 3, 6, 1, 1, torch.tensor(2), 4):
        counts.append(len(proposed(lookup, [1, 10])))
        lookup.update_candidate_strategy(torch.tensor([[1, 10]]), torch.empty(0), taken)
    assert counts == [8, 3, 6, 8, 1, 2, 4]
    assert len(proposed(lookup, [1, 10])) == 8


def test_where_nothing_was_taken_only_a_match_of_the_full_size_counts():
    lookup = generator([10, 11, 12, 13, 14], most=3, size=3)
    assert proposed(lookup, [1, 10]) == [11, 12, 13]
    lookup.update_candidate_strategy(torch.tensor([[1, 10]]), torch.empty(0), 0)
    assert proposed(lookup, [1, 10]) == []
    assert proposed(lookup, [1, 10, 11]) == []
    assert proposed(lookup, [1, 10, 11, 12]) == [13]
    lookup.update_candidate_strategy(torch.tensor([[1, 10, 11, 12]]), torch.empty(0), 1)
    assert proposed(lookup, [1, 10]) == [11, 12]


def test_a_round_without_a_proposal_teaches_nothing():
    lookup = generator([10, 11, 12, 13, 14], most=3)
    assert proposed(lookup, [1]) == []
    lookup.update_candidate_strategy(torch.tensor([[1, 10]]), torch.empty(0), 0)
    assert proposed(lookup, [1, 10]) == [11, 12, 13]


@pytest.mark.parametrize(("length", "count"), [(9, 4), (6, 2), (5, 1), (4, 0), (3, 0)])
def test_no_more_is_proposed_than_may_be_produced(length, count):
    lookup = generator([10, 11, 12, 13, 14, 15], most=4, max_length=length)
    assert len(proposed(lookup, [1, 9, 10])) == count


def test_only_the_real_tokens_of_ids_are_read():
    source, mask = torch.tensor([[0, 5, 0, 6]]), torch.tensor([[0, 1, 0, 1]])
    assert real_tokens(source, mask).tolist() == [5, 6]
    assert real_tokens(source, None).tolist() == [0, 5, 0, 6]
    assert real_tokens(torch.ones(1, 4, 8), mask) is None
    assert real_tokens(None, None) is None


def used_by(model: Any, monkeypatch: pytest.MonkeyPatch, **inputs: Any) -> list[Any]:
    """The generators that ``generate`` made."""
    made: list[Any] = []
    init = SourceLookupCandidateGenerator.__init__
    monkeypatch.setattr(
        SourceLookupCandidateGenerator,
        "__init__",
        lambda self, *arguments: (made.append(self), init(self, *arguments))[1],
    )
    generate(model, 3, prompt_lookup_num_tokens=2, **inputs)
    return made


def test_generate_looks_up_in_the_source_where_both_sides_share_a_vocabulary(monkeypatch):
    source, mask = torch.tensor([[0, 5, 6, 7]]), torch.tensor([[0, 1, 1, 1]])
    (lookup,) = used_by(lively_model("gru"), monkeypatch, input_ids=source, attention_mask=mask)
    assert lookup.source.tolist() == [5, 6, 7]
    other = build(tiny_config(share_encoder_decoder_embeddings=False, encoder_vocab_size=30))
    (lookup,) = used_by(other, monkeypatch, input_ids=source, attention_mask=mask)
    assert lookup.source is None


def test_a_copy_of_the_source_takes_fewer_rounds():
    """The output of this model is made its source: all of it can then be proposed."""
    model = make_lively(eos_token_id=None, decoder_mixers=["ssru", "lstm"])
    encoded = model.model.encoder(input_ids=torch.tensor([[5, 6, 7, 8]]))
    plain = generate(model, 60, encoder_outputs=encoded)
    rounds = {}
    for source in ("unknown", "copied"):
        calls: list[int] = []
        hook = model.get_decoder().register_forward_hook(lambda *_, calls=calls: calls.append(1))
        inputs = {"input_ids": plain[:, 1:]} if source == "copied" else {}
        lookup = {"prompt_lookup_num_tokens": 10, "max_matching_ngram_size": 3}
        assert torch.equal(generate(model, 60, encoder_outputs=encoded, **inputs, **lookup), plain)
        hook.remove()
        rounds[source] = len(calls)
    assert rounds["copied"] < min(20, rounds["unknown"])
