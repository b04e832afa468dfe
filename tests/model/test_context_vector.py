"""One vector between encoder and decoder: what it is, who reads it, and that it follows beams, caches and copies."""

import pytest
import torch
from torch.testing import assert_close

from hf_rnnattn import RnnAttnForCausalLM
from hf_rnnattn.model.encoder_layer import RnnAttnEncoderOutput
from model_zoo import batch, tiny_config, tiny_model

EXACT = {"rtol": 0.0, "atol": 1e-12}
VECTORS = ["last", "linear", "sum"]
USES = {
    "init": {"decoder_init": "context"},
    "feed": {"feed_context": True},
    "both": {"decoder_init": "context", "feed_context": True},
    "readout": {"readout": "deep"},
}


def one_vector(vector, use="both", **fields):
    """A float64 model whose decoder knows of the source only this vector."""
    fields = {"encoder_mixers": ["gru"], "encoder_directions": "forward", "decoder_mixers": ["gru", "lstm"], **fields}
    fields |= {"norm_position": "none", "encoder_ffn_dim": 0, "cross_attention": "none", "context_vector": vector}
    return tiny_model(**fields, **USES[use]).double()


def by_hand(model, kind, hidden, real):
    """The vectors of the encoder's outputs (B, S, C), whose real tokens are where ``real`` (B, S) is True."""
    rows = []
    for states, mask in zip(hidden, real, strict=True):
        tokens = [state for state, is_real in zip(states, mask, strict=True) if is_real]
        rows.append(sum(tokens) if kind == "sum" else tokens[-1])
    vector = torch.stack(rows)
    return vector if kind == "last" else vector @ model.projection.weight.T + model.projection.bias


def logits_of(model, inputs, hidden):
    """The logits of a model whose encoder gave ``hidden``."""
    given = {name: inputs[name] for name in ("attention_mask", "decoder_input_ids")}
    return model(**given, encoder_outputs=RnnAttnEncoderOutput(last_hidden_state=hidden)).logits


@pytest.mark.parametrize("kind", VECTORS)
def test_the_vector_is_that_of_the_equations_whatever_stands_in_the_padding(kind):
    model = one_vector(kind)
    inputs, decoder = batch(model.config), model.model.decoder
    real = inputs["attention_mask"].bool()
    hidden = torch.randn(3, 7, 16, dtype=torch.float64).masked_fill(~real[..., None], torch.nan)
    _, summary, vector = decoder.read_encoder(hidden, real, None)
    assert_close(vector[:, 0], by_hand(decoder.context_vector, kind, hidden, real), **EXACT)
    assert torch.equal(summary, vector[:, 0])


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", VECTORS)
def test_no_attention_exists_and_the_vector_alone_carries_the_source(kind, use):
    """Outputs of the encoder that make the same vector are one to the decoder; another vector is another source."""
    model = one_vector(kind, use)
    inputs = batch(model.config)
    assert not model(**inputs, output_attentions=True).cross_attentions
    hidden = model.get_encoder()(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    before = logits_of(model, inputs, hidden)
    other = hidden.clone()
    if kind == "sum":  # in another order
        for row, real in enumerate(inputs["attention_mask"].bool()):
            other[row, real] = hidden[row, real].flip(0)
    else:  # everything but the last real token, and what stands in padding
        for row, real in enumerate(inputs["attention_mask"].bool()):
            other[row, torch.arange(7) != real.nonzero()[-1, 0]] = torch.randn(6, 16, dtype=torch.float64)
    assert not torch.equal(other, hidden)
    assert_close(logits_of(model, inputs, other), before, **EXACT)
    last = inputs["attention_mask"].bool()[0].nonzero()[-1, 0]
    hidden[:, last] += 1.0
    assert (logits_of(model, inputs, hidden)[0] - before[0]).abs().max() > 1e-3


@pytest.mark.parametrize("use", ["init", "feed", "both"])
def test_the_vector_starts_the_states_or_is_an_input_at_every_step_of_every_layer_or_both(use):
    model = one_vector("sum", use)
    seen = []
    for layer in model.model.decoder.layers:
        layer.mixers[0].register_forward_pre_hook(lambda _, args: seen.append((args[0], args[2])))
    inputs, decoder = batch(model.config), model.model.decoder
    encoded = model.get_encoder()(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
    vector = by_hand(decoder.context_vector, "sum", encoded, inputs["attention_mask"].bool())
    model(**inputs)
    for layer, (entering, start) in zip(decoder.layers, seen, strict=True):
        begins = torch.tanh(layer.initial_states[0](vector)) if use != "feed" else torch.zeros(3, 16).double()
        assert_close(start["h"].double(), begins, rtol=0.0, atol=1e-6)
        assert entering.shape[-1] == (16 if use == "init" else 32)
        if use != "init":
            assert_close(entering[..., 16:], vector[:, None].expand(3, 5, 16), **EXACT)


@pytest.mark.parametrize("use", ["feed", "both", "readout"])
def test_the_vector_is_kept_beside_what_is_read_of_the_encoder_and_is_never_rolled_back(use):
    model = one_vector("sum", use)
    inputs = batch(model.config)
    cache = model(**inputs, use_cache=True).cache
    kept = cache.cross_attention_cache.layers[0].states["context"]
    assert kept.shape == (3, 16)
    cache.reorder_cache(torch.tensor([2, 0, 0]))
    assert torch.equal(cache.cross_attention_cache.layers[0].states["context"], kept[[2, 0, 0]])


def test_a_vector_that_only_starts_the_states_is_not_kept():
    model = one_vector("sum", "init")
    cache = model(**batch(model.config), use_cache=True).cache
    assert not cache.cross_attention_cache.layers[0].states


@pytest.mark.parametrize("use", ["feed", "both", "readout"])
def test_steps_with_a_cache_are_the_whole_target_at_once_also_after_a_rollback(use):
    model = one_vector("linear", use)
    inputs = batch(model.config)
    whole, target = model(**inputs).logits, inputs.pop("decoder_input_ids")
    encoded = model.get_encoder()(inputs["input_ids"], attention_mask=inputs["attention_mask"])
    given = {"attention_mask": inputs["attention_mask"], "encoder_outputs": encoded}
    cache = model(**given, decoder_input_ids=target[:, :1], use_cache=True).cache
    cache.activate_past_recording()
    model(**given, decoder_input_ids=target[:, 1:4], cache=cache)
    cache.crop(-2)
    # What stands in the encoder's output no longer matters: the vector was kept.
    given["encoder_outputs"] = RnnAttnEncoderOutput(last_hidden_state=torch.zeros_like(encoded.last_hidden_state))
    rest = model(**given, decoder_input_ids=target[:, 2:], cache=cache).logits
    assert_close(rest, whole[:, 2:], **EXACT)


def test_layers_are_fed_what_the_one_below_them_read_at_the_same_step():
    """The second layer's cell reads [x; c] with the context of the first, the first reads x alone."""
    model = tiny_model(decoder_mixers=["bahdanau_gru", "gru"], encoder_hidden_size=12, feed_context=True).double()
    first, second = model.model.decoder.layers
    assert (first.mixers[0].input_size, second.mixers[0].input_size) == (16, 16 + 12)
    seen = {}
    first.register_forward_hook(lambda *args: seen.update(context=args[2][1]))
    second.mixers[0].register_forward_pre_hook(lambda _, args: seen.update(entering=args[0]))
    model(**batch(model.config))
    assert seen["context"].shape == (3, 5, 12)
    assert torch.equal(seen["entering"][..., 16:], seen["context"])


def test_what_multi_head_attention_read_has_the_decoders_width():
    model = tiny_model(decoder_mixers=["gru", "gru"], encoder_hidden_size=12, feed_context=True, readout="concat")
    assert model.model.decoder.layers[1].mixers[0].input_size == 32
    assert model.model.decoder.readout.output_size == 32
    assert model(**batch(model.config)).logits.isfinite().all()


@pytest.mark.parametrize("readout", ["deep", "concat"])
def test_a_readout_without_attention_reads_the_vector(readout):
    model = tiny_model(
        decoder_mixers=["gru"], cross_attention="none", encoder_mixers=["gru"], context_vector="last", readout=readout
    )
    inputs = batch(model.config)
    hidden = torch.randn(3, 7, 16)
    assert (logits_of(model, inputs, hidden + 1) - logits_of(model, inputs, hidden)).abs().amax((0, 2)).min() > 1e-3


@pytest.mark.parametrize(
    "fields",
    [
        {"context_vector": "last", "feed_context": True},
        {"feed_context": True},
        {"readout": "deep"},
        {"readout": "concat"},
    ],
)
def test_a_language_model_without_an_encoder_has_no_context(fields):
    with pytest.raises(ValueError, match=rf"{next(iter(fields))} .* add_cross_attention True"):
        RnnAttnForCausalLM(tiny_config(decoder_mixers=["gru", "gru"], **fields))


def test_the_decoder_of_another_encoder_makes_the_vector_of_its_output():
    config = tiny_config(
        decoder_mixers=["gru"],
        cross_attention="none",
        context_vector="linear",
        feed_context=True,
        add_cross_attention=True,
    )
    model = RnnAttnForCausalLM(config).eval()
    ids, memory = batch(config)["decoder_input_ids"], torch.randn(3, 7, 16)
    other = torch.cat([torch.randn(3, 6, 16), memory[:, -1:]], dim=1)  # where another encoder ends is its last token
    assert torch.equal(model(ids, encoder_hidden_states=memory).logits, model(ids, encoder_hidden_states=other).logits)
    assert not torch.equal(
        model(ids, encoder_hidden_states=memory).logits, model(ids, encoder_hidden_states=memory + 1).logits
    )
