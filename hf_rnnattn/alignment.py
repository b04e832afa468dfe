"""Alignments out of ``generate()``: which source token the model looked at for each token that it produced."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from hf_rnnattn.model.alignment_rnnattn import (
    Alignment,
    alignments_from_generate,
    attention_weights,
    cross_attentions_from_generate,
    eager_attention,
)

__all__ = [
    "Alignment",
    "align",
    "alignments_from_generate",
    "attention_weights",
    "cross_attentions_from_generate",
    "eager_attention",
]


def align(
    model: PreTrainedModel,
    tokenizer: Any,
    source: str | Sequence[str] | Mapping[str, torch.Tensor],
    *,
    layer: int | None = -1,
    head: int | None = None,
    **generate_kwargs: Any,
) -> list[Alignment]:
    """Generate from the source and return the alignment of each produced sequence to it.

    For this call the model runs eager attention, the one that returns its weights; afterwards it is as before.

        >>> for alignment in align(model, tokenizer, "a sentence", num_beams=4, max_new_tokens=40):
        ...     print(alignment.target_tokens, alignment.best())

    Args:
        model: an encoder-decoder with attention to its encoder: of this package or of transformers.
        tokenizer: reads the source and names the tokens; None if ``source`` holds tensors.
        source: one text, several, or what the tokenizer made of them (``input_ids`` and ``attention_mask``, (B, S)).
        layer: index among the layers that attend to the encoder, or None for the mean of all.
        head: index of a head, or None for the mean of all.
        generate_kwargs: as ``generate`` takes them.

    Returns:
        One alignment a source, in order; with ``num_return_sequences`` n, n in a row for each.

    Raises:
        ValueError: the model returns no attention weights, or has no such layer or head.
        TypeError: texts were given without a tokenizer.
    """
    if isinstance(source, Mapping):
        inputs = dict(source)
    elif tokenizer is None:
        raise TypeError("tokenizer is None, so source must hold input_ids; got text")
    else:
        texts = [source] if isinstance(source, str) else list(source)
        inputs = dict(tokenizer(texts, padding=True, return_tensors="pt"))
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    inputs = {name: value.to(model.device) for name, value in inputs.items()}
    asked = {**generate_kwargs, "return_dict_in_generate": True, "output_attentions": True}
    with eager_attention(model):
        output = model.generate(**inputs, **asked)
    return alignments_from_generate(
        output,
        inputs["input_ids"],
        inputs.get("attention_mask"),
        tokenizer,
        eos_token_id=_setting(model, generate_kwargs, "eos_token_id"),
        pad_token_id=_setting(model, generate_kwargs, "pad_token_id"),
        layer=layer,
        head=head,
    )


def _setting(model: PreTrainedModel, generate_kwargs: dict[str, Any], name: str) -> Any:
    given: GenerationConfig | None = generate_kwargs.get("generation_config")
    for value in (generate_kwargs.get(name), getattr(given, name, None), getattr(model.generation_config, name)):
        if value is not None:
            return value
    return None
