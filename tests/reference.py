"""The ground truth: each recurrence and each attention as a plain loop, written from its equations.

Slow and obvious on purpose. Every loop takes the weights of the module that it mirrors as a plain dict of tensors by
parameter name, and works in whatever dtype it is given: float64 in the tests.
A recurrence is found by the name of its mixer: ``RECURRENCES[name](weights, x, mask, state, memory)``.

    x       (B, T, D_in)
    mask    (B, T) bool, or None
    state   dict of (B, D), the state before the first step
    memory  (values (B, S, C), mask (B, S) bool or None), for loops that read one

and returns ``Run(outputs (B, T, D), state after the last step, steps: name -> (B, T, D), weights, context)``.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Run(NamedTuple):
    outputs: Tensor
    state: dict[str, Tensor]
    steps: dict[str, Tensor]
    weights: Tensor | None = None
    context: Tensor | None = None


def _affine(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    product = x @ weights[f"{name}.weight"].T
    bias = weights.get(f"{name}.bias")
    return product if bias is None else product + bias


def _gate(weights: dict[str, Tensor], name: str, index: int, gates: int, x: Tensor) -> Tensor:
    """Gate number ``index`` of the ``gates`` that the rows of one matrix hold."""
    width = weights[f"{name}.weight"].shape[0] // gates
    rows = slice(index * width, (index + 1) * width)
    product = x @ weights[f"{name}.weight"][rows].T
    bias = weights.get(f"{name}.bias")
    return product if bias is None else product + bias[rows]


def _walk(
    x: Tensor,
    mask: Tensor | None,
    state: dict[str, Tensor],
    step: Callable[[Tensor, dict[str, Tensor]], dict[str, Tensor]],
    output: Callable[[dict[str, Tensor]], Tensor],
) -> Run:
    """Row by row, token by token: a masked token leaves the state as it was."""
    rows = []
    for row in range(x.shape[0]):
        current = {name: value[row] for name, value in state.items()}
        outputs, trail = [], []
        for t in range(x.shape[1]):
            if mask is None or bool(mask[row, t]):
                current = step(x[row, t], current)
            outputs.append(output(current))
            trail.append(current)
        rows.append((torch.stack(outputs), trail))
    return Run(
        torch.stack([outputs for outputs, _ in rows]),
        {name: torch.stack([trail[-1][name] for _, trail in rows]) for name in state},
        {name: torch.stack([torch.stack([at[name] for at in trail]) for _, trail in rows]) for name in state},
    )


def elman(
    weights: dict[str, Tensor], x: Tensor, mask: Tensor | None, state: dict[str, Tensor], memory: Any = None
) -> Run:
    """h_t = tanh(W x_t + b + U h_{t-1} + u)."""

    def step(x_t: Tensor, s: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"h": torch.tanh(_affine(weights, "input_to_gates", x_t) + _affine(weights, "state_to_gates", s["h"]))}

    return _walk(x, mask, state, step, lambda s: s["h"])


def lstm(
    weights: dict[str, Tensor], x: Tensor, mask: Tensor | None, state: dict[str, Tensor], memory: Any = None
) -> Run:
    """i, f, o = sigmoid(...), g = tanh(...); c_t = f c_{t-1} + i g; h_t = o tanh(c_t)."""

    def step(x_t: Tensor, s: dict[str, Tensor]) -> dict[str, Tensor]:
        def gate(index: int) -> Tensor:
            return _gate(weights, "input_to_gates", index, 4, x_t) + _gate(weights, "state_to_gates", index, 4, s["h"])

        i, f, g, o = torch.sigmoid(gate(0)), torch.sigmoid(gate(1)), torch.tanh(gate(2)), torch.sigmoid(gate(3))
        c = f * s["c"] + i * g
        return {"h": o * torch.tanh(c), "c": c}

    return _walk(x, mask, state, step, lambda s: s["h"])


def gru(
    weights: dict[str, Tensor], x: Tensor, mask: Tensor | None, state: dict[str, Tensor], memory: Any = None
) -> Run:
    """r, z = sigmoid(...); n = tanh(W x_t + b + r (U h_{t-1} + u)); h_t = (1 - z) n + z h_{t-1}."""

    def step(x_t: Tensor, s: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"h": _gru_step(weights, x_t, s["h"])}

    return _walk(x, mask, state, step, lambda s: s["h"])


def _gru_step(weights: dict[str, Tensor], x_t: Tensor, h: Tensor, context: Tensor | None = None) -> Tensor:
    def entering(index: int) -> Tensor:
        gate = _gate(weights, "input_to_gates", index, 3, x_t)
        return gate if context is None else gate + _gate(weights, "context_to_gates", index, 3, context)

    def recurrent(index: int) -> Tensor:
        return _gate(weights, "state_to_gates", index, 3, h)

    r = torch.sigmoid(entering(0) + recurrent(0))
    z = torch.sigmoid(entering(1) + recurrent(1))
    n = torch.tanh(entering(2) + r * recurrent(2))
    return (1 - z) * n + z * h


def mingru(
    weights: dict[str, Tensor], x: Tensor, mask: Tensor | None, state: dict[str, Tensor], memory: Any = None
) -> Run:
    """z_t = sigmoid(W_z x_t + b_z); h_t = (1 - z_t) h_{t-1} + z_t (W_h x_t + b_h)."""

    def step(x_t: Tensor, s: dict[str, Tensor]) -> dict[str, Tensor]:
        candidate = _gate(weights, "input_to_gates", 0, 2, x_t)
        z = torch.sigmoid(_gate(weights, "input_to_gates", 1, 2, x_t))
        return {"h": (1 - z) * s["h"] + z * candidate}

    return _walk(x, mask, state, step, lambda s: s["h"])


def ssru(
    weights: dict[str, Tensor], x: Tensor, mask: Tensor | None, state: dict[str, Tensor], memory: Any = None
) -> Run:
    """f_t = sigmoid(W_f x_t + b_f); c_t = f_t c_{t-1} + (1 - f_t) (W x_t + b); y_t = relu(c_t)."""

    def step(x_t: Tensor, s: dict[str, Tensor]) -> dict[str, Tensor]:
        candidate = _gate(weights, "input_to_gates", 0, 2, x_t)
        f = torch.sigmoid(_gate(weights, "input_to_gates", 1, 2, x_t))
        return {"c": f * s["c"] + (1 - f) * candidate}

    return _walk(x, mask, state, step, lambda s: torch.relu(s["c"]))


def kim_ssru(
    weights: dict[str, Tensor], x: Tensor, mask: Tensor | None, state: dict[str, Tensor], memory: Any = None
) -> Run:
    """f_t = sigmoid(W_f x_t + b_f); c_t = f_t c_{t-1} + (1 - f_t) W x_t; y_t = relu(c_t)."""
    candidate_weight, gate_weight = weights["input_to_gates.weight"].chunk(2)

    def step(x_t: Tensor, s: dict[str, Tensor]) -> dict[str, Tensor]:
        f = torch.sigmoid(gate_weight @ x_t + weights["gate_bias"])
        return {"c": f * s["c"] + (1 - f) * (candidate_weight @ x_t)}

    return _walk(x, mask, state, step, lambda s: torch.relu(s["c"]))


def bahdanau_gru(
    weights: dict[str, Tensor], x: Tensor, mask: Tensor | None, state: dict[str, Tensor], memory: Any
) -> Run:
    """alpha_t = softmax_j(v . tanh(A s_{t-1} + K m_j + k)); c_t = sum_j alpha_tj m_j; s_t = GRU(x_t, c_t, s_{t-1})."""
    values, allowed = memory
    runs, every_alpha, every_context = [], [], []
    for row in range(x.shape[0]):
        slots = range(values.shape[1]) if allowed is None else allowed[row].nonzero().flatten().tolist()
        h, trail, alphas, contexts = state["h"][row], [], [], []
        for t in range(x.shape[1]):
            alpha, context = _additive_read(weights, "score.", h, values[row], slots)
            if mask is None or bool(mask[row, t]):
                h = _gru_step(weights, x[row, t], h, context)
            trail.append(h)
            alphas.append(alpha)
            contexts.append(context)
        runs.append(torch.stack(trail))
        every_alpha.append(torch.stack(alphas))
        every_context.append(torch.stack(contexts))
    steps = torch.stack(runs)
    context = torch.stack(every_context)
    return Run(steps, {"h": steps[:, -1]}, {"h": steps}, torch.stack(every_alpha)[:, None], context)


def _additive_read(
    weights: dict[str, Tensor], prefix: str, query: Tensor, values: Tensor, slots: Any
) -> tuple[Tensor, Tensor]:
    """Reads the memory ``values`` (S, C) at ``slots`` only: weights (S,), zero elsewhere, and context (C,)."""
    alpha, context = values.new_zeros(values.shape[0]), values.new_zeros(values.shape[1])
    if not len(slots):
        return alpha, context
    scores = []
    for j in slots:
        compared = _affine(weights, f"{prefix}query_proj", query) + _affine(weights, f"{prefix}key_proj", values[j])
        scores.append(torch.tanh(compared) @ weights[f"{prefix}score_proj.weight"][0])
    exponentials = [torch.exp(score - max(scores)) for score in scores]
    total = sum(exponentials)
    pieces = []
    for j in range(values.shape[0]):
        pieces.append(exponentials[list(slots).index(j)] / total if j in slots else values.new_zeros(()))
    alpha = torch.stack(pieces)
    for j in slots:
        context = context + alpha[j] * values[j]
    return alpha, context


def additive_attention(
    weights: dict[str, Tensor], x: Tensor, memory: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Additive attention after the recurrence: y_t = W_o sum_j alpha_tj h_j + b_o, with the scores named ``score.*``.

    x (B, T, D), memory (B, S, C), mask (B, S) -> y (B, T, D_out), weights (B, 1, T, S).
    """
    outputs, alphas = [], []
    for row in range(x.shape[0]):
        slots = range(memory.shape[1]) if mask is None else mask[row].nonzero().flatten().tolist()
        reads = [_additive_read(weights, "score.", x[row, t], memory[row], slots) for t in range(x.shape[1])]
        outputs.append(torch.stack([_affine(weights, "out_proj", context) for _, context in reads]))
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
            q = _gate(weights, "q_proj", head, num_heads, x[b])  # (T, d)
            k = _gate(weights, "k_proj", head, num_heads, memory[b])  # (S, d)
            v = _gate(weights, "v_proj", head, num_heads, memory[b])  # (S, d)
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
        rows.append(_affine(weights, "out_proj", torch.cat(heads, dim=-1)))
        maps.append(torch.stack(head_maps))
    return torch.stack(rows), torch.stack(maps)


def linear_scan(a: Tensor, b: Tensor, h0: Tensor, mask: Tensor | None = None) -> Tensor:
    """h_t = a_t * h_{t-1} + b_t; a masked step repeats its predecessor. (B, T, D)."""
    h, trail = h0, []
    for t in range(a.shape[1]):
        new = a[:, t] * h + b[:, t]
        h = new if mask is None else torch.where(mask[:, t, None], new, h)
        trail.append(h)
    return torch.stack(trail, dim=1)


RECURRENCES: dict[str, Callable[..., Run]] = {
    "bahdanau_gru": bahdanau_gru,
    "elman": elman,
    "gru": gru,
    "lstm": lstm,
    "mingru": mingru,
    "kim_ssru": kim_ssru,
    "ssru": ssru,
}
