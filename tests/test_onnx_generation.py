"""Greedy and beam search over ONNX files in numpy: token for token what ``generate()`` of the model gives."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from exported_models import END, EXPORTED, folder_of, model_of
from hf_rnnattn import onnx_generation
from hf_rnnattn.onnx_generation import BeamSearch, OnnxSeq2Seq, log_softmax, top
from lively_models import assert_varied
from model_zoo import batch

QUICK = ("composite",)
SHAPES = ((1, 1), (1, 8), (5, 3), (3, 40))  # rows and source length
SEARCHES = {
    "greedy": {},
    "beams": {"num_beams": 4},
    "n_best": {"num_beams": 3, "num_return_sequences": 3},
    "long": {"num_beams": 3, "length_penalty": 2.0},
    "short": {"num_beams": 3, "length_penalty": -1.0, "num_return_sequences": 2},
    "early": {"num_beams": 4, "early_stopping": True},
    "late": {"num_beams": 2, "early_stopping": "never", "num_return_sequences": 2},
}


@torch.no_grad()
def assert_same(name: str, **settings) -> list[torch.Tensor]:
    """That both generate the same, for every shape; returns what was generated."""
    model, exported = model_of(name), OnnxSeq2Seq(folder_of(name), threads=1)
    found = []
    for rows, length in SHAPES:
        given = batch(model.config, rows=rows, source=length, seed=length)
        given = {key: given[key] for key in ("input_ids", "attention_mask")}
        if length == 1:
            given["attention_mask"][:] = 1
        options = {"max_new_tokens": 12, **settings}
        expected = model.generate(
            **given, do_sample=False, return_dict_in_generate=True, output_scores=True, **options
        )
        got = exported.generate(**{key: tensor.numpy() for key, tensor in given.items()}, **options)
        assert got.sequences.tolist() == expected.sequences.tolist()
        if "num_beams" in settings:
            np.testing.assert_allclose(got.scores, expected.sequences_scores.numpy(), rtol=1e-5, atol=1e-4)
        else:
            assert got.scores is None
        found.append(expected.sequences)
    return found


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("name", QUICK)
def test_what_is_generated_is_what_the_model_generates(name, search):
    found = assert_same(name, **SEARCHES[search])
    for sequences in found[2:]:
        assert_varied(sequences)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXPORTED if name not in QUICK])
def test_every_mixer_generates_what_the_model_generates(name):
    for search in SEARCHES.values():
        assert_same(name, **search)
    found = assert_same(name, max_new_tokens=40)
    assert_varied(found[3])


def test_some_sequences_end_and_some_are_cut():
    """Else the tests above would not tell how either is treated."""
    ends = [(sequences == END).any(-1) for sequences in assert_same(QUICK[0])]
    assert any(bool(row.any()) for row in ends)
    assert not all(bool(row.all()) for row in ends)


def test_neither_torch_nor_this_package_is_needed(tmp_path):
    """The file alone, in a process where importing either fails."""
    script = tmp_path / "decode.py"
    script.write_text(
        "import json, sys\n"
        "sys.modules.update(torch=None, transformers=None, hf_rnnattn=None)\n"
        "from onnx_generation import OnnxSeq2Seq\n"
        "model = OnnxSeq2Seq(sys.argv[1])\n"
        "print(json.dumps(model.generate([[3, 4, 6]], max_new_tokens=9, num_beams=2).sequences.tolist()))\n"
    )
    shutil.copy(onnx_generation.__file__, tmp_path)
    command = [sys.executable, script, folder_of(QUICK[0])]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    expected = model_of(QUICK[0]).generate(torch.tensor([[3, 4, 6]]), max_new_tokens=9, num_beams=2)
    assert json.loads(run.stdout) == expected.tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"input_ids": [3, 4]}, r"input_ids must be \(rows, length\) .* got \(2,\)"),
        ({"input_ids": np.zeros((2, 0))}, r"at least one of each, got \(2, 0\)"),
        ({"attention_mask": [[1]]}, r"attention_mask must have the shape of input_ids \(1, 2\), got \(1, 1\)"),
        ({"input_ids": [[3] * 65]}, r"source length must be at least 1, at most 64, got 65"),
        ({"max_new_tokens": 0}, r"max_new_tokens must be at least 1, at most 64, got 0"),
        ({"max_new_tokens": 65}, r"max_new_tokens must be at least 1, at most 64, got 65"),
        ({"num_beams": 0}, r"num_return_sequences must be from 1 to num_beams \(0\), got 1"),
        ({"num_beams": 2, "num_return_sequences": 3}, r"from 1 to num_beams \(2\), got 3"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    model = OnnxSeq2Seq(folder_of(QUICK[0]), threads=1)
    with pytest.raises(ValueError, match=message):
        model.generate(**{"input_ids": [[3, 4]], "max_new_tokens": 3, **given})


def test_missing_files_are_named(tmp_path):
    with pytest.raises(OSError, match=r"graphs\.json"):
        OnnxSeq2Seq(tmp_path)
    (tmp_path / "graphs.json").write_bytes((folder_of(QUICK[0]) / "graphs.json").read_bytes())
    with pytest.raises(OSError, match=r"no file named encoder\.onnx"):
        OnnxSeq2Seq(tmp_path)


def test_a_missing_runtime_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        OnnxSeq2Seq(tmp_path)


def test_a_search_keeps_the_best_that_ended():
    """By hand: two beams, three tokens, of which 2 ends."""
    search = BeamSearch((1, 2, 3), eos=[2], filler=0, length_penalty=0.0, early_stopping=False)
    first = np.log(np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], dtype=np.float32))
    origins, tokens = search.advance(first)
    assert (origins.tolist(), tokens.tolist()) == ([0, 0], [0, 1])
    second = np.log(np.array([[0.1, 0.1, 0.8], [0.6, 0.3, 0.1]], dtype=np.float32))
    origins, tokens = search.advance(second)  # 0 2 ends with 0.4; 1 0 has 0.18, 1 1 has 0.09
    assert (origins.tolist(), tokens.tolist()) == ([1, 1], [0, 1])
    assert not search.is_over
    search.advance(np.log(np.full((2, 3), 1 / 3, dtype=np.float32)))
    assert search.is_over
    sequences, scores = search.best(2)
    assert sequences[0].tolist() == [0, 2, 0]
    np.testing.assert_allclose(np.exp(scores), [0.4, 0.06], rtol=1e-5)


def test_log_softmax_and_top_are_those_of_torch():
    values = torch.randn(3, 20) * 50
    np.testing.assert_allclose(log_softmax(values.numpy()), values.log_softmax(-1).numpy(), rtol=1e-5, atol=1e-5)
    expected = values.topk(6)
    found, places = top(values.numpy(), 6)
    assert (found.tolist(), places.tolist()) == (expected.values.tolist(), expected.indices.tolist())
