"""Which source token a sequence-to-sequence model attended to for each token that it produced.

Everything here works for any encoder-decoder of transformers: it reads the output of ``generate``, not the model.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .transformers_versions import attention_implementation, parts_with_attention, restore_attention_implementation


@dataclass(frozen=True, eq=False)
class Alignment:
    """Attention of one produced sequence to its source.

    Only what is real is kept: no padding of the source, no padding of the target, not the tokens that the decoder was
    started with. The last target token is the end-of-sequence token where the model produced one.

    Attributes:
        weights: (T, S) float32 on the CPU; ``weights[t]`` is the attention with which target token ``t`` was
            predicted; a row sums to 1 unless a layer normalises otherwise.
        source_ids, target_ids: S and T token ids.
        source_tokens, target_tokens: S and T strings as the tokenizer names them; the ids if there was no tokenizer.
        source_special, target_special: S and T bools, true for special tokens (end of sequence, unknown, …).
    """

    weights: Tensor = field(repr=False)
    source_ids: list[int] = field(repr=False)
    target_ids: list[int] = field(repr=False)
    source_tokens: list[str]
    target_tokens: list[str]
    source_special: list[bool] = field(repr=False)
    target_special: list[bool] = field(repr=False)

    def pairs(self, threshold: float = 0.0) -> list[tuple[int, int, float]]:
        """Links (target index, source index, weight) whose weight is above ``threshold``, target by target."""
        return [
            (t, s, weight)
            for t, row in enumerate(self.weights.tolist())
            for s, weight in enumerate(row)
            if weight > threshold
        ]

    def best(self) -> list[tuple[int, int, float]]:
        """The strongest link of each target token, as (target index, source index, weight)."""
        weights, indices = self.weights.max(dim=1)
        return [(t, s, w) for t, (s, w) in enumerate(zip(indices.tolist(), weights.tolist(), strict=True))]


@contextmanager
def eager_attention(model: torch.nn.Module) -> Iterator[None]:
    """Switch the model to eager attention, the one that returns weights, and back to what it had, come what may.

    The switch is on the model's config: other threads that use the same model meanwhile run eager attention too.
    Models whose attention cannot be switched are left as they are.
    """
    parts = parts_with_attention(model)
    before = [(part.config, attention_implementation(part.config)) for part in parts]
    try:
        for part in parts:  # each by itself: they may have configs of their own, T5's encoder and decoder do
            part.set_attn_implementation("eager")
        yield
    finally:
        # From the whole to its parts: setting a config also sets the configs inside it.
        for config, name in before:
            restore_attention_implementation(config, name)


def cross_attentions_from_generate(output: Any) -> tuple[Tensor, ...]:
    """Cross-attention of the returned sequences, beams resolved.

    Args:
        output: what ``generate(..., return_dict_in_generate=True, output_attentions=True)`` of an encoder-decoder with
            eager attention returned, by greedy search, sampling or beam search.

    Returns:
        One tensor (N, H, T, S) per layer that attends to the encoder: N returned sequences, H heads, T produced tokens
        (those that the decoder was started with are not counted), S source positions with their padding. In a beam
        search, rows after a hypothesis ended are 0; otherwise they are what the model computed for padding.

    Raises:
        ValueError: the output holds no attention weights.
    """
    steps = _attention_steps(output)
    beams = getattr(output, "beam_indices", None)
    if beams is None:
        # The last row predicts the next token: a first step over several start tokens returns one row for each.
        return tuple(
            torch.stack([weights[:, :, -1] for weights in layer], dim=2) for layer in zip(*steps, strict=True)
        )
    count = beams.shape[1]
    alive = (beams >= 0).float()  # (N, T); -1 marks the steps after a hypothesis ended
    rows = beams.clamp(min=0).long()  # (N, T): the row of the model's batch that the hypothesis passed through
    layers = []
    for layer in zip(*steps[:count], strict=True):
        chosen = [weights[:, :, -1].index_select(0, rows[:, t]) for t, weights in enumerate(layer)]  # T x (N, H, S)
        layers.append(torch.stack(chosen, dim=2) * alive[:, None, :, None].to(chosen[0].dtype))
    return tuple(layers)


def _attention_steps(output: Any) -> Sequence[Sequence[Tensor]]:
    steps: Sequence[Sequence[Tensor]] | None = getattr(output, "cross_attentions", None)
    if not steps:
        raise ValueError(
            "cross_attentions is missing in the output of generate: call it on an encoder-decoder with "
            "return_dict_in_generate=True and output_attentions=True"
        )
    if steps[0] is None or len(steps[0]) == 0 or any(weights is None for weights in steps[0]):
        raise ValueError(
            "cross_attentions holds no weights: the model's attention implementation must be 'eager', and at least "
            "one of its layers must attend to the encoder"
        )
    return steps


def produced_lengths(output: Any, eos_token_ids: Sequence[int], pad_token_id: int | None) -> list[int]:
    """How many tokens the model produced for each returned sequence, its end-of-sequence token counted.

    Without beams the output does not say where a sequence ended: it is the first end-of-sequence token, and else
    the padding at the end is cut.
    """
    beams = getattr(output, "beam_indices", None)
    if beams is not None:
        return [int(n) for n in (beams >= 0).sum(dim=1).tolist()]
    lengths = []
    for ids in output.sequences[:, -len(_attention_steps(output)) :].tolist():
        ends = [t for t, token in enumerate(ids) if token in eos_token_ids]
        length = ends[0] + 1 if ends else len(ids)
        while not ends and length and ids[length - 1] == pad_token_id:
            length -= 1
        lengths.append(length)
    return lengths


def attention_weights(output: Any, layer: int | None = -1, head: int | None = None) -> Tensor:
    """Cross-attention (N, T, S) of one layer (None: their mean) and one head (None: their mean), float32.

    Raises:
        ValueError: there is no such layer or head.
    """
    return choose_attention(cross_attentions_from_generate(output), layer, head)


def choose_attention(layers: Sequence[Tensor], layer: int | None, head: int | None) -> Tensor:
    """(N, T, S) float32 of several (N, H, T, S): of one layer (None: their mean) and one head (None: their mean).

    Raises:
        ValueError: there is no such layer or head.
    """
    if layer is not None:
        layers = (layers[_checked("layer", layer, len(layers))],)
    if head is not None:
        layers = tuple(weights[:, [_checked("head", head, weights.shape[1])]] for weights in layers)
    return torch.stack([weights.float().mean(dim=1) for weights in layers]).mean(dim=0)


def _checked(name: str, index: int, size: int) -> int:
    if not -size <= index < size:
        raise ValueError(f"{name} must be in [{-size}, {size}), got {index}")
    return index


def build_alignment(
    weights: Tensor, source_ids: Tensor, source_mask: Tensor, target_ids: list[int], tokenizer: Any = None
) -> Alignment:
    """Cut the padding and name the tokens.

    Args:
        weights: (T', S') with T' at least the number of target ids.
        source_ids: (S',).
        source_mask: (S',), non-zero for real tokens.
        target_ids: the T produced ids.
        tokenizer: names the tokens and knows which are special, those of the target in its ``as_target_tokenizer()``
            context if it has one.

    Raises:
        ValueError: the weights have another number of source positions than the source.
    """
    if weights.shape[-1] != source_ids.shape[-1]:
        raise ValueError(
            f"weights have {weights.shape[-1]} source positions, source_ids has {source_ids.shape[-1]}: this model's "
            "encoder changes the length of its input"
        )
    real = source_mask.bool().cpu()
    sources = source_ids.cpu()[real].tolist()
    source_tokens, source_special = _names(sources, tokenizer)
    with target_side(tokenizer):
        target_tokens, target_special = _names(target_ids, tokenizer)
    return Alignment(
        weights=weights.detach().float().cpu()[: len(target_ids)][:, real],
        source_ids=sources,
        target_ids=target_ids,
        source_tokens=source_tokens,
        target_tokens=target_tokens,
        source_special=source_special,
        target_special=target_special,
    )


def target_side(tokenizer: Any) -> AbstractContextManager[None]:
    """Context in which a tokenizer with two vocabularies speaks of the target's; no change for any other."""
    switch = getattr(tokenizer, "as_target_tokenizer", nullcontext)
    context: AbstractContextManager[None] = switch()
    return context


def _names(ids: list[int], tokenizer: Any) -> tuple[list[str], list[bool]]:
    if tokenizer is None:
        return [str(i) for i in ids], [False] * len(ids)
    special = set(tokenizer.all_special_ids)
    # An embedding may have more rows than the tokenizer has names.
    names = [
        name if name is not None else f"<{i}>"
        for i, name in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)
    ]
    return names, [i in special for i in ids]


def alignments_from_generate(
    output: Any,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    tokenizer: Any = None,
    *,
    eos_token_id: int | Sequence[int] | None = None,
    pad_token_id: int | None = None,
    layer: int | None = -1,
    head: int | None = None,
) -> list[Alignment]:
    """Alignment of every sequence that ``generate`` returned, beams resolved, padding cut.

    Args:
        output: what ``generate(..., return_dict_in_generate=True, output_attentions=True)`` returned; the model must
            run eager attention (see ``eager_attention``).
        input_ids: (B, S), the source that ``generate`` was given.
        attention_mask: (B, S), its mask; None when nothing is padding.
        tokenizer: names the tokens; without it they are the ids as strings.
        eos_token_id: what ends a sequence; None takes the tokenizer's. A beam search needs it not.
        pad_token_id: what follows the end; None takes the tokenizer's. A beam search needs it not.
        layer: index among the layers that attend to the encoder, or None for the mean of all.
        head: index of a head, or None for the mean of all.

    Returns:
        One alignment per row of ``output.sequences``: with ``num_return_sequences`` n, n in a row for each source.

    Raises:
        ValueError: no weights in the output, no such layer or head, or shapes that do not belong together.
    """
    with target_side(tokenizer):
        ends = eos_token_id if eos_token_id is not None else getattr(tokenizer, "eos_token_id", None)
        pad = pad_token_id if pad_token_id is not None else getattr(tokenizer, "pad_token_id", None)
    weights = attention_weights(output, layer, head)  # (N, T, S)
    sources, sequences = input_ids.shape[0], output.sequences.shape[0]
    if sequences % sources:
        raise ValueError(f"input_ids has {sources} rows, which does not divide the {sequences} returned sequences")
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    lengths = produced_lengths(output, token_ids(ends), pad)
    start = output.sequences.shape[1] - weights.shape[1]  # the tokens that the decoder was started with
    alignments = []
    for n, length in enumerate(lengths):
        row = n * sources // sequences
        target_ids = output.sequences[n, start : start + length].tolist()
        alignments.append(build_alignment(weights[n], input_ids[row], mask[row], target_ids, tokenizer))
    return alignments


def token_ids(value: Any) -> list[int]:
    """The ids in a field that may be None, one id, several, or a tensor of them."""
    if value is None:
        return []
    return [int(i) for i in torch.as_tensor(value).reshape(-1).tolist()]
