"""Alignments: which source token the model looked at for each token that it produced, or that it is given."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from hf_rnnattn.model.alignment_rnnattn import (
    Alignment,
    alignments_from_generate,
    attention_weights,
    build_alignment,
    choose_attention,
    cross_attentions_from_generate,
    eager_attention,
)

__all__ = [
    "Alignment",
    "align",
    "align_pairs",
    "alignments_from_generate",
    "attention_weights",
    "cross_attentions_from_generate",
    "eager_attention",
    "guided_head",
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


def align_pairs(
    model: PreTrainedModel,
    tokenizer: Any,
    sources: Sequence[str],
    targets: Sequence[str],
    *,
    layer: int | None = -1,
    head: int | None = None,
) -> list[Alignment]:
    """Align targets that are given to their sources, in one forward pass.

    Args:
        model: as for ``align``.
        tokenizer: reads both sides (``text_target=``).
        sources, targets: texts, as many of one as of the other.
        layer: index among the layers that attend to the encoder, or None for the mean of all.
        head: index of a head, or None for the mean of all.

    Returns:
        One alignment a pair, whose target ends with the end-of-sequence token if the tokenizer writes one.

    Raises:
        ValueError: there are more of one side than of the other; the model returns no attention weights, or has no
            such layer or head; a text has no tokens.
    """
    if len(sources) != len(targets):
        raise ValueError(f"sources and targets must be as many, got {len(sources)} and {len(targets)}")
    padded = {"padding": True, "padding_side": "right", "return_token_type_ids": False, "return_tensors": "pt"}
    source = tokenizer(list(sources), **padded).to(model.device)
    target = tokenizer(text_target=list(targets), **padded).to(model.device)
    for side, batch in (("sources", source), ("targets", target)):
        if not batch["attention_mask"].any(dim=1).all():
            raise ValueError(f"{side} has a text without tokens")
    with eager_attention(model), torch.inference_mode():
        output = model(
            input_ids=source["input_ids"],
            attention_mask=source["attention_mask"],
            decoder_input_ids=model.prepare_decoder_input_ids_from_labels(labels=target["input_ids"]),
            output_attentions=True,
            use_cache=False,
        )
    if not output.cross_attentions:
        raise ValueError("the model returns no cross_attentions: none of its layers attends to the encoder")
    weights = choose_attention(output.cross_attentions, layer, head)  # (B, T, S)
    return [
        build_alignment(weights[n], source["input_ids"][n], source["attention_mask"][n], ids[real].tolist(), tokenizer)
        for n, (ids, real) in enumerate(zip(target["input_ids"], target["attention_mask"].bool(), strict=True))
    ]


def guided_head(model: PreTrainedModel) -> tuple[int, int | None]:
    """The layer and head that were trained on alignments, the first in ``generation_config.alignment_heads``.

    Where there is none: the last layer, and the mean of its heads.
    """
    heads = getattr(model.generation_config, "alignment_heads", None)
    return (int(heads[0][0]), int(heads[0][1])) if heads else (-1, None)


def _setting(model: PreTrainedModel, generate_kwargs: dict[str, Any], name: str) -> Any:
    given: GenerationConfig | None = generate_kwargs.get("generation_config")
    for value in (generate_kwargs.get(name), getattr(given, name, None), getattr(model.generation_config, name)):
        if value is not None:
            return value
    return None
