"""Parity of bit strings that are longer than any in training: the fused cell beside its relatives.

A language model reads bits and says after each whether it has read an odd number of ones so far. It is trained on
strings of 1 to 40 bits and asked about strings of up to 256: what it says after the last bit counts, 50 % is chance.
All models have about the same number of parameters in their layers.

    python benchmarks/learn_parity.py
"""

from collections.abc import Iterator
from typing import Any

import torch
from learning import Batch, Measured, run, train
from torch import Tensor

from hf_rnnattn import RnnAttnConfig, RnnAttnForCausalLM
from hf_rnnattn.preset_fields import BARE

PAD, BOS, EOS, ZERO, ONE = range(5)
LONGEST = 40  # bits of a string in training
LENGTHS = (40, 64, 128, 256)  # of the strings that are asked about
ASKED = 512  # strings of each length
BUDGET = {"steps": 600, "batch": 64, "learning_rate": 3e-3, "longest": LONGEST, "asked": ASKED}

ATTENTION: dict[str, Any] = {"hidden_size": 32, "decoder_ffn_dim": 128, "decoder_attention_heads": 4}
MODELS: dict[str, dict[str, Any]] = {
    "fused": {**BARE, "decoder_mixers": ["fused"], "hidden_size": 64, "decoder_attention_heads": 4},
    "elman": {**BARE, "decoder_mixers": ["elman"], "hidden_size": 156},
    "lstm": {**BARE, "decoder_mixers": ["lstm"], "hidden_size": 78},
    "transformer": {
        **ATTENTION,
        "decoder_mixers": ["full_attention"] * 4,
        "decoder_position_embedding": "sinusoidal",
    },
    "transformer without positions": {**ATTENTION, "decoder_mixers": ["full_attention"] * 4},
    "sliding attention": {**ATTENTION, "decoder_mixers": ["sliding_attention"] * 4, "attention_window": 16},
}


def build(name: str) -> Any:
    """The language model of this name, with random weights."""
    fields: dict[str, Any] = {"vocab_size": 5, "encoder_mixers": [], "cross_attention": "none", "dropout": 0.0}
    return RnnAttnForCausalLM(RnnAttnConfig(**fields, **MODELS[name], tie_word_embeddings=False))


def strings(count: int, length: int, generator: torch.Generator) -> Batch:
    """Random bits, and after each whether the number of ones so far is odd."""
    bits = torch.randint(0, 2, (count, length), generator=generator)
    return {"input_ids": ZERO + bits, "shift_labels": ZERO + bits.cumsum(1) % 2}


def batches(seed: int) -> Iterator[Batch]:
    """Strings to learn from, those of a batch of one length."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        length = int(torch.randint(1, LONGEST + 1, (), generator=generator))
        yield strings(int(BUDGET["batch"]), length, generator)


@torch.no_grad()
def accuracy(model: Any, length: int) -> float:
    """The share of strings of which the model knows the parity at their end, in percent."""
    asked = strings(ASKED, length, torch.Generator().manual_seed(10_000 + length))
    said: Tensor = model(input_ids=asked["input_ids"], logits_to_keep=1).logits[:, -1].argmax(-1)
    return round(100 * (said == asked["shift_labels"][:, -1]).double().mean().item(), 1)


def learn(seed: int) -> Measured:
    """What each model knows after the same training: its layers' parameters, and its accuracy by length."""
    measured: Measured = {}
    for name in MODELS:
        torch.manual_seed(seed)
        model = build(name)
        train(model, batches(seed), steps=int(BUDGET["steps"]), learning_rate=float(BUDGET["learning_rate"]))
        measured[name] = {
            "parameters": sum(parameter.numel() for parameter in model.model.decoder.layers.parameters()),
            "accuracy": {str(length): accuracy(model, length) for length in LENGTHS},
        }
    return measured


if __name__ == "__main__":
    run("parity", __doc__, learn, BUDGET)
