"""Adapters, 8-bit weights and weights on the disk work for the models that are no encoder-decoders too."""

import copy
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torchao.quantization import Int8Tensor, Int8WeightOnlyConfig
from transformers import TorchAoConfig

import hf_rnnattn  # noqa: F401  (registers the family)
from model_zoo import ENCODER_MIXERS, tiny_config

IDS = torch.tensor([[5, 3, 9, 7, 11, 4], [8, 6, 10, 3, 0, 0]])
MASK = IDS.ne(0).long()
# auto class -> PEFT's name of the task, labels, and the module that is trained as a whole
TASKS: dict[str, tuple[str, dict[str, Tensor], str | None]] = {
    "AutoModelForCausalLM": ("CAUSAL_LM", {"labels": IDS}, None),
    "AutoModelForMaskedLM": ("FEATURE_EXTRACTION", {"labels": IDS}, None),
    "AutoModelForSequenceClassification": ("SEQ_CLS", {"labels": torch.tensor([1, 2])}, "classifier"),
    "AutoModelForTokenClassification": ("TOKEN_CLS", {"labels": IDS % 3}, "classifier"),
    "AutoModelForQuestionAnswering": (
        "QUESTION_ANS",
        {"start_positions": torch.tensor([1, 0]), "end_positions": torch.tensor([3, 2])},
        "qa_outputs",
    ),
}
LAYERS = [*ENCODER_MIXERS, "gru+full_attention"]  # every mixer that reads no encoder


def built(auto: str) -> Any:
    causal = auto == "AutoModelForCausalLM"
    sides = {"decoder_mixers": LAYERS} if causal else {"encoder_mixers": LAYERS}
    model = getattr(transformers, auto).from_config(tiny_config(num_labels=3, init_std=0.5, **sides))
    return model.double().eval()


def load(auto: str, folder: Any, **options: Any) -> Any:
    return getattr(transformers, auto).from_pretrained(folder, **options)


def outputs(model: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        found = model(input_ids=IDS, attention_mask=MASK)
    return {name: value for name, value in found.items() if name.endswith("logits")}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 1e-12) -> None:
    assert found.keys() == expected.keys() != set()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0.0, atol=atol)


@pytest.mark.parametrize("auto", TASKS)
def test_adapters_learn_and_merge(auto):
    task, labels, whole = TASKS[auto]
    model = built(auto)
    # Where PEFT adds the head by itself, its "all-linear" means the head too, and then it fails, as for BERT.
    names = (
        ["input_to_gates", "state_to_gates", "read_to_gates", "q_proj", "fc1"]
        if whole and task != "SEQ_CLS"
        else "all-linear"
    )
    wanted = LoraConfig(task_type=task, target_modules=names, r=2, init_lora_weights=False)
    with_adapters = get_peft_model(copy.deepcopy(model), wanted).double()
    with_adapters.train()(input_ids=IDS, attention_mask=MASK, **labels).loss.backward()
    learning = {name for name, weight in with_adapters.named_parameters() if weight.grad is not None}
    assert learning == {name for name, weight in with_adapters.named_parameters() if weight.requires_grad}
    cells = {name for name, _ in model.named_modules() if name.endswith("_to_gates")}
    assert {f"base_model.model.{cell}.lora_B.default.weight" for cell in cells} <= learning
    assert whole is None or any(f".{whole}.modules_to_save" in name for name in learning)
    found = outputs(with_adapters.eval())
    assert all((value - outputs(model)[name]).abs().max() > 0.01 for name, value in found.items())
    assert_same(outputs(with_adapters.merge_and_unload()), found)


@pytest.mark.parametrize("auto", TASKS)
def test_loading_quantises_the_cells(auto, tmp_path):
    model = built(auto)
    model.save_pretrained(tmp_path)
    config = TorchAoConfig(Int8WeightOnlyConfig())
    small = load(auto, tmp_path, quantization_config=config, dtype=torch.float32).eval()
    layers = {name: module for name, module in small.named_modules() if isinstance(module, nn.Linear)}
    cells = [module for name, module in layers.items() if name.endswith("_to_gates")]
    assert cells
    assert all(isinstance(cell.weight, Int8Tensor) for cell in cells)
    written_out = copy.deepcopy(model)
    with torch.no_grad():
        for name, module in layers.items():
            if isinstance(module.weight, Int8Tensor):
                written_out.get_parameter(f"{name}.weight").copy_(module.weight.dequantize())
    found = {name: value.double() for name, value in outputs(small).items()}
    assert_same(found, outputs(written_out), atol=1e-3)


@pytest.mark.parametrize("auto", TASKS)
def test_weights_on_the_disk_compute_the_same(auto, tmp_path):
    model = built(auto)
    model.save_pretrained(tmp_path)
    spread = load(auto, tmp_path, dtype="auto", device_map={"": "disk"}, offload_folder=tmp_path / "offloaded")
    assert {weight.device.type for weight in spread.parameters()} == {"meta"}
    assert_same(outputs(spread.eval()), outputs(model))
