"""ExecuTorch runs the exported programs; it is no dependency, and these tests run where it is installed."""

import pytest
import torch
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from hf_rnnattn.export import export_programs
from hf_rnnattn.exported_graphs import holds_keys
from model_zoo import tiny_model

pytestmark = pytest.mark.slow
LIMITS = {"batch": 3, "source": 8, "past": 6}
CLOSE = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture(scope="module")
def executorch():
    return pytest.importorskip("executorch.runtime", reason="needs executorch: pip install --no-deps executorch")


def compiled(executorch, program, path):
    """What runs the program in ExecuTorch: a function from its inputs, by name, to its outputs in order."""
    from executorch.exir import to_edge_transform_and_lower

    path.write_bytes(to_edge_transform_and_lower(program).to_executorch().buffer)
    loaded = executorch.Runtime.get().load_program(str(path))
    method = loaded.load_method("forward")
    return lambda inputs: [
        out.clone() for out in method.execute([tensor.contiguous() for tensor in pytree.tree_leaves(inputs)])
    ], loaded


def source(rows, length):
    """Padded ids."""
    ids = torch.randint(3, 19, (rows, length))
    mask = torch.ones_like(ids)
    mask[-1, length // 2 + 1 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def is_past_key(name):
    return name.startswith("past.") and holds_keys(name)


def check(executorch, graph, path, *many):
    """That ExecuTorch gives what the program gives."""
    run, _loaded = compiled(executorch, graph.program, path)
    for inputs in many:
        expected = [tensor for tensor in graph.program.module()(**inputs).values() if tensor.numel()]
        found = [tensor for tensor in run(inputs) if tensor.numel()]
        assert_close(found, expected, **CLOSE)


def test_a_decoder_step_runs_with_every_size(executorch, tmp_path):
    model = tiny_model(encoder_mixers=["full_attention"], decoder_mixers=["lstm", "ssru+full_attention"])
    graphs = export_programs(model, limits=LIMITS)
    steps = []
    for rows, length in ((3, 8), (1, 1), (2, 5)):
        given = source(rows, length)
        state = graphs.encoder.program.module()(**given)
        del state["last_hidden_state"]
        steps.append({"input_ids": given["input_ids"][:, :1], "attention_mask": given["attention_mask"]})
        past = {name: torch.randn(rows, 2, min(length, 6), 8) for name in state if is_past_key(name)}
        steps[-1]["state"] = {**state, **past}
    check(executorch, graphs.decoder_step, tmp_path / "step.pte", *steps)


def test_an_encoder_of_attention_runs_with_every_size(executorch, tmp_path):
    graphs = export_programs(tiny_model(encoder_mixers=["full_attention"]), limits=LIMITS)
    check(executorch, graphs.encoder, tmp_path / "encoder.pte", source(3, 8), source(1, 1), source(2, 5))


def test_an_encoder_with_recurrence_runs_on_sources_padded_to_the_limits(executorch, tmp_path):
    """The loop of ExecuTorch has the size that memory was planned for."""
    graphs = export_programs(tiny_model(encoder_mixers=["gru"]), limits=LIMITS)
    check(executorch, graphs.encoder, tmp_path / "encoder.pte", source(3, 8))
