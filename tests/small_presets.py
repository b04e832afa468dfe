"""Presets at small widths, and inputs for each kind of model."""

from typing import Any

import pytest
import torch

from hf_rnnattn.presets import PRESETS, preset_model
from model_zoo import batch

each_preset = pytest.mark.parametrize("name", PRESETS)
WRITERS = [name for name, preset in PRESETS.items() if preset.model == "RnnAttnForConditionalGeneration"]
VOCABULARY = 23


def small(name: str, **overrides: Any) -> Any:
    """The preset with its layers, at small widths and without dropout."""
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "attention_size": 12,
    }
    fields |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    fields |= {"memory_slots": 8, "memory_slot_size": 6}
    own = PRESETS[name].fields
    fields |= {f"{side}_ffn_dim": 24 for side in ("encoder", "decoder") if own.get(f"{side}_ffn_dim", 24)}
    if own.get("encoder_hidden_size", own.get("hidden_size")) != own.get("hidden_size"):
        fields["encoder_hidden_size"] = 32
    if own.get("embedding_size", own.get("hidden_size")) != own.get("hidden_size"):
        fields["embedding_size"] = 10
    torch.manual_seed(0)
    return preset_model(name, **{**fields, **overrides})


def inputs_of(model: Any) -> dict[str, torch.Tensor]:
    """Padded sources, and targets of what the model learns."""
    given = batch(model.config)
    kind = type(model).__name__
    source = {name: given[name] for name in ("input_ids", "attention_mask")}
    if model.config.encoder_pooling != "none":  # three sentences
        source["token_type_ids"] = torch.tensor([[2, 2, 2, 1, 1, 0, 0]]).expand(3, 7)
    if kind == "RnnAttnForConditionalGeneration":
        return {**source, "labels": given["decoder_input_ids"]}
    if kind == "RnnAttnForCausalLM":
        ids = given["decoder_input_ids"]
        written = {"input_ids": ids, "labels": ids}
        if not model.config.add_cross_attention:
            return written
        return {**written, "encoder_hidden_states": torch.randn(3, 7, model.config.hidden_size)}
    if kind == "RnnAttnForQuestionAnswering":
        return {**source, "start_positions": torch.tensor([1, 0, 4]), "end_positions": torch.tensor([2, 1, 5])}
    return {**source, "labels": torch.tensor([0, 1, 0])} if kind == "RnnAttnForSequenceClassification" else source
