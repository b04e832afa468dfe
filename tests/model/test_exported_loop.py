"""Recurrence that was exported: one loop in the graph, for every batch size and length."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from hf_rnnattn.model.mixer_directions import DirectionalMixer
from hf_rnnattn.model.mixers import MIXERS
from model_zoo import ENCODER_MIXERS, RECURRENT

INPUT, HIDDEN = 5, 6
CELLS = [name for name in RECURRENT if name in ENCODER_MIXERS]
each_cell = pytest.mark.parametrize("name", CELLS)
CLOSE = {"rtol": 0.0, "atol": 1e-12}


class Outputs(nn.Module):
    """What can be exported of a cell: its outputs, its final state and the states after each step."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x, mask):
        out = self.cell(x, mask, return_steps=True)
        return out.hidden, out.state, out.steps


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MIXERS[name](input_size=INPUT, hidden_size=HIDDEN).double().requires_grad_(False)


def inputs(batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A sequence and a mask with holes anywhere."""
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(batch, length, INPUT, generator=generator, dtype=torch.float64)
    return x, torch.rand(batch, length, generator=generator) < 0.7


def export(module: nn.Module, strict: bool = False) -> torch.export.ExportedProgram:
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("length", min=1)}
    return torch.export.export(module, inputs(3, 4), dynamic_shapes=(axes, axes), strict=strict)


def loops(program: torch.export.ExportedProgram) -> int:
    return [str(node.target) for node in program.graph.nodes].count("scan")


@each_cell
def test_one_exported_loop_serves_every_batch_and_length(name):
    module = Outputs(build(name))
    program = export(module)
    assert loops(program) == 1
    for batch, length in ((1, 1), (1, 9), (2, 2), (4, 1), (5, 33)):
        x, mask = inputs(batch, length)
        assert_close(program.module()(x, mask), module(x, mask), **CLOSE)


@pytest.mark.parametrize("name", ["lstm", "ssru"])
def test_the_graph_does_not_break(name):
    module = Outputs(build(name))
    program = export(module, strict=True)
    assert loops(program) == 1
    x, mask = inputs(2, 7)
    assert_close(program.module()(x, mask), module(x, mask), **CLOSE)


def test_both_directions_are_a_loop_each():
    module = DirectionalMixer.build(MIXERS["gru"], input_size=INPUT, hidden_size=HIDDEN, merge="sum").double()

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.mixer = module.requires_grad_(False)

        def forward(self, x, mask):
            return self.mixer(x, mask).hidden

    program = export(Hidden())
    assert loops(program) == 2
    for batch, length in ((1, 1), (2, 30)):
        x, mask = inputs(batch, length)
        assert_close(program.module()(x, mask), module(x, mask).hidden, **CLOSE)


@pytest.mark.parametrize("name", ["mingru", "ssru"])
def test_saturated_gates_over_many_steps_stay_exact(name):
    module = Outputs(build(name))
    program = export(module)
    x, mask = inputs(2, 2000)
    x = x * 1000
    got = program.module()(x, mask)[0]
    assert got.isfinite().all()
    assert_close(got, module(x, mask)[0], rtol=1e-12, atol=0.0)
