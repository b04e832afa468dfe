"""Adapters of PEFT reach every linear layer of every cell: they train, merge, save, load and generate."""

import copy
import re
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from datasets import Dataset
from packaging.version import Version
from peft import (
    AutoPeftModelForSeq2SeqLM,
    IA3Config,
    LoHaConfig,
    LoraConfig,
    OFTConfig,
    PeftModel,
    TaskType,
    get_peft_model,
)
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

from checkpointing import checkpoint_activations
from hf_rnnattn.model import plain_linear
from hf_rnnattn.seq2seq_trainer import SequenceTrainer
from lively_models import DECODERS, EXACT, assert_varied, generate, make_lively, run, sources, targets
from model_zoo import DECODER_MIXERS, MEMORY_READERS, NEEDS
from tiny_seq2seq import character_tokenizer, tiny_model

GATES = ["input_to_gates", "state_to_gates", "context_to_gates"]
SEARCHES = {"greedy": {}, "beams": {"num_beams": 3}, "prompt lookup": {"prompt_lookup_num_tokens": 2}}


def lora(**fields: Any) -> LoraConfig:
    """Adapters that change what the model computes: the usual ones begin as no change."""
    defaults = {"task_type": TaskType.SEQ_2_SEQ_LM, "target_modules": "all-linear", "r": 2, "lora_alpha": 4}
    return LoraConfig(**{**defaults, "init_lora_weights": False, **fields})


def endless(name: str, **fields: Any) -> Any:
    return make_lively(eos_token_id=None, **{**DECODERS[name], **fields})


def adapted(model: nn.Module, **fields: Any) -> PeftModel:
    """A copy of a float64 model with adapters, in evaluation mode."""
    return get_peft_model(copy.deepcopy(model), lora(**fields)).double().eval()


def logits(model: nn.Module) -> Tensor:
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    return run(model, **sources(base), decoder_input_ids=targets(base)).logits


def gradients(model: PeftModel) -> dict[str, Tensor]:
    base = model.get_base_model()
    torch.manual_seed(0)  # hard attention draws what it reads, and its baseline moves
    buffers = {name: buffer.clone() for name, buffer in base.named_buffers()}
    model.train().zero_grad()
    model(**sources(base), labels=targets(base)).loss.backward()
    base.load_state_dict(buffers, strict=False)
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def names_of(model: nn.Module, kind: str) -> set[str]:
    """Linear layers by name, or those with an adapter."""
    adapters = {name for name, module in model.named_modules() if hasattr(module, "lora_A")}
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return adapters if kind == "adapted" else {name for name in linear if "lora_" not in name}


@pytest.mark.parametrize("wanted", ["all-linear", GATES], ids=["all", "gates"])
@pytest.mark.parametrize("name", DECODERS)
def test_every_adapted_layer_learns_and_no_other_weight(name, wanted):
    """A cell that read its weights past the adapters would leave these without a gradient."""
    model = endless(name)
    linear = names_of(model, "linear") - {"lm_head"}
    expected = linear if wanted == "all-linear" else {layer for layer in linear if layer.split(".")[-1] in GATES}
    with_adapters = adapted(model, target_modules=wanted)
    assert names_of(with_adapters.get_base_model(), "adapted") == expected
    learning = gradients(with_adapters)
    assert {name.partition(".lora_")[0] for name in learning} == {f"base_model.model.{layer}" for layer in expected}
    assert len(learning) == 2 * len(expected)
    for weight, gradient in learning.items():
        assert gradient.abs().max() > 0, weight


@pytest.mark.parametrize("name", DECODERS)
def test_merged_adapters_compute_and_generate_what_the_adapters_do(name):
    model = endless(name)
    with_adapters = adapted(model)
    merged = copy.deepcopy(with_adapters).merge_and_unload()
    assert type(merged) is type(model)
    assert not names_of(merged, "adapted")
    torch.testing.assert_close(logits(merged), logits(with_adapters), **EXACT)
    assert (logits(merged) - logits(model)).abs().max() > 0.1
    for options in SEARCHES.values():
        rows = 1 if "prompt_lookup_num_tokens" in options else 3  # assisted decoding takes one row
        source = {key: value[:rows] for key, value in sources(model).items()}
        tokens = generate(with_adapters, no_repeat_ngram_size=2, **source, **options)
        assert torch.equal(tokens, generate(merged, no_repeat_ngram_size=2, **source, **options))
        assert_varied(tokens, least=3)


@pytest.mark.parametrize("name", DECODERS)
def test_without_its_adapters_a_model_is_what_it_was(name):
    model = endless(name)
    with_adapters = adapted(model)
    with with_adapters.disable_adapter():
        torch.testing.assert_close(logits(with_adapters), logits(model), **EXACT)
    torch.testing.assert_close(logits(with_adapters.unload()), logits(model), **EXACT)


@pytest.mark.parametrize("name", DECODER_MIXERS)
def test_the_fast_product_of_decoding_sees_the_adapters(name, monkeypatch):
    """It is for float32 and large weights: here weights of any size are large."""
    monkeypatch.setattr(plain_linear, "SMALLEST", 0)
    with_adapters = adapted(endless(name))
    exact = logits(with_adapters)
    torch.testing.assert_close(logits(with_adapters.float()).double(), exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", DECODERS)
def test_gradient_checkpointing_changes_no_gradient_of_an_adapter(name):
    with_adapters = adapted(endless(name))
    plain = gradients(with_adapters)
    checkpoint_activations(with_adapters)
    with_adapters.enable_input_require_grads()
    assert with_adapters.get_base_model().model.encoder.gradient_checkpointing
    for weight, gradient in gradients(with_adapters).items():
        torch.testing.assert_close(gradient, plain[weight], **EXACT)


@pytest.mark.parametrize("name", ["mixed", "additive", "widths"])
def test_saved_adapters_load_in_every_way(name, tmp_path):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    endless(name).save_pretrained(base)

    def load(folder: Path) -> Any:
        return AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float64)

    with_adapters = get_peft_model(load(base), lora()).eval()
    with_adapters.save_pretrained(adapter)
    assert {path.name for path in adapter.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    assert not list(adapter.glob("*.bin"))
    extended = load(base)
    extended.load_adapter(adapter)
    loaded = [
        PeftModel.from_pretrained(load(base), adapter),
        AutoPeftModelForSeq2SeqLM.from_pretrained(adapter, dtype=torch.float64),
        load(adapter),  # transformers finds the base by the adapter's config
        extended,
    ]
    for model in loaded:
        torch.testing.assert_close(logits(model.eval()), logits(with_adapters), **EXACT)


@pytest.mark.parametrize("name", ["mixed", "gru+full_attention"])
def test_adapters_of_transformers_own_kind_can_be_added_switched_and_saved(name, tmp_path):
    model = endless(name)
    plain = logits(model)
    extended = copy.deepcopy(model)
    try:
        extended.add_adapter(lora(), adapter_name="one")
    except ValueError as error:  # transformers may want a PEFT that is not released yet
        needed = re.search(r"PEFT .* not compatible.* >= ([\d.]+)", str(error))
        assert needed is not None
        assert Version(needed[1]) > Version(peft.__version__)
        return
    extended.add_adapter(lora(target_modules=GATES), adapter_name="two")
    extended.double()
    outputs = {}
    for adapter in ("one", "two"):
        extended.set_adapter(adapter)
        outputs[adapter] = logits(extended)
    assert (outputs["one"] - outputs["two"]).abs().max() > 0.1
    extended.save_pretrained(tmp_path)  # saves the active adapter, not the model
    assert (tmp_path / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "model.safetensors").exists()
    extended.disable_adapters()
    torch.testing.assert_close(logits(extended), plain, **EXACT)
    model.load_adapter(tmp_path)
    torch.testing.assert_close(logits(model), outputs["two"], **EXACT)


WHOLE = {
    "lm_head": {"lm_head"},
    "word_embeddings": {f"model.{side}.embeddings.word_embeddings" for side in ("encoder", "decoder")},
}


@pytest.mark.parametrize("module", WHOLE)
def test_whole_modules_can_be_trained_and_saved_beside_the_adapters(module, tmp_path):
    model = endless("mixed", share_encoder_decoder_embeddings=False)
    with_adapters = adapted(model, modules_to_save=[module])
    whole = {name for name in gradients(with_adapters) if "lora_" not in name}
    assert {name.partition(".modules_to_save")[0] for name in whole} == {
        f"base_model.model.{m}" for m in WHOLE[module]
    }
    with torch.no_grad():
        for name, weight in with_adapters.named_parameters():
            if name in whole:
                weight.add_(0.1 * torch.randn_like(weight))
    with_adapters.eval().save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(copy.deepcopy(model), tmp_path).eval()
    torch.testing.assert_close(logits(again), logits(with_adapters), **EXACT)


OTHERS = {
    "DoRA": lora(use_dora=True),
    "LoHa": LoHaConfig(task_type=TaskType.SEQ_2_SEQ_LM, target_modules="all-linear", r=2, init_weights=False),
    "OFT": OFTConfig(task_type=TaskType.SEQ_2_SEQ_LM, target_modules=GATES, r=2, oft_block_size=0, init_weights=False),
    "IA3": IA3Config(
        task_type=TaskType.SEQ_2_SEQ_LM,
        target_modules=[*GATES, "fc2"],
        feedforward_modules=["fc2"],
        init_ia3_weights=False,
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["mixed", "ssru+elman"])
def test_other_kinds_of_adapters_learn_and_merge_as_well(name, kind):
    model = endless(name)
    with_adapters = get_peft_model(copy.deepcopy(model), OTHERS[kind]).double()
    wanted = {weight for weight, value in with_adapters.named_parameters() if value.requires_grad}
    assert wanted
    assert gradients(with_adapters).keys() == wanted
    exact = logits(with_adapters.eval())
    assert (exact - logits(model)).abs().max() > 0.1
    torch.testing.assert_close(logits(with_adapters.merge_and_unload()), exact, rtol=0.0, atol=1e-6)


TRAINERS = {"Seq2SeqTrainer": Seq2SeqTrainer, "SequenceTrainer": SequenceTrainer}
WORDS = ["hello", "yellow", "low", "hall", "all", "whole"]


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("mixer", DECODER_MIXERS)
def test_training_changes_the_adapters_alone_and_learns(trainer, mixer, tmp_path):
    tokenizer = character_tokenizer()
    rows = tokenizer(WORDS, return_token_type_ids=False) | {"labels": tokenizer(WORDS)["input_ids"]}
    encoder = "gru" if mixer in MEMORY_READERS else mixer
    layers = {"encoder_mixers": [encoder], "decoder_mixers": [mixer, mixer], "dropout": 0.0, **NEEDS.get(mixer, {})}
    model = get_peft_model(tiny_model("rnnattn", **layers), lora(init_lora_weights=True, r=4))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    arguments = Seq2SeqTrainingArguments(
        str(tmp_path), max_steps=12, per_device_train_batch_size=3, gradient_accumulation_steps=2, learning_rate=0.03,
        predict_with_generate=True, report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    run_of = TRAINERS[trainer](
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(dict(rows)),
        eval_dataset=Dataset.from_dict(dict(rows)),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
    )
    first = run_of.evaluate(max_new_tokens=8)["eval_loss"]
    run_of.train()
    assert run_of.evaluate(max_new_tokens=8)["eval_loss"] < 0.8 * first
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight.cpu(), before[name])}
    assert changed == {name for name in before if "lora_" in name}
    run_of.save_model()
    assert (tmp_path / "adapter_model.safetensors").is_file()
