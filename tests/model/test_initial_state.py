"""The states in which the decoder starts."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from model_zoo import batch, build, tiny_config, tiny_model

WAYS = ["forward", "backward", "both", "both_swapped"]


def lstms(way: str, merge: str = "concat", **fields: object) -> torch.nn.Module:
    """Two LSTM layers a side, of one width, the decoder's starting where the encoder's ended."""
    return tiny_model(
        encoder_mixers=["lstm", "lstm"],
        decoder_mixers=["lstm", "lstm"],
        encoder_directions=way,
        encoder_merge=merge,
        decoder_init="encoder_state",
        **fields,
    )


@pytest.mark.parametrize("way", WAYS)
def test_final_states_are_those_of_torch(way):
    """Of every layer h then c, both directions joined, each where it ended on the real tokens."""
    model = lstms(way, norm_position="none", residual=False, encoder_ffn_dim=0).double()
    inputs = batch(model.config)
    encoder = model.model.encoder
    output = encoder(inputs["input_ids"], attention_mask=inputs["attention_mask"])
    assert output.final_states.shape == (3, 4, 16)
    for row in range(3):
        x = encoder.embeddings(
            inputs["input_ids"], None, None, torch.arange(7)[None], None
        )  # positions as without padding
        real = inputs["attention_mask"][row].bool()
        ids = inputs["input_ids"][row, real][None]
        x = encoder.embeddings(ids, None, None, torch.arange(ids.shape[1])[None], None)
        for i, layer in enumerate(encoder.layers):
            ends, outputs = [], []
            names = ["backward_cell", "forward_cell"] if way == "both_swapped" else ["forward_cell", "backward_cell"]
            for cell in filter(None, (getattr(layer.mixers[0], name) for name in names)):
                peer = nn.LSTM(cell.input_size, cell.hidden_size, batch_first=True, dtype=torch.float64)
                peer.load_state_dict(
                    {
                        f"{part}_{kind}_l0": getattr(getattr(cell, side), part)
                        for kind, side in (("ih", "input_to_gates"), ("hh", "state_to_gates"))
                        for part in ("weight", "bias")
                    }
                )
                backwards = cell is layer.mixers[0].backward_cell
                y, state = peer(x.flip(1) if backwards else x)
                ends.append(torch.stack([part[0, 0] for part in state]))
                outputs.append(y.flip(1) if backwards else y)
            assert_close(output.final_states[row, 2 * i : 2 * i + 2], torch.cat(ends, -1), rtol=0.0, atol=1e-12)
            x = torch.cat(outputs, -1)


@pytest.mark.parametrize("merge", ["concat", "separate"])
def test_each_cell_starts_where_its_own_ended(merge):
    model = lstms("both", merge)
    inputs = batch(model.config)
    encoded = model.model.encoder(inputs["input_ids"], attention_mask=inputs["attention_mask"])
    x = torch.zeros(3, 1, 16)
    for i, layer in enumerate(model.model.decoder.layers):
        start = layer.start(0, x, encoded.final_states, None)
        assert torch.equal(start["h"], encoded.final_states[:, 2 * i])
        assert torch.equal(start["c"], encoded.final_states[:, 2 * i + 1])


def test_where_widths_differ_the_states_are_projected_each_by_itself():
    model = lstms("both", encoder_hidden_size=12)
    projections = model.model.decoder.layers[1].initial_states[0]
    assert [tuple(projection.weight.shape) for projection in projections] == [(16, 12), (16, 12)]
    states = torch.randn(3, 4, 12)
    start = model.model.decoder.layers[1].start(0, torch.zeros(3, 1, 16), states, None)
    assert_close(start["c"], projections[1](states[:, 3]))


def test_a_stack_of_luong_takes_the_states_of_as_many_layers():
    model = tiny_model(
        encoder_mixers=["lstm", "lstm"],
        decoder_mixers=["luong_lstm"],
        decoder_cell_depths=2,
        decoder_init="encoder_state",
        encoder_directions="forward",
    )
    states = torch.randn(2, 4, 16)
    start = model.model.decoder.layers[0].start(0, torch.zeros(2, 1, 16), states, None)
    for column, name in enumerate(["h.0", "c.0", "h.1", "c.1"]):
        assert torch.equal(start[name], states[:, column])
    assert not start["fed"].any()


@pytest.mark.parametrize("kind", ["mean", "last", "last_linear"])
@pytest.mark.parametrize("cell_too", [False, True])
def test_the_cell_state_of_an_lstm_starts_from_the_summary_only_where_asked(kind, cell_too):
    model = tiny_model(decoder_mixers=["lstm"], decoder_init=kind, decoder_init_cell=cell_too)
    start = model.model.decoder.layers[0].start(0, torch.zeros(2, 1, 16), torch.randn(2, 16), None)
    assert start["h"].any()
    assert torch.equal(start["c"], start["h"] if cell_too else torch.zeros(2, 16))


def test_every_cell_of_a_stack_starts_from_one_projection_with_tanh_or_without():
    for kind, activation in (("last", torch.tanh), ("last_linear", torch.nn.Identity())):
        fields = {"decoder_mixers": ["luong_gru"], "decoder_cell_depths": 2, "cross_attention": "general"}
        model = tiny_model(**fields, decoder_init=kind, encoder_hidden_size=12)
        layer, summary = model.model.decoder.layers[0], 3 * torch.randn(2, 12)
        start = layer.start(0, torch.zeros(2, 1, 16), summary, None)
        for name in ("h.0", "h.1"):
            assert torch.equal(start[name], activation(layer.initial_states[0](summary)))
        assert not start["fed"].any()


def test_the_summary_of_swapped_halves_is_the_swapped_summary():
    """The last state of the forward half and the first of the backward half, each where it stands."""
    config = tiny_config(
        encoder_mixers=["gru"], decoder_mixers=["gru"], decoder_init="last", encoder_directions="both_swapped"
    )
    memory, mask = torch.randn(1, 5, 16), torch.tensor([[True, True, True, False, False]])
    summary = build(config).model.decoder.summarise(memory, mask)
    assert torch.equal(summary, torch.cat([memory[:, 0, :8], memory[:, 2, 8:]], -1))


def test_missing_states_are_an_error_that_says_what_is_missing():
    model = lstms("both")
    inputs = batch(model.config)
    encoded = model.model.encoder(inputs["input_ids"], attention_mask=inputs["attention_mask"])
    with pytest.raises(ValueError, match=r"needs the encoder's final_states of shape \(3, 4, 16\), got none"):
        model(**inputs, encoder_outputs=(encoded.last_hidden_state,))


def test_an_encoder_whose_states_nobody_starts_from_gives_none():
    model = tiny_model(encoder_mixers=["lstm"])
    inputs = batch(model.config)
    assert model.model.encoder(inputs["input_ids"]).final_states is None
