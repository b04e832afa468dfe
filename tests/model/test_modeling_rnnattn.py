"""What a forward pass returns, in which shape and which precision."""

import copy
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import BartConfig, BartForConditionalGeneration
from transformers.modeling_outputs import Seq2SeqLMOutput

from hf_rnnattn.model.mixers import attends_itself, keeps_keys, reads_memory
from hf_rnnattn.model.source_order import READINGS
from lively_models import DECODERS, lively_model, make_lively, run, sources, targets
from model_zoo import ZOO, batch, build, tiny_config

RECORDED = {"output_hidden_states": True, "output_attentions": True}
# Key biases are there to be like torch's and BART's: softmax does not change when all its scores move together.
WITHOUT_GRADIENT = ("k_proj.bias",)


def heads_of_cross_attention(config: Any) -> list[int]:
    """The number of heads with which each layer of the decoder that reads the encoder does so."""
    heads = {"multi_head": config.decoder_attention_heads, "hops": config.attention_hops}
    none = config.cross_attention == "none"
    inside = {"rnmt_lstm": config.decoder_attention_heads}
    return [
        inside.get(entry, 1) if reads_memory(entry) else heads.get(config.cross_attention, 1)
        for layer, entry in enumerate(config.decoder_mixers)
        if (reads_memory(entry) or not none)
        and (config.hard_attention == "none" or layer == config.decoder_layers - 1)
    ]


@pytest.mark.parametrize("name", ZOO)
def test_recorded_outputs_have_their_counts_and_shapes(name: str) -> None:
    config = tiny_config(attn_implementation="eager", **ZOO[name])
    inputs = batch(config)
    output = run(build(config), **RECORDED, **inputs)
    (rows, source), target = inputs["input_ids"].shape, inputs["decoder_input_ids"].shape[1]
    assert output.logits.shape == (rows, target, config.vocab_size)
    read = source * READINGS[config.source_order]
    if config.encoder_layers:
        widths = [config.embedding_size] + config.encoder_layers * [config.encoder_hidden_size]
        shapes = [(rows, read, width) for width in widths]
        shapes[-1] = (rows, source, widths[-1])  # with the tokens again
        assert [tuple(h.shape) for h in output.encoder_hidden_states] == shapes
        assert torch.equal(output.encoder_hidden_states[-1], output.encoder_last_hidden_state)
    widths = [config.embedding_size] + config.decoder_layers * [config.hidden_size]
    if config.readout == "deep":  # as everywhere in transformers, the last one is what the output matrix reads
        widths[-1] = config.embedding_size
    if config.readout == "concat":
        widths[-1] += config.hidden_size  # of multi-head attention
    assert [tuple(h.shape) for h in output.decoder_hidden_states] == [(rows, target, width) for width in widths]
    heads = config.encoder_attention_heads
    attending = [  # a cell for each direction has heads of its own
        (rows, heads if attends_itself(entry) or not way.startswith("both") else 2 * heads, read, read)
        for entry, way in zip(config.encoder_mixers, config.encoder_directions, strict=True)
        if keeps_keys(entry)
    ]
    assert [tuple(a.shape) for a in output.encoder_attentions] == attending
    shape = (rows, config.decoder_attention_heads, target, target)
    assert [tuple(a.shape) for a in output.decoder_attentions] == sum(map(keeps_keys, config.decoder_mixers)) * [shape]
    crossing = [(rows, heads, target, source) for heads in heads_of_cross_attention(config)]
    assert [tuple(a.shape) for a in output.cross_attentions] == crossing


@pytest.mark.parametrize("name", DECODERS)
def test_recorded_attentions_are_distributions_over_what_may_be_read(name: str) -> None:
    model = lively_model(name, attention="eager")
    inputs, ids = sources(model), targets(model)
    output = run(model, decoder_input_ids=ids, **RECORDED, **inputs)
    real = inputs["attention_mask"].bool()
    for weights in output.cross_attentions:
        assert (weights.transpose(1, 3)[~real] == 0).all()
        assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    for weights in output.decoder_attentions:
        assert (weights.triu(1) == 0).all()
        assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))


def test_recording_changes_no_output_and_leaves_nothing_behind() -> None:
    model = lively_model("mixed", attention="eager")
    inputs = {**sources(model), "decoder_input_ids": targets(model)}
    plain = run(model, **inputs)
    recorded = run(model, **RECORDED, **inputs)
    assert torch.equal(recorded.logits, plain.logits)
    again = run(model, **inputs)
    assert torch.equal(again.logits, plain.logits)
    for field in ("decoder_hidden_states", "decoder_attentions", "cross_attentions", "encoder_attentions"):
        assert getattr(plain, field) is None
        assert getattr(again, field) is None
        assert getattr(recorded, field)


def test_the_last_hidden_state_is_the_last_of_the_hidden_states() -> None:
    model = lively_model("positions").model
    output = run(model, decoder_input_ids=targets(model), **RECORDED, **sources(model))
    assert torch.equal(output.decoder_hidden_states[-1], output.last_hidden_state)
    assert torch.equal(output.encoder_hidden_states[-1], output.encoder_last_hidden_state)


def test_hidden_states_are_chosen_by_index_on_each_side() -> None:
    model = make_lively(encoder_mixers=["gru"], decoder_mixers=["gru", "ssru", "lstm"])
    inputs = {**sources(model), "decoder_input_ids": targets(model)}
    every = run(model, output_hidden_states=True, **inputs)
    chosen = run(model, output_hidden_states=[-1], **inputs)
    for side in ("encoder_hidden_states", "decoder_hidden_states"):
        assert len(getattr(chosen, side)) == len(getattr(every, side))
        assert torch.equal(getattr(chosen, side)[-1], getattr(every, side)[-1])


@pytest.mark.parametrize("name", DECODERS)
def test_eager_and_fused_attention_agree(name: str) -> None:
    eager = lively_model(name, attention="eager")
    fused = copy.deepcopy(eager)  # two models that are made alike differ in the last digits of what is fitted
    fused.set_attn_implementation("sdpa")
    inputs = {**sources(eager), "decoder_input_ids": targets(eager)}
    assert_close(run(eager, **inputs).logits, run(fused, **inputs).logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("recorded", [{}, RECORDED])
def test_a_tuple_holds_what_the_output_class_holds(recorded: dict[str, bool]) -> None:
    model = lively_model("mixed", attention="eager")
    inputs = {**sources(model), "decoder_input_ids": targets(model), "use_cache": False, **recorded}
    output = run(model, **inputs)
    assert isinstance(output, Seq2SeqLMOutput)
    as_tuple = run(model, return_dict=False, **inputs)
    assert type(as_tuple) is tuple
    assert len(as_tuple) == len(output.to_tuple())
    assert torch.equal(as_tuple[0], output.logits)
    labels = {"labels": targets(model)}
    assert torch.equal(run(model, return_dict=False, **inputs, **labels)[0], run(model, **inputs, **labels).loss)


def test_fields_of_the_output_follow_bart() -> None:
    """Tools read these names from any encoder-decoder of transformers."""
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 8, "vocab_size": 13, "encoder_ffn_dim": 8}
    sizes |= {"decoder_ffn_dim": 8, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    bart = BartForConditionalGeneration(BartConfig(**sizes, attn_implementation="eager")).eval()
    ours = lively_model("full_attention", attention="eager")
    inputs = {**sources(ours), "decoder_input_ids": targets(ours), **RECORDED, "use_cache": True}
    assert list(run(ours, **inputs)) == list(run(bart, **inputs))


@pytest.mark.parametrize("name", ZOO)
def test_evaluation_is_repeatable_bit_for_bit_and_training_without_dropout_equals_it(name: str) -> None:
    config = tiny_config(**ZOO[name])
    model, inputs = build(config), batch(config)
    first = run(model, **inputs).logits
    assert torch.equal(run(model, **inputs).logits, first)
    if config.hard_attention != "reinforce":  # which draws what it reads while it is trained
        assert_close(run(model.train(), **inputs).logits, first, rtol=1e-5, atol=1e-5)


def test_dropout_changes_training_and_not_evaluation() -> None:
    for field in ("dropout", "attention_dropout", "activation_dropout"):
        model = make_lively(**{**DECODERS["mixed"], field: 0.5}, attn_implementation="eager")
        inputs = {**sources(model), "decoder_input_ids": targets(model)}
        evaluated = run(model, **inputs).logits
        assert torch.equal(run(model, **inputs).logits, evaluated)
        model.train()
        torch.manual_seed(1)
        first = run(model, **inputs).logits
        assert not torch.allclose(first, evaluated)
        assert not torch.allclose(run(model, **inputs).logits, first)
        torch.manual_seed(1)
        assert torch.equal(run(model, **inputs).logits, first)


@pytest.mark.parametrize("name", ZOO)
def test_half_precision_stays_near_single_precision(name: str) -> None:
    config = tiny_config(**{**ZOO[name], "init_std": 0.05})
    model, inputs = build(config), batch(config, target=12)
    expected = run(model, **inputs).logits
    got = run(model.bfloat16(), **inputs).logits
    assert got.dtype == torch.bfloat16
    assert (got.float() - expected).abs().max() <= 2e-2 * expected.abs().max()


@pytest.mark.parametrize("name", ZOO)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    config = tiny_config(**ZOO[name])
    model, inputs = build(config).double().train(), batch(config, rows=6, target=9)
    segments = {}
    if config.type_vocab_size:
        halves = {key: inputs[key] % 2 for key in ("input_ids", "decoder_input_ids")}
        segments = {"token_type_ids": halves["input_ids"], "decoder_token_type_ids": halves["decoder_input_ids"]}
    model(**inputs, **segments, labels=inputs["decoder_input_ids"].roll(-1, 1)).loss.backward()
    for key, parameter in model.named_parameters():
        if key.endswith(WITHOUT_GRADIENT):
            assert parameter.grad.abs().max() < 1e-12, key
        else:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.abs().max() > 1e-12, key


def test_only_rows_of_tables_that_were_read_get_a_gradient() -> None:
    model = make_lively(**DECODERS["gru"], share_encoder_decoder_embeddings=False, encoder_vocab_size=17)
    source, ids = torch.tensor([[3, 4, 5]]), torch.tensor([[1, 6, 7]])
    model(input_ids=source, decoder_input_ids=ids, labels=ids).loss.backward()
    for table, used in (
        (model.get_encoder().get_input_embeddings(), source),
        (model.get_decoder().get_input_embeddings(), ids),
        (model.get_encoder().embeddings.position_embeddings, torch.arange(3)),
    ):
        rows = table.weight.grad.abs().sum(1).nonzero()[:, 0]
        assert rows.tolist() == used.flatten().unique().tolist()
