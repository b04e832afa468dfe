"""Segments that become slots of a memory, and attention that reads them several times in a row."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from hf_rnnattn.model.attention_hops import HOP_TYINGS, HopCrossAttention
from hf_rnnattn.model.segment_pooling import SegmentPooling
from lively_models import EXACT, generate, make_lively, run
from model_zoo import tiny_model
from reference_attention import hop_attention, segment_slots

NETWORK: dict[str, Any] = {
    "encoder_mixers": [],
    "encoder_pooling": "position",
    "decoder_mixers": ["gru"],
    "cross_attention": "hops",
    "attention_hops": 3,
    "encoder_position_embedding": "none",
    "type_vocab_size": 4,
    "eos_token_id": None,
}


def network(**overrides: Any) -> Any:
    return make_lively(**{**NETWORK, **overrides})


def story() -> dict[str, torch.Tensor]:
    """Two rows of sentences, the newest number 0; the second with padding inside, on the left and on the right."""
    return {
        "input_ids": torch.tensor([[3, 4, 5, 6, 7, 8, 9, 3], [0, 3, 4, 0, 5, 6, 7, 0]]),
        "token_type_ids": torch.tensor([[2, 2, 2, 1, 1, 0, 0, 0], [3, 1, 1, 2, 1, 0, 0, 1]]),
        "attention_mask": torch.tensor([[1] * 8, [0, 1, 1, 0, 1, 1, 1, 0]]),
    }


@pytest.mark.parametrize("tying", HOP_TYINGS)
@pytest.mark.parametrize("hops", [1, 3])
def test_hops_equal_their_equations(tying: str, hops: int) -> None:
    attention = HopCrossAttention(hops=hops, tying=tying, query_size=5, memory_size=4, dropout=0.0).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    memory, x = torch.randn(2, 6, 4).double(), torch.randn(2, 3, 5).double()
    mask = torch.tensor([[True] * 6, [False, True, True, False, True, False]])
    y, weights, found = attention(x, *attention.prepare_memory(memory), None, mask)
    assert weights.shape == (2, hops, 3, 6)
    maps = [layer.weight for layer in attention.maps]
    keys, values = (maps[:-1], maps[1:]) if tying == "adjacent" else (maps[:1] * hops, maps[1:] * hops)
    query_map = torch.eye(5).double() if tying == "adjacent" else attention.query_map.weight
    for row in range(2):
        slots = list(memory[row][mask[row]])
        for t in range(3):
            u, read = hop_attention(keys, values, query_map, x[row, t], slots)
            assert_close(y[row, t], u, **EXACT)
            assert_close(weights[row, :, t][:, mask[row]], torch.stack(read), **EXACT)
    assert (weights[1][..., ~mask[1]] == 0).all()
    assert found.shape == (2, 3, 5)


def test_ties_share_matrices() -> None:
    """Three hops: A1, C1 = A2, C2 = A3, C3; or A, C and H."""
    for tying, matrices in (("adjacent", 4), ("layer_wise", 3)):
        attention = HopCrossAttention(hops=3, tying=tying, query_size=4, memory_size=4, dropout=0.0)
        assert len(list(attention.parameters())) == matrices
    keys, values = HopCrossAttention(
        hops=3, tying="adjacent", query_size=4, memory_size=4, dropout=0.0
    ).prepare_memory(torch.randn(1, 2, 4))
    assert torch.equal(keys[:, 1:], values[:, :-1])


def test_a_second_hop_reads_by_what_the_first_one_found() -> None:
    """The query matches slot 0, which holds the key of slot 1: one hop ends there, two read slot 1."""
    attention = HopCrossAttention(hops=2, tying="layer_wise", query_size=3, memory_size=6, dropout=0.0)
    with torch.no_grad():
        key, value = attention.maps
        key.weight.copy_(30 * torch.eye(3, 6))
        value.weight.copy_(torch.eye(6)[3:])
        attention.query_map.weight.zero_()
        memory = torch.tensor([[[1.0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0]]])
        weights = attention(torch.tensor([[[1.0, 0, 0]]]), *attention.prepare_memory(memory), None, None)[1]
    assert weights.argmax(-1).flatten().tolist() == [0, 1]
    assert (weights.max(-1).values > 0.99).all()


@pytest.mark.parametrize("kind", ["sum", "position"])
def test_slots_are_the_sums_of_their_segments_and_padding_is_in_none(kind: str) -> None:
    inputs = story()
    real = inputs["attention_mask"].bool()
    x = torch.randn(2, 8, 5).double()
    slots, is_slot = SegmentPooling(kind)(x.masked_fill(~real[..., None], torch.nan), inputs["token_type_ids"], real)
    for row in range(2):
        want = segment_slots(
            x[row], inputs["token_type_ids"][row].tolist(), real[row].tolist(), position=kind == "position"
        )
        assert is_slot[row].nonzero()[:, 0].tolist() == sorted(want)
        for place, slot in want.items():
            assert_close(slots[row, place], slot, **EXACT)
    assert (slots[~is_slot] == 0).all()


def test_without_segments_the_source_is_one_slot() -> None:
    x = torch.randn(2, 3, 4)
    slots, is_slot = SegmentPooling("sum")(x, None, None)
    assert_close(slots[:, -1], x.sum(1))
    assert is_slot.tolist() == [[False, False, True]] * 2


def test_the_decoder_reads_slots_and_nothing_else() -> None:
    model = network()
    prompt = torch.tensor([[1, 4, 5], [1, 6, 7]])
    weights = run(model, decoder_input_ids=prompt, output_attentions=True, **story()).cross_attentions[0]
    assert weights.shape == (2, 3, 3, 8)
    places = [{2, 4, 7}, {4, 6}]
    for row in range(2):
        assert set(weights[row].sum((0, 1)).nonzero()[:, 0].tolist()) == places[row]
    assert_close(weights.sum(-1), torch.ones(2, 3, 3, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("pooling", ["sum", "position"])
def test_only_position_encoding_minds_the_order_of_words(pooling: str) -> None:
    model = network(encoder_pooling=pooling)
    inputs, prompt = story(), torch.tensor([[1, 4, 5], [1, 6, 7]])
    before = run(model, decoder_input_ids=prompt, **inputs).logits
    inputs["input_ids"][0, :3] = torch.tensor([5, 3, 4])
    after = run(model, decoder_input_ids=prompt, **inputs).logits
    assert torch.allclose(before[0], after[0], rtol=0.0, atol=1e-10) == (pooling == "sum")
    inputs["input_ids"][0, [0, 3]] = inputs["input_ids"][0, [3, 0]]  # but a word of another sentence matters
    assert not torch.allclose(run(model, decoder_input_ids=prompt, **inputs).logits[0], after[0])


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}])
def test_a_padded_story_is_answered_as_it_is_alone(options: dict[str, Any]) -> None:
    model, inputs = network(), story()
    prompt = torch.tensor([[1, 4, 5], [1, 6, 7]])
    together = generate(model, 5, decoder_input_ids=prompt, **options, **inputs)
    real = inputs["attention_mask"][1].bool()
    alone = {key: value[1:, real] for key, value in inputs.items()}
    assert torch.equal(generate(model, 5, decoder_input_ids=prompt[1:], **options, **alone)[0], together[1])


def test_encoder_outputs_must_say_where_the_slots_are() -> None:
    model = tiny_model(encoder_pooling="sum")
    ids = torch.tensor([[3, 4]])
    encoded = model.get_encoder()(ids)
    whole = model(input_ids=ids, decoder_input_ids=ids).logits
    assert torch.equal(model(encoder_outputs=encoded, decoder_input_ids=ids).logits, whole)
    with pytest.raises(ValueError, match="encoder_pooling needs an encoder output that carries memory_mask, got none"):
        model(encoder_outputs=(encoded.last_hidden_state,), decoder_input_ids=ids)
