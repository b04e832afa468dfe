"""The encoder reads its source from the end, or twice, and its output stays that of the tokens in their places."""

import pytest
import torch
from torch.testing import assert_close

from hf_rnnattn import RnnAttnForTokenClassification
from hf_rnnattn.export import max_length
from hf_rnnattn.model.source_order import SOURCE_ORDERS
from model_zoo import batch, build, tiny_config, tiny_model

EXACT = {"rtol": 0.0, "atol": 1e-12}
ORDERS = {"reversed": lambda ids: ids.flip(-1), "doubled": lambda ids: torch.cat([ids, ids], dim=-1)}
MASKS = {
    "none": [1, 1, 1, 1, 1, 1],
    "right": [1, 1, 1, 1, 0, 0],
    "left": [0, 1, 1, 1, 1, 1],
    "inner": [1, 0, 0, 1, 1, 0],
    "all": [0, 0, 0, 0, 0, 0],
}
# Every kind of encoder: recurrent in either direction, attention whose positions follow the reading, both.
ENCODERS = {
    "forward": {"encoder_mixers": ["lstm", "gru"], "encoder_directions": "forward"},
    "backward": {"encoder_mixers": ["gru"], "encoder_directions": "backward"},
    "both": {"encoder_mixers": ["lstm", "gru+full_attention"], "encoder_directions": "both"},
    "attention": {"encoder_mixers": ["full_attention", "full_attention"]},
}


def pair(order, **fields):
    """Models with the same weights, that read in this order and as given."""
    models = [build(tiny_config(source_order=way, **fields)).double() for way in (order, "given")]
    models[1].load_state_dict(models[0].state_dict())
    return models


@pytest.mark.parametrize("padding", MASKS)
@pytest.mark.parametrize("order", ORDERS)
def test_what_is_read_is_the_real_tokens_in_that_order_and_padding_is_not_among_them(order, padding):
    mask = torch.tensor([MASKS[padding], [1] * 6]).bool()
    ids = torch.arange(1, 13).view(2, 6).masked_fill(~mask, 0)
    reading = SOURCE_ORDERS[order](mask, 6, ids.device)
    read = reading.read(ids)
    assert read.shape == reading.mask.shape == (2, reading.length)
    for row in range(2):
        real = ids[row, mask[row]]
        assert torch.equal(read[row, reading.mask[row]], ORDERS[order](real))
        assert not read[row, ~reading.mask[row]].any()
    back = reading.put_back(read[..., None].double())[..., 0]
    assert torch.equal(back.long(), ids)
    if order == "reversed":
        assert torch.equal(reading.mask, mask)  # padding stays in its place


@pytest.mark.parametrize("order", ORDERS)
def test_without_padding_the_order_is_the_same(order):
    ids = torch.randint(9, (3, 5))
    one, other = (SOURCE_ORDERS[order](mask, 5, ids.device) for mask in (None, torch.ones(3, 5, dtype=torch.bool)))
    assert torch.equal(one.read(ids), other.read(ids))
    assert torch.equal(one.put_back(one.read(ids)), other.put_back(other.read(ids)))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("order", ORDERS)
def test_the_encoder_input_is_exactly_that(order, encoder):
    """Outputs are those of the source written in that order; the last ones, turned round again."""
    ours, plain = (model.model.encoder for model in pair(order, **ENCODERS[encoder]))
    inputs = batch(ours.config)
    segments = torch.randint(2, (3, 7))
    got = ours(inputs["input_ids"], attention_mask=inputs["attention_mask"], token_type_ids=segments).last_hidden_state
    for row, real in enumerate(inputs["attention_mask"].bool()):
        ids, kinds = (ORDERS[order](given[row, real])[None] for given in (inputs["input_ids"], segments))
        want = plain(ids, token_type_ids=kinds).last_hidden_state[0, -real.sum() :]
        assert_close(got[row, real], want.flip(0) if order == "reversed" else want, **EXACT)


@pytest.mark.parametrize("order", ORDERS)
def test_vectors_and_positions_go_with_their_tokens(order):
    model = tiny_model(source_order=order).double()
    encoder, ids = model.model.encoder, batch(model.config)["input_ids"]
    vectors = encoder.get_input_embeddings()(ids)
    assert_close(encoder(inputs_embeds=vectors)[0], encoder(ids)[0], **EXACT)
    positions = SOURCE_ORDERS[order](None, 7, ids.device).places  # of the places at which they are read
    if order == "reversed":
        assert_close(encoder(ids, position_ids=positions[None].expand(3, 7))[0], encoder(ids)[0], **EXACT)
        assert_close(encoder(ids, position_ids=positions[None])[0], encoder(ids)[0], **EXACT)


@pytest.mark.parametrize("start", ["last", "last_linear", "encoder_state", "context"])
@pytest.mark.parametrize("way", ["forward", "backward", "both", "both_swapped"])
def test_the_decoder_starts_where_the_reversed_reading_ended(way, start):
    fields = {"encoder_mixers": ["gru"], "decoder_mixers": ["gru"], "decoder_init": start, "encoder_directions": way}
    fields |= {"cross_attention": "none", "encoder_position_embedding": "none"}
    if start == "context":
        fields["context_vector"] = "last"
    ours, plain = pair("reversed", **fields)
    target = torch.tensor([[1, 5, 3]])
    ids = torch.tensor([[4, 5, 6, 7, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0]])
    want = plain(torch.tensor([[7, 6, 5, 4]]), decoder_input_ids=target).logits
    assert_close(ours(ids, attention_mask=mask, decoder_input_ids=target).logits, want, **EXACT)


@pytest.mark.parametrize("start", ["last", "encoder_state"])
def test_the_decoder_starts_where_the_second_reading_ended(start):
    fields = {"encoder_mixers": ["gru"], "decoder_mixers": ["gru"], "decoder_init": start, "cross_attention": "none"}
    ours, plain = pair("doubled", **fields, encoder_directions="forward")
    target, ids = torch.tensor([[1, 5, 3]]), torch.tensor([[4, 5, 6]])
    assert_close(
        ours(ids, decoder_input_ids=target).logits, plain(ids.repeat(1, 2), decoder_input_ids=target).logits, **EXACT
    )


@pytest.mark.parametrize("order", ORDERS)
def test_weights_over_the_source_are_those_of_its_tokens(order):
    """Of shape (B, H, T, S), zero in the padding, and over the twin's source in that order the same weights."""
    ours, plain = pair(order, decoder_mixers=["bahdanau_gru"], encoder_mixers=["gru"], encoder_directions="forward")
    inputs = batch(ours.config)
    weights = ours(**inputs, output_attentions=True).cross_attentions[0]
    real = inputs["attention_mask"].bool()
    assert weights.shape == (3, 1, 5, 7)
    assert not weights.transpose(1, 3)[~real].any()
    if order == "reversed":
        row = {"input_ids": inputs["input_ids"][:1].flip(1), "decoder_input_ids": inputs["decoder_input_ids"][:1]}
        twin = plain(**row, output_attentions=True).cross_attentions[0]
        assert_close(weights[:1].flip(-1), twin, **EXACT)


def test_labels_of_tokens_are_those_of_their_places():
    config = tiny_config(source_order="reversed", encoder_mixers=["gru"], encoder_directions="forward", num_labels=3)
    model = RnnAttnForTokenClassification(config).eval()
    ids = torch.tensor([[4, 5, 6, 7]])
    before = model(ids).logits
    changed = model(torch.tensor([[4, 5, 8, 7]])).logits
    same = (before == changed).all(-1)[0]
    assert same.tolist() == [False, False, False, True]  # a token is read after those behind it


def test_a_source_read_twice_has_half_as_many_positions():
    model = tiny_model(source_order="doubled", max_position_embeddings=9)
    assert max_length(model, "encoder") == 4
    model.model.encoder(torch.full((1, 4), 3))
    with pytest.raises(ValueError, match="source length 10 exceeds max_position_embeddings 9"):
        model.model.encoder(torch.full((1, 5), 3))
