"""The multipliers with which intgemm turns activations into 8 bits, measured while a model translates samples."""

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .marian_checkpoint import ALPHA
from .marian_names import DECODER_TABLE, SHARED, Weight

SPREAD = 1.1  # standard deviations above the mean that are not cut: Bergamot's
PICKED = "none"  # what Marian calls the output matrix once a shortlist has picked its rows

Largest = dict[str, list[float]]


def measure_alphas(model: Any, tokenizer: Any, sentences: Iterable[str], table: list[Weight]) -> dict[str, Any]:
    """For each matrix of Marian the multiplier of what is multiplied with it, ``…_QuantMultA`` (1, 1).

        alpha = 127 / (mean + 1.1 std) of the largest absolute values of its inputs

    One value a product: of the whole sentence in the encoder, of a token in the decoder. A sentence is translated at a
    time, as the model's generation config says.

    Args:
        model: of the form that ``model_from_marian`` makes, with a tied output matrix.
        tokenizer: its own.
        sentences: typical sources, hundreds of them; blank ones are passed over.
        table: the model's weights and Marian's names of them.

    Raises:
        ValueError: there is no sentence, or an input that is always zero.
    """
    largest: Largest = {}
    matrices = {weight.target.removesuffix(".weight"): weight.sources for weight in table if weight.form == "matrix"}
    shared = model.config.share_encoder_decoder_embeddings
    matrices["lm_head"] = (SHARED, PICKED) if shared else (DECODER_TABLE,)
    with ExitStack() as hooks, torch.inference_mode():
        for name in matrices:
            hook = model.get_submodule(name).register_forward_pre_hook(partial(_note, largest.setdefault(name, [])))
            hooks.callback(hook.remove)
        for sentence in sentences:
            if sentence.strip():
                source = tokenizer(sentence, return_token_type_ids=False, return_tensors="pt")
                model.generate(**source.to(model.device))
    return {
        f"{source}{ALPHA}": np.full((1, 1), _alpha(largest[name], name), np.float32)
        for name, sources in matrices.items()
        for source in sources
    }


def _note(values: list[float], _: Any, inputs: tuple[Tensor, ...]) -> None:
    values.append(inputs[0].abs().max().item())


def _alpha(values: list[float], name: str) -> float:
    if not values:
        raise ValueError("alphas need at least one sentence that is not blank")
    limit = float(np.mean(values) + SPREAD * np.std(values))
    if not limit > 0:
        raise ValueError(f"the inputs of {name} are all 0: they have no multiplier")
    return 127.0 / limit
