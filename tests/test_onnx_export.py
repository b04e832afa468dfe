"""The folder of ONNX files: what is in it, what its description says, and that a failure leaves no half of it."""

import importlib.util
import json

import onnx
import pytest

from exported_models import END, EXPORTED, folder_of, model_of
from hf_rnnattn import onnx_export
from hf_rnnattn.onnx_export import export_onnx
from model_zoo import tiny_model

FILES = {"encoder.onnx", "decoder_step.onnx", "graphs.json", "config.json", "generation_config.json"}
QUICK = "composite"


@pytest.fixture(scope="module")
def folder():
    return folder_of(QUICK)


def test_the_folder_holds_graphs_description_and_configs(folder):
    assert {path.name for path in folder.iterdir()} == FILES
    for name in ("encoder.onnx", "decoder_step.onnx"):
        onnx.checker.check_model(folder / name, full_check=True)


def test_the_description_is_that_of_the_graphs(folder):
    description = json.loads((folder / "graphs.json").read_text())
    for file in ("encoder.onnx", "decoder_step.onnx"):
        graph = onnx.load(folder / file).graph
        for side, values in (("inputs", graph.input), ("outputs", graph.output)):
            specs = description[file][side]
            assert [spec["name"] for spec in specs] == [value.name for value in values]
            for spec, value in zip(specs, values, strict=True):
                kind = value.type.tensor_type
                assert (
                    spec["dtype"]
                    == {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT64: "int64"}[kind.elem_type]
                )
                fixed = [size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim]
                assert [size if isinstance(size, int) else None for size in spec["shape"]] == fixed


def test_the_description_names_states_ids_and_limits(folder):
    description = json.loads((folder / "graphs.json").read_text())
    names = ("0.h", "0.c", "keys", "values")
    assert description["states"] == {f"past.0.{name}": f"present.0.{name}" for name in names}
    step = {spec["name"]: spec["shape"] for spec in description["decoder_step.onnx"]["inputs"]}
    assert step == {
        "input_ids": ["batch", 1],
        "attention_mask": ["batch", "source"],
        "position_ids": ["batch", 1],
        "past.0.0.h": ["batch", 12],
        "past.0.0.c": ["batch", 12],
        "past.0.keys": ["batch", 2, "past", 6],
        "past.0.values": ["batch", 2, "past", 6],
        "cross.0.keys": ["batch", 2, "source", 6],
        "cross.0.values": ["batch", 2, "source", 6],
    }
    given = {spec["name"] for spec in description["encoder.onnx"]["outputs"]}
    assert step.keys() - given == {"input_ids", "attention_mask", "position_ids"}
    assert description["special_ids"] == {"pad": 0, "bos": 1, "eos": END, "decoder_start": 1}
    limit = model_of(QUICK).config.max_position_embeddings
    assert (description["max_source_length"], description["max_target_length"]) == (limit, limit)


def test_recurrence_over_the_source_is_a_loop_in_the_file(folder):
    operators = [node.op_type for node in onnx.load(folder / "encoder.onnx").graph.node]
    assert operators.count("Scan") == len(EXPORTED[QUICK]["encoder_mixers"])


def test_a_failure_leaves_the_folder_as_it_was(folder, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "graphs.json").write_text("{}")
    calls = []

    def full_disk(*arguments):
        calls.append(arguments)
        arguments[2].write_bytes(b"half")
        if len(calls) == 2:
            raise OSError("no space left on device")

    monkeypatch.setattr(onnx_export, "_save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        export_onnx(tiny_model(encoder_layers=0, encoder_mixers=[], decoder_mixers=["ssru"]), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {"graphs.json": "{}"}


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(ImportError, match=r"needs onnxscript: pip install 'hf-rnnattn\[export\]'"):
        export_onnx(tiny_model(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
