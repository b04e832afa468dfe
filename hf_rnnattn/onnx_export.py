"""Models as ONNX files, with a description of what goes in and out: for onnxruntime, without torch."""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from hf_rnnattn.export import Graphs, export_programs, max_length
from hf_rnnattn.exported_graphs import KEPT, Named, dynamic_axes
from hf_rnnattn.model.saving_rnnattn import replaced_at_once

ENCODER, STEP, DESCRIPTION = "encoder.onnx", "decoder_step.onnx", "graphs.json"


def export_onnx(model: Any, folder: str | os.PathLike[str], tokenizer: Any = None) -> None:
    """Writes a model as ``encoder.onnx``, ``decoder_step.onnx`` and ``graphs.json``, beside its configs and tokenizer.

    ``graphs.json`` names inputs, outputs and states with their shapes and dtypes, the special ids, and how long source
    and target may be: see docs/export.md. ``onnx_generation`` decodes from such a folder. An error leaves the folder
    as it was.

    Args:
        model: an ``RnnAttnForConditionalGeneration`` in float32; left as it was.
        folder: where the files go; made if it is not there.
        tokenizer: saved beside the graphs, if given.

    Raises:
        ImportError: the packages of the extra ``export`` are missing.
        TypeError, ValueError: the model cannot be exported, see ``export_programs``.
    """
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"exporting to ONNX needs {package}: pip install 'hf-rnnattn[export]'")
    graphs = export_programs(model)
    description = describe(model, graphs)
    with replaced_at_once(Path(folder)) as written:
        for file, graph in ((ENCODER, graphs.encoder), (STEP, graphs.decoder_step)):
            _save(graph.program, description[file], written / file)
        (written / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        model.config.save_pretrained(written)
        model.generation_config.save_pretrained(written)
        if tokenizer is not None:
            tokenizer.save_pretrained(written)


def describe(model: Any, graphs: Graphs) -> dict[str, Any]:
    """What ``graphs.json`` holds."""
    taken: Named = {}  # in the order of the program
    for name, given in graphs.decoder_step.inputs.items():
        taken |= given if isinstance(given, dict) else {name: given}
    generation = model.generation_config
    start = generation.decoder_start_token_id
    special = {
        "pad": generation.pad_token_id,
        "bos": generation.bos_token_id,
        "eos": generation.eos_token_id,
        "decoder_start": generation.bos_token_id if start is None else start,  # as generate() has it
    }
    return {
        ENCODER: {
            "inputs": _specs(graphs.encoder.inputs, step=False),
            "outputs": _specs(graphs.encoder.outputs, step=False),
        },
        STEP: {"inputs": _specs(taken, step=True), "outputs": _specs(graphs.decoder_step.outputs, step=True)},
        "states": {name: name.replace(*KEPT, 1) for name in taken if name.startswith(KEPT[0])},
        "special_ids": special,
        "max_source_length": max_length(model, "encoder"),
        "max_target_length": max_length(model, "decoder"),
    }


def _specs(tensors: Named, *, step: bool) -> list[dict[str, Any]]:
    """Name, dtype and shape of each; sizes that vary go by their names."""
    specs = []
    for name, tensor in tensors.items():
        axes = dynamic_axes(name, step=step)
        shape = [axes.get(axis, size) for axis, size in enumerate(tensor.shape)]
        specs.append({"name": name, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": shape})
    return specs


def _save(program: ExportedProgram, description: dict[str, Any], path: Path) -> None:
    names = {side: [spec["name"] for spec in description[side]] for side in ("inputs", "outputs")}
    with torch.no_grad():  # with gradients, torch would give its loops an output for the backward pass
        onnx_program = torch.onnx.export(
            program, input_names=names["inputs"], output_names=names["outputs"], dynamo=True, verbose=False
        )
    onnx_program.save(path)
