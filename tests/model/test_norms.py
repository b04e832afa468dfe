"""Norms, and where they stand around a sublayer."""

from typing import Any

import pytest
import torch
from torch import nn

from hf_rnnattn.model.norms import Connection, build_norm
from model_zoo import tiny_model

EXACT = {"rtol": 0.0, "atol": 1e-12}


def connection(**overrides: Any) -> Connection:
    """A connection in float64 whose norms have random scales."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "norm_position": "pre",
        "input_size": 6,
        "output_size": 6,
        "norm_type": "layer_norm",
        "norm_eps": 1e-5,
        "dropout": 0.0,
        "residual": True,
    }
    module = Connection(**{**arguments, **overrides}).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def test_norms_are_their_formulas() -> None:
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    layer_norm, rms_norm = (build_norm(kind, 6, 1e-3).double() for kind in ("layer_norm", "rms_norm"))
    for norm in (layer_norm, rms_norm):
        for parameter in norm.parameters():
            nn.init.normal_(parameter)
    deviation = x - x.mean(-1, keepdim=True)
    variance = deviation.square().mean(-1, keepdim=True)
    want = layer_norm.weight * deviation / (variance + 1e-3).sqrt() + layer_norm.bias
    torch.testing.assert_close(layer_norm(x), want, **EXACT)
    want = rms_norm.weight * x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt()
    torch.testing.assert_close(rms_norm(x), want, **EXACT)


@pytest.mark.parametrize("norm_type", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("residual", [True, False])
def test_each_position_is_its_formula(norm_type: str, residual: bool) -> None:
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    kept = x if residual else 0.0

    def joined(position: str) -> tuple[torch.Tensor, nn.Module]:
        module = connection(norm_position=position, norm_type=norm_type, residual=residual)
        return module.leave(x, torch.sin(module.enter(x))), module

    pre, module = joined("pre")
    torch.testing.assert_close(pre, kept + torch.sin(module.norm_before(x)), **EXACT)
    post, module = joined("post")
    torch.testing.assert_close(post, module.norm_after(kept + torch.sin(x)), **EXACT)
    none, module = joined("none")
    torch.testing.assert_close(none, kept + torch.sin(x), **EXACT)
    assert not list(module.parameters())


def test_where_the_widths_differ_nothing_is_added() -> None:
    module = connection(norm_position="none", input_size=4)
    x, y = torch.randn(2, 3, 4), torch.randn(2, 3, 6)
    assert torch.equal(module.leave(x, y), y)


def test_dropout_falls_on_the_sublayer_in_training_only() -> None:
    module = connection(norm_position="none", dropout=0.5)
    x, y = torch.randn(2, 3, 6), torch.ones(2, 3, 6)
    assert torch.equal(module.eval().leave(x, y), x + y)
    added = module.train().leave(x, y) - x
    assert set(added.round(decimals=4).unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(("position", "normed"), [("pre", True), ("post", True), ("none", False)])
def test_what_leaves_a_stack_is_normalised_unless_there_are_no_norms(position: str, normed: bool) -> None:
    model = tiny_model(norm_position=position, hidden_size=64)
    ids = torch.tensor([[3, 4, 5]])
    for output in (
        model.model.encoder(input_ids=ids).last_hidden_state,
        model.model(input_ids=ids, decoder_input_ids=ids).last_hidden_state,
    ):
        is_normed = torch.allclose(output.std(-1, correction=0), torch.ones(1, 3), atol=1e-3)
        assert is_normed == normed
