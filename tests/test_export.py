"""Programs of ``torch.export``: encoder and decoder step compute what the model does, for every batch and length."""

from contextlib import nullcontext

import pytest
import torch
from torch.testing import assert_close
from torchao.quantization import Int8WeightOnlyConfig, quantize_

from exported_models import EXPORTED, model_of
from hf_rnnattn import RnnAttnForCausalLM
from hf_rnnattn.export import Graphs, export_programs
from hf_rnnattn.exported_graphs import holds_keys
from hf_rnnattn.model.mixers import MIXERS, split_mixer
from model_zoo import ENCODER_MIXERS, batch, tiny_config, tiny_model

QUICK = ("bahdanau_gru", "composite")
SHAPES = ((1, 1), (1, 9), (4, 3), (2, 30))  # rows and source length


def source_of(model, rows, length):
    """A padded source of this shape, and a target without padding."""
    given = batch(model.config, rows=rows, source=length, target=5, seed=length)
    if length == 1:
        given["attention_mask"][:] = 1
    return given


@torch.no_grad()
def decode(graphs: Graphs, given) -> tuple[torch.Tensor, torch.Tensor]:
    """The encoder's output, and the logits of all steps through the programs, one token after another."""
    source = {name: given[name] for name in ("input_ids", "attention_mask")}
    state = graphs.encoder.program.module()(**source)
    encoded, step, logits = state.pop("last_hidden_state"), graphs.decoder_step.program.module(), []
    for position, tokens in enumerate(given["decoder_input_ids"].split(1, dim=1)):
        extra = {}
        if "position_ids" in graphs.decoder_step.inputs:
            extra["position_ids"] = torch.full_like(tokens, position)
        out = step(input_ids=tokens, attention_mask=given["attention_mask"], state=state, **extra)
        logits.append(out.pop("logits"))
        state = {**state, **{name.replace("present.", "past."): tensor for name, tensor in out.items()}}
    return encoded, torch.stack(logits, dim=1)


@torch.no_grad()
def assert_same(model, graphs: Graphs) -> None:
    """Against the whole target read at once, without a cache."""
    for rows, length in SHAPES:
        given = source_of(model, rows, length)
        expected = model(**given, use_cache=False)
        encoded, logits = decode(graphs, given)
        real = given["attention_mask"].bool()
        assert_near(encoded[real], expected.encoder_last_hidden_state[real])
        assert_near(logits, expected.logits)


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    """To 1e-5 of the largest value: logits are sums, in which larger numbers may cancel."""
    assert_close(found, expected, rtol=0.0, atol=1e-5 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("name", QUICK)
def test_the_programs_compute_what_the_model_does(name):
    model = model_of(name)
    assert_same(model, export_programs(model))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXPORTED if name not in QUICK])
def test_every_mixer_is_exported(name):
    model = model_of(name)
    assert_same(model, export_programs(model))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_no_graph_breaks(name):
    model = model_of(name)
    assert_same(model, export_programs(model, strict=True))


def test_every_mixer_is_among_the_models_that_are_exported():
    used = {side: set() for side in ("encoder", "decoder")}
    for fields in EXPORTED.values():
        for side, names in used.items():
            names.update(name for entry in fields[f"{side}_mixers"] for name in split_mixer(entry))
    assert used["encoder"] == set(ENCODER_MIXERS)
    assert used["decoder"] == set(MIXERS)


def test_state_goes_in_and_out_by_name_and_only_what_the_model_can_read():
    fields = {"encoder_mixers": ["full_attention"], "decoder_mixers": ["ssru", "full_attention"]}
    model = tiny_model(max_position_embeddings=9, **fields)
    model.train()
    graphs = export_programs(model, limits={"source": 6})
    assert model.training
    assert model.config._attn_implementation == "sdpa"
    given = {"input_ids": torch.full((2, 4), 3), "attention_mask": torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]])}
    state = graphs.encoder.program.module()(**given)
    assert all(tensor.isfinite().all() for tensor in state.values())
    past = ["past.0.c", "past.1.keys", "past.1.values"]
    cross = [f"cross.{i}.{part}" for i in (0, 1) for part in ("keys", "values")]
    assert sorted(state) == sorted(["last_hidden_state", *past, *cross])
    assert [state[name].shape[2] for name in past if holds_keys(name)] == [0, 0]
    del state["last_hidden_state"]
    mask = given["attention_mask"]
    out = graphs.decoder_step.program.module()(input_ids=torch.full((2, 1), 1), attention_mask=mask, state=state)
    assert sorted(out) == ["logits", "present.0.c", "present.1.keys", "present.1.values"]
    assert out["present.1.keys"].shape[2] == 1
    assert out["logits"].isfinite().all()  # of a row of padding only, too
    for length in (6, 7):
        longer = {name: tensor[:, :1].expand(2, length) for name, tensor in given.items()}
        with nullcontext() if length == 6 else pytest.raises(AssertionError, match="input_ids"):
            graphs.encoder.program.module()(**longer)


def test_what_cannot_be_exported_says_why():
    causal = RnnAttnForCausalLM(tiny_config(is_decoder=True, decoder_mixers=["ssru"]))
    with pytest.raises(TypeError, match=r"only RnnAttnForConditionalGeneration .* got RnnAttnForCausalLM"):
        export_programs(causal)
    with pytest.raises(ValueError, match=r"must be plain float32 .* is Parameter of torch.bfloat16"):
        export_programs(tiny_model().bfloat16())
    with pytest.raises(ValueError, match="must be in memory"):
        export_programs(tiny_model().to("meta"))
    with pytest.raises(ValueError, match="copy_from_source must be False: an exported step"):
        export_programs(tiny_model(cross_attention="additive", copy_from_source=True))
    with pytest.raises(ValueError, match="encoder_pooling must be 'none', got 'sum': an exported encoder"):
        export_programs(tiny_model(encoder_pooling="sum"))
    small = tiny_model()
    quantize_(small, Int8WeightOnlyConfig())
    with pytest.raises(ValueError, match="must be plain float32"):
        export_programs(small)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"batch": 2}, r"limits\['batch'\] must be at least 3, got 2"),
        ({"source": 65}, r"limits\['source'\] must be at least 5, at most 64, got 65"),
        ({"target": 9}, r"limits must name some of batch, source, past, got 'target'"),
    ],
)
def test_limits_that_cannot_be_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        export_programs(tiny_model(), limits=limits)


def test_a_failure_leaves_the_model_as_it_was(monkeypatch):
    model = tiny_model().train()

    def fail(*_, **__):
        raise RuntimeError("no")

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(RuntimeError, match="no"):
        export_programs(model)
    assert model.training
    assert model.config._attn_implementation == "sdpa"
