"""A trace holds the states that the cells went through and the gates of their equations, under the tokens read."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from hf_rnnattn import RnnAttnConfig, RnnAttnEncoderModel, RnnAttnForCausalLM, RnnAttnForConditionalGeneration
from hf_rnnattn.cell_traces import trace_cells
from hf_rnnattn.presets import preset_model
from recurrent_cells import CLOSE, RECURRENT, reference, setting
from reference_attention import affine, gate, normed
from reference_rglru import block_gates, convolved
from tiny_seq2seq import SPECIAL, VOCABULARY, character_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 8,
    "encoder_ffn_dim": 8,
    "decoder_ffn_dim": 8,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "memory_slots": 6,
    "memory_slot_size": 3,
    "dropout": 0.0,
    **SPECIAL,
}
# The cells whose gates can be told: of others they depend on what is read of the encoder, or belong to cells inside.
GATED = [
    "conditional_gru",
    "conditional_lstm",
    "gru",
    "kim_ssru",
    "lstm",
    "mingru",
    "normed_lstm",
    "ntm",
    "rglru",
    "rnmt_lstm",
    "ssru",
]
CLOSE_ENOUGH = {"rtol": 0.0, "atol": 1e-6}


def gates_of_step(name: str, w: dict[str, Any], x: Any, s: dict[str, Any]) -> dict[str, Any]:
    """The gates of one step by the equations, from what is read and the state before it."""
    if name in ("lstm", "gru", "conditional_gru", "conditional_lstm", "elman"):
        both = affine(w, "input_to_gates", x) + affine(w, "state_to_gates", s["h"])
        blocks = both.view(-1, 4).sigmoid()  # of width 4 each
        letters = {"lstm": {"i": 0, "f": 1, "o": 3}, "gru": {"r": 0, "z": 1}}.get(
            name.removeprefix("conditional_"), {}
        )
        return {letter: blocks[i] for letter, i in letters.items()}
    if name == "kim_ssru":
        return {"f": torch.sigmoid(w["input_to_gates.weight"][4:] @ x + w["gate_bias"])}
    if name in ("ssru", "mingru"):
        return {"f" if name == "ssru" else "z": gate(w, "input_to_gates", 1, 2, x).sigmoid()}
    if name in ("normed_lstm", "rnmt_lstm"):
        both = affine(w, "input_to_gates", x) + affine(w, "state_to_gates", s["h"])
        if "context" in s:
            both = both + affine(w, "context_to_gates", s["context"])
        blocks = normed({**w, "norm_blocks": [4] * 4}, "gate_norm", both).view(4, 4).sigmoid()
        return {"i": blocks[0], "f": blocks[1], "o": blocks[3]}
    if name == "ntm":
        both = affine(w, "input_to_gates", x) + affine(w, "state_to_gates", s["h"])
        i, f, g, o = (both + w["read_to_gates.weight"] @ s["reads"].flatten()).view(4, 4)
        h = o.sigmoid() * torch.tanh(f.sigmoid() * s["c"] + i.sigmoid() * g.tanh())
        numbers = affine(w, "state_to_heads", h)
        heads, width = s["reads"].shape
        asked = [numbers[k * (width + 6) :][: width + 6] for k in range(2 * heads)]
        g = torch.stack([one[width + 1].sigmoid() for one in asked])
        e = numbers[2 * heads * (width + 6) :][: heads * width].sigmoid()
        return {
            "i": i.sigmoid(),
            "f": f.sigmoid(),
            "o": o.sigmoid(),
            "g_read": g[:heads],
            "g_write": g[heads:],
            "e": e,
        }
    if name == "rglru":
        v = convolved(w, affine(w, "input_proj", x), s["window"])
        r, i = block_gates(w, v)
        return {"r": r, "i": i, "a": torch.exp(-8 * torch.log1p(w["decay"].exp()) * r)}
    return {}


@pytest.mark.parametrize("name", RECURRENT)
def test_gates_equal_those_of_the_naive_loop_at_every_step(name):
    cell, x, _, state, _, raw = setting(name)
    steps = reference(name, cell, x, None, state, raw).steps
    before = {key: torch.cat([state[key][:, None], steps[key][:, :-1]], dim=1) for key in steps}
    got = cell.gate_activations(x, before)
    weights = dict(cell.named_parameters())
    for row in range(x.shape[0]):
        for t in range(x.shape[1]):
            want = gates_of_step(name, weights, x[row, t], {key: before[key][row, t] for key in before})
            assert got.keys() == want.keys()
            for letter, value in want.items():
                assert_close(got[letter][row, t], value, **CLOSE)
    assert bool(got) == (name in GATED)


def model_of(kind: Any, **fields: Any) -> Any:
    torch.manual_seed(0)
    return kind(RnnAttnConfig(**{**SIZES, "encoder_mixers": ["gru"], "decoder_mixers": ["ssru"], **fields})).eval()


def test_a_language_models_states_are_those_in_which_it_stops_after_each_token():
    model = model_of(RnnAttnForCausalLM, decoder_mixers=["gru", "ntm"], cross_attention="none")
    ids = character_tokenizer()("abca")["input_ids"]
    traces = trace_cells(model, character_tokenizer(), "abca")
    assert [trace.name.split(".")[-3] for trace in traces] == ["0", "1"]
    assert traces[0].tokens == [*"abca", "</s>"]
    for layer, trace in enumerate(traces):
        for t in range(len(ids)):
            cache = model(torch.tensor([ids[: t + 1]]), use_cache=True).cache
            for name, value in cache.layers[layer].states.items():
                assert_close(trace.states[name][t], value[0], **CLOSE_ENOUGH)


def test_an_encoder_read_from_the_right_has_its_trace_in_the_order_of_the_tokens():
    model = model_of(RnnAttnForConditionalGeneration, encoder_directions="both", encoder_merge="concat")
    seen: list[Any] = []
    model.model.encoder.layers[0].mixers[0].register_forward_hook(lambda _, args, output: seen.append(output.hidden))
    forward, backward = trace_cells(model, character_tokenizer(), "hello")
    assert forward.name.endswith("forward_cell")
    assert backward.name.endswith("backward_cell")
    assert_close(torch.cat([forward.states["h"], backward.states["h"]], dim=-1), seen[0][0], **CLOSE_ENOUGH)
    cell = model.model.encoder.layers[0].mixers[0].backward_cell
    assert backward.gates["z"].shape == (6, cell.hidden_size)


def test_the_decoder_is_traced_under_what_it_reads_of_the_target():
    model = model_of(RnnAttnForConditionalGeneration, decoder_mixers=["bahdanau_gru"])
    traces = trace_cells(model, character_tokenizer(), "hello", target="abc")
    assert [trace.name.split(".")[1] for trace in traces] == ["encoder", "encoder", "decoder"]
    assert traces[-1].tokens == ["<s>", "a", "b", "c"]
    assert not traces[-1].gates
    assert traces[-1].states["h"].shape == (4, 8)


@pytest.mark.parametrize(("order", "read"), [("reversed", [6, 5, 4]), ("doubled", [4, 5, 6, 4, 5, 6])])
def test_tokens_are_named_in_the_order_in_which_the_encoder_reads_them(order, read):
    model = model_of(RnnAttnEncoderModel, encoder_directions="forward", source_order=order)
    (trace,) = trace_cells(model, None, [4, 5, 6])
    assert trace.tokens == [str(i) for i in read]
    plain = model_of(RnnAttnEncoderModel, encoder_directions="forward")
    plain.load_state_dict(model.state_dict())
    (want,) = trace_cells(plain, None, read)
    assert_close(trace.states["h"], want.states["h"], **CLOSE_ENOUGH)


def test_an_encoder_alone_is_traced_and_the_model_stays_as_it_was():
    model = model_of(RnnAttnEncoderModel, encoder_directions="forward")
    (trace,) = trace_cells(model, None, [4, 5, 6])
    assert trace.tokens == ["4", "5", "6"]
    assert not any(module._forward_hooks for module in model.modules())


def test_what_cannot_be_traced_is_refused():
    model = model_of(RnnAttnForConditionalGeneration, encoder_mixers=["full_attention"])
    with pytest.raises(ValueError, match="the model has no recurrent cells"):
        trace_cells(model, character_tokenizer(), "hello")
    with pytest.raises(TypeError, match="tokenizer is None, so text must be ids, got 'hello'"):
        trace_cells(model, None, "hello")
    with pytest.raises(ValueError, match="target has no tokens"):
        trace_cells(model, None, [4], target=[])


def test_the_weights_of_a_machine_are_told_for_every_token():
    model = preset_model("ntm", **{**SIZES, "memory_heads": 2})
    (trace,) = trace_cells(model, None, [4, 5, 6, 7])
    for kind in ("read", "write"):
        assert trace.states[f"{kind}_weights"].shape == (4, 2, 6)
        assert_close(trace.states[f"{kind}_weights"].sum(-1), torch.ones(4, 2), **CLOSE_ENOUGH)
