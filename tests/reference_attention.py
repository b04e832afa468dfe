"""The ground truth of attention: each kind as a plain loop, written from its equations; see ``reference.py``."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

NORM_EPS = 1e-5


def affine(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    product = x @ weights[f"{name}.weight"].T
    bias = weights.get(f"{name}.bias")
    return product if bias is None else product + bias


def gate(weights: dict[str, Tensor], name: str, index: int, gates: int, x: Tensor) -> Tensor:
    """Gate number ``index`` of the ``gates`` that the rows of one matrix hold."""
    width = weights[f"{name}.weight"].shape[0] // gates
    rows = slice(index * width, (index + 1) * width)
    product = x @ weights[f"{name}.weight"][rows].T
    bias = weights.get(f"{name}.bias")
    return product if bias is None else product + bias[rows]


def normed(weights: dict[str, Any], name: str, x: Tensor) -> Tensor:
    """Layer norm with a scale and a shift, or x itself where the weights have no such norm.

    ``weights["norm_blocks"]`` are the widths of the parts of a gate's norm that are normalised apart.
    """
    if f"{name}.weight" not in weights:
        return x
    blocks = (
        weights.get("norm_blocks", [x.shape[0]])
        if x.shape[0] == sum(weights.get("norm_blocks", [0]))
        else [x.shape[0]]
    )
    parts = []
    for part in x.split(blocks):
        centred = part - part.mean()
        parts.append(centred / torch.sqrt((centred**2).mean() + NORM_EPS))
    return torch.cat(parts) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def additive_read(
    weights: dict[str, Tensor], prefix: str, query: Tensor, values: Tensor, slots: Any
) -> tuple[Tensor, Tensor]:
    """Reads the memory ``values`` (S, C) with v . tanh(W q + U m_j + u)."""

    def score(slot: Tensor) -> Tensor:
        asked = normed(weights, f"{prefix}query_norm", affine(weights, f"{prefix}query_proj", query))
        held = normed(weights, f"{prefix}key_norm", affine(weights, f"{prefix}key_proj", slot))
        return torch.tanh(asked + held) @ weights[f"{prefix}score_proj.weight"][0]

    return _read(score, values, slots)


def _read(score: Callable[[Tensor], Tensor], values: Tensor, slots: Any) -> tuple[Tensor, Tensor]:
    """Reads the memory ``values`` (S, C) at ``slots`` only: weights (S,), zero elsewhere, and context (C,)."""
    alpha, context = values.new_zeros(values.shape[0]), values.new_zeros(values.shape[1])
    if not len(slots):
        return alpha, context
    scores = [score(values[j]) for j in slots]
    exponentials = [torch.exp(score - max(scores)) for score in scores]
    total = sum(exponentials)
    pieces = []
    for j in range(values.shape[0]):
        pieces.append(exponentials[list(slots).index(j)] / total if j in slots else values.new_zeros(()))
    alpha = torch.stack(pieces)
    for j in slots:
        context = context + alpha[j] * values[j]
    return alpha, context


def heads_read(weights: dict[str, Any], query: Tensor, values: Tensor, slots: Any) -> tuple[Tensor, Tensor]:
    """Reads with each head's part of projected query and slots: weights (H, S), and what the heads found, joined."""
    if "memory_proj.weight" in weights:
        values = torch.stack([affine(weights, "memory_proj", slot) for slot in values])
    seen = torch.stack([affine(weights, "score.value_proj", slot) for slot in values])  # (S, A)
    asked = affine(weights, "score.query_proj", query)
    width = weights["score.score_proj.weight"].shape[1]
    alphas, contexts = [], []
    for part, found in zip(asked.split(width), seen.split(width, dim=1), strict=True):

        def score(slot: Tensor, part: Tensor = part) -> Tensor:
            compared = affine(weights, "score.head_query_proj", part) + affine(weights, "score.head_key_proj", slot)
            return torch.tanh(compared) @ weights["score.score_proj.weight"][0]

        alpha, context = _read(score, found, slots)
        alphas.append(alpha)
        contexts.append(context)
    return torch.stack(alphas), torch.cat(contexts)


def scored_read(
    weights: dict[str, Tensor], prefix: str, query: Tensor, values: Tensor, slots: Any
) -> tuple[Tensor, Tensor]:
    """Reads the memory with the score that these weights are of.

    Additive; exp(s) times the cosine of W q and m_j; -exp(p) |W q - m_j|^2; general, W q . m_j; or dot, q . m_j.
    """
    if f"{prefix}key_proj.weight" in weights:
        return additive_read(weights, prefix, query, values, slots)
    general = weights.get(f"{prefix}query_proj.weight")
    if f"{prefix}log_scale" in weights:
        asked, scale = general @ query, torch.exp(weights[f"{prefix}log_scale"][0])
        return _read(lambda slot: scale * (asked @ slot) / (asked.norm() * slot.norm()), values, slots)
    if f"{prefix}log_precision" in weights:
        asked, precision = general @ query, torch.exp(weights[f"{prefix}log_precision"][0])
        return _read(lambda slot: -precision * ((asked - slot) ** 2).sum(), values, slots)
    return _read(lambda slot: slot @ (query if general is None else general @ query), values, slots)


def scored_attention(
    weights: dict[str, Tensor], x: Tensor, memory: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention after the recurrence: y_t = W_o sum_j alpha_tj h_j + b_o, with the score's weights named ``score.*``.

    x (B, T, D), memory (B, S, C), mask (B, S) -> y (B, T, D_out), weights (B, 1, T, S).
    """
    outputs, alphas = [], []
    for row in range(x.shape[0]):
        slots = range(memory.shape[1]) if mask is None else mask[row].nonzero().flatten().tolist()
        reads = [scored_read(weights, "score.", x[row, t], memory[row], slots) for t in range(x.shape[1])]
        outputs.append(torch.stack([affine(weights, "out_proj", context) for _, context in reads]))
        alphas.append(torch.stack([alpha for alpha, _ in reads]))
    return torch.stack(outputs), torch.stack(alphas)[:, None]


def multi_head_attention(
    weights: dict[str, Tensor], x: Tensor, memory: Tensor, num_heads: int, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Multi-head scaled dot-product attention; a query that may read nothing reads zeros.

    x (B, T, D_in), memory (B, S, C), allowed (B, T, S) bool -> y (B, T, D), weights (B, H, T, S).
    """
    batch, length, slots = x.shape[0], x.shape[1], memory.shape[1]
    width = weights["q_proj.weight"].shape[0]
    size = width // num_heads
    rows, maps = [], []
    for b in range(batch):
        heads, head_maps = [], []
        for head in range(num_heads):
            q = gate(weights, "q_proj", head, num_heads, x[b])  # (T, d)
            k = gate(weights, "k_proj", head, num_heads, memory[b])  # (S, d)
            v = gate(weights, "v_proj", head, num_heads, memory[b])  # (S, d)
            read, alphas = [], []
            for t in range(length):
                seen = [j for j in range(slots) if allowed is None or bool(allowed[b, t, j])]
                scores = {j: (q[t] * k[j]).sum() / math.sqrt(size) for j in seen}
                total = sum(torch.exp(score) for score in scores.values())
                alpha = [torch.exp(scores[j]) / total if j in scores else q.new_zeros(()) for j in range(slots)]
                read.append(sum((alpha[j] * v[j] for j in seen), start=q.new_zeros(size)))
                alphas.append(torch.stack(alpha))
            heads.append(torch.stack(read))
            head_maps.append(torch.stack(alphas))
        rows.append(affine(weights, "out_proj", torch.cat(heads, dim=-1)))
        maps.append(torch.stack(head_maps))
    return torch.stack(rows), torch.stack(maps)


def attention_pooling(weights: dict[str, Tensor], hidden: Tensor, mask: Tensor) -> Tensor:
    """The learnt mean of Yang et al. 2016, token by token."""
    rows = []
    for row, real in zip(hidden, mask, strict=True):
        vectors = [vector for vector, exists in zip(row, real.tolist(), strict=True) if exists]
        scores = [
            weights["score_proj.weight"][0]
            @ torch.tanh(weights["key_proj.weight"] @ vector + weights["key_proj.bias"])
            for vector in vectors
        ]
        total = sum(score.exp() for score in scores)
        rows.append(
            sum((score.exp() / total * vector for score, vector in zip(scores, vectors, strict=True)), 0 * row[0])
        )
    return torch.stack(rows)


def copy_distribution(
    weights: dict[str, Tensor], logits: Tensor, parts: list[Tensor], alpha: Tensor, source: list[int]
) -> Tensor:
    """p(w) of one step: ``parts`` are y, s and c, ``alpha`` (S,) the weights of the source's tokens."""
    generates = torch.sigmoid(affine(weights, "gate", torch.cat(parts)))[0]
    p = generates * torch.exp(logits) / torch.exp(logits).sum()
    for j, token in enumerate(source):
        p[token] += (1 - generates) * alpha[j]
    return p


def hop_attention(
    keys: list[Tensor], values: list[Tensor], query_map: Tensor, x: Tensor, slots: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """u_{K+1} for one query, and the weights of each hop; ``keys`` and ``values``: A_k and C_k."""
    u, hops = x, []
    for key, value in zip(keys, values, strict=True):
        exponentials = torch.stack([torch.exp(u @ (key @ slot)) for slot in slots])
        p = exponentials / exponentials.sum()
        hops.append(p)
        u = query_map @ u + sum(weight * (value @ slot) for weight, slot in zip(p, slots, strict=True))
    return u, hops


def segment_slots(x: Tensor, segments: list[int], real: list[bool], *, position: bool) -> dict[int, Tensor]:
    """Place of each segment's last token -> its slot, for one row (S, C)."""
    slots: dict[int, Tensor] = {}
    width = x.shape[1]
    for segment in {number for number, there in zip(segments, real, strict=True) if there}:
        places = [i for i in range(len(x)) if real[i] and segments[i] == segment]
        total = torch.zeros_like(x[0])
        for j, place in enumerate(places, start=1):
            for c in range(1, width + 1):
                count = len(places)
                weight = (1 - j / count) - (c / width) * (1 - 2 * j / count) if position else 1.0
                total[c - 1] += weight * x[place, c - 1]
        slots[places[-1]] = total
    return slots
