"""bertviz shows the attention that a model returns, as it is returned."""

import json
from typing import Any

import pytest
import torch
from bertviz import head_view, model_view
from torch import Tensor

from hf_rnnattn.alignment import cross_attentions_from_generate, eager_attention
from lively_models import DECODERS, make_lively, run

VIEWS = {"model": model_view, "head": head_view}
SOURCE, TARGET = ["t", "r", "a", "n", "s", "</s>"], ["<s>", "T", "R", "AE"]


def outputs(**fields: Any) -> Any:
    """What a model of these fields returns for one source and target, attention included."""
    model = make_lively(**fields)
    model.set_attn_implementation("eager")
    ids = torch.arange(3, 3 + len(SOURCE))[None]
    return run(model, input_ids=ids, decoder_input_ids=ids[:, : len(TARGET)], output_attentions=True)


def shown(view: Any, **attention: Any) -> list[dict[str, Any]]:
    """The data in the page that a view makes: for each kind its name, weights and tokens."""
    page = view(html_action="return", **attention).data
    assert page.count("const params = ") == 1
    return json.JSONDecoder().raw_decode(page.partition("const params = ")[2])[0]["attention"]


def assert_shows(part: dict[str, Any], weights: Any, rows: list[str], columns: list[str]) -> None:
    expected = torch.stack([layer[0] for layer in weights])  # (L, H, T, S)
    assert expected.shape[-2:] == (len(rows), len(columns))
    assert torch.equal(torch.tensor(part["attn"], dtype=torch.float64), expected)
    torch.testing.assert_close(expected.sum(-1), torch.ones(expected.shape[:-1]).double())
    assert (part["left_text"], part["right_text"]) == (rows, columns)


def of_one_width(layers: tuple[Tensor, ...]) -> list[list[Tensor]]:
    """Layers in groups of equally many heads, as a view draws them."""
    return [[layer for layer in layers if layer.shape[1] == heads] for heads in {layer.shape[1] for layer in layers}]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", [name for name in DECODERS if name != "context_fed"])  # which reads one vector
def test_what_every_decoder_read_of_the_source_is_shown(name, view):
    layers = outputs(**DECODERS[name]).cross_attentions
    assert layers
    for group in of_one_width(layers):
        (part,) = shown(VIEWS[view], cross_attention=group, encoder_tokens=SOURCE, decoder_tokens=TARGET)
        assert_shows(part, group, TARGET, SOURCE)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("mixer", ["full_attention", "gru+full_attention"])
def test_all_three_kinds_are_shown_together_where_layers_and_heads_are_alike(mixer, view):
    output = outputs(encoder_mixers=[mixer, mixer], decoder_mixers=[mixer, mixer])
    parts = shown(
        VIEWS[view],
        encoder_attention=output.encoder_attentions,
        decoder_attention=output.decoder_attentions,
        cross_attention=output.cross_attentions,
        encoder_tokens=SOURCE,
        decoder_tokens=TARGET,
    )
    encoder, decoder, cross = parts
    assert_shows(encoder, output.encoder_attentions, SOURCE, SOURCE)
    assert_shows(decoder, output.decoder_attentions, TARGET, TARGET)
    assert_shows(cross, output.cross_attentions, TARGET, SOURCE)


@pytest.mark.parametrize("view", VIEWS)
def test_layers_that_do_not_attend_are_left_out(view):
    """A layer of recurrence alone has no weights, so the others move up."""
    output = outputs(encoder_mixers=["gru", "full_attention", "lstm"], decoder_mixers=["ssru", "full_attention"])
    (encoder,) = shown(VIEWS[view], encoder_attention=output.encoder_attentions, encoder_tokens=SOURCE)
    (decoder,) = shown(VIEWS[view], decoder_attention=output.decoder_attentions, decoder_tokens=TARGET)
    assert_shows(encoder, output.encoder_attentions, SOURCE, SOURCE)
    assert_shows(decoder, output.decoder_attentions, TARGET, TARGET)
    assert [len(part["attn"]) for part in (encoder, decoder)] == [1, 1]


@pytest.mark.parametrize("view", VIEWS)
def test_a_side_without_any_attention_is_left_out_by_passing_none(view):
    output = outputs(encoder_mixers=["gru"], decoder_mixers=["lstm", "ssru"])
    assert (output.encoder_attentions, output.decoder_attentions) == ((), ())
    (cross,) = shown(
        VIEWS[view],
        encoder_attention=output.encoder_attentions or None,
        decoder_attention=output.decoder_attentions or None,
        cross_attention=output.cross_attentions,
        encoder_tokens=SOURCE,
        decoder_tokens=TARGET,
    )
    assert cross["name"] == "Cross"
    assert_shows(cross, output.cross_attentions, TARGET, SOURCE)


@pytest.mark.parametrize("search", [{}, {"num_beams": 4}], ids=["greedy", "beams"])
@pytest.mark.parametrize("name", ["lstm", "additive", "bahdanau_gru"])
def test_what_was_read_while_generating_is_shown(name, search):
    model = make_lively(eos_token_id=None, **DECODERS[name])
    ids = torch.arange(3, 3 + len(SOURCE))[None]
    with eager_attention(model):
        output = model.generate(
            ids, max_new_tokens=5, return_dict_in_generate=True, output_attentions=True, do_sample=False, **search
        )
    layers = cross_attentions_from_generate(output)
    produced = [str(token) for token in output.sequences[0, 1:].tolist()]
    (part,) = shown(model_view, cross_attention=layers, encoder_tokens=SOURCE, decoder_tokens=produced)
    assert_shows(part, layers, produced, SOURCE)
    with eager_attention(model):
        forced = run(model, input_ids=ids, decoder_input_ids=output.sequences[:, :-1], output_attentions=True)
    for generated, computed in zip(layers, forced.cross_attentions, strict=True):
        torch.testing.assert_close(generated, computed)
