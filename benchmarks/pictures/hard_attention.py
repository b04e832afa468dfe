"""Which one symbol of a cipher was read for each of its substitutes."""

from pathlib import Path

import learn_hard_attention as cipher
import torch
from learning import train
from transformers import set_seed

from hf_rnnattn import RnnAttnForConditionalGeneration

from .drawing import Panel
from .looking import attention
from .pronouncing import kept

TAUGHT = {"reinforce": "taught by reward", "marginal": "as an exact sum"}
LENGTH = 8


def choosing(folder: Path) -> list[Panel]:
    """The positions that both kinds read; of the exact sum the weight of each."""
    panels = []
    for kind, title in TAUGHT.items():

        def make(kind: str = kind) -> RnnAttnForConditionalGeneration:
            set_seed(0)
            model = cipher.model_of(kind)
            given = cipher.batches(cipher.BUDGET["rows"], torch.Generator().manual_seed(0))
            train(model, given, steps=cipher.BUDGET["steps"], learning_rate=cipher.BUDGET["learning_rate"])
            return model

        model = kept(f"hard-attention-{kind}", folder, RnnAttnForConditionalGeneration, make)
        symbols = torch.arange(LENGTH) * 7 % cipher.BUDGET["symbols"]
        source = (cipher.FIRST + symbols)[None]
        written = model.generate(source, do_sample=False, min_new_tokens=LENGTH, max_new_tokens=LENGTH)[:, 1:]
        rows, columns = (_letters(ids) for ids in (written, source))
        weights = attention(model, {"input_ids": source, "labels": written})[0][0]
        panels.append(Panel(weights, rows, columns, title, "written", "read"))
    return panels


def _letters(ids: torch.Tensor) -> list[str]:
    return [chr(ord("a") + int(i) - cipher.FIRST) for i in ids[0]]
