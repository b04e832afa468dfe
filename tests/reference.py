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

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reference_attention import additive_read, affine, gate, heads_read, normed, scored_read
from reference_fused import fused as fused_steps
from reference_ntm import ntm_output, ntm_step
from reference_rglru import rglru_output, rglru_step


class Run(NamedTuple):
    outputs: Tensor
    state: dict[str, Tensor]
    steps: dict[str, Tensor]
    weights: Tensor | None = None
    context: Tensor | None = None


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


def _entering(weights: dict[str, Any], prefix: str, x: Tensor | None) -> Tensor:
    """What an input brings to the gates of a cell; a cell without one has a bias in its place."""
    if x is None:
        return weights[f"{prefix}input_bias"]
    return normed(weights, f"{prefix}input_norm", affine(weights, f"{prefix}input_to_gates", x))


def _recurrent(weights: dict[str, Any], prefix: str, h: Tensor) -> Tensor:
    """What the state brings to the gates of a cell."""
    return normed(weights, f"{prefix}state_norm", affine(weights, f"{prefix}state_to_gates", h))


State = dict[str, Tensor]
Step = Callable[[Tensor, Tensor, State], State]  # (entering, recurrent, state) -> state


def _elman_gates(entering: Tensor, recurrent: Tensor, s: State) -> State:
    return {"h": torch.tanh(entering + recurrent)}


def _lstm_gates(entering: Tensor, recurrent: Tensor, s: State) -> State:
    i, f, g, o = (entering + recurrent).chunk(4)
    c = torch.sigmoid(f) * s["c"] + torch.sigmoid(i) * torch.tanh(g)
    return {"h": torch.sigmoid(o) * torch.tanh(c), "c": c}


def _gru_gates(entering: Tensor, recurrent: Tensor, s: State) -> State:
    (x_r, x_z, x_n), (u_r, u_z, u_n) = entering.chunk(3), recurrent.chunk(3)
    r, z = torch.sigmoid(x_r + u_r), torch.sigmoid(x_z + u_z)
    return {"h": (1 - z) * torch.tanh(x_n + r * u_n) + z * s["h"]}


def _cell(gates: Step, weights: dict[str, Any], prefix: str, x: Tensor | None, s: State) -> State:
    """One cell: its gates on what input and state bring to them."""
    return gates(_entering(weights, prefix, x), _recurrent(weights, prefix, s["h"]), s)


def _transitions(weights: dict[str, Any], prefix: str) -> int:
    """How many cells follow the first."""
    return len(
        {
            name.removeprefix(f"{prefix}transitions.").split(".")[0]
            for name in weights
            if name.startswith(f"{prefix}transitions.")
        }
    )


def _deep_cell(gates: Step, weights: dict[str, Any], prefix: str, x: Tensor, s: State) -> State:
    """A cell, and above it cells that read nothing but the state below them."""
    s = _cell(gates, weights, prefix, x, s)
    for i in range(_transitions(weights, prefix)):
        s = _cell(gates, weights, f"{prefix}transitions.{i}.", None, s)
    return s


def _recurrence(gates: Step) -> Callable[..., Run]:
    def run(weights: dict[str, Any], x: Tensor, mask: Tensor | None, state: State, memory: Any = None) -> Run:
        return _walk(x, mask, state, lambda x_t, s: _deep_cell(gates, weights, "", x_t, s), lambda s: s["h"])

    return run


# h_t = tanh(W x_t + b + U h_{t-1} + u)
elman = _recurrence(_elman_gates)
# i, f, o = sigmoid(...), g = tanh(...); c_t = f c_{t-1} + i g; h_t = o tanh(c_t)
lstm = _recurrence(_lstm_gates)
# r, z = sigmoid(...); n = tanh(W x_t + b + r (U h_{t-1} + u)); h_t = (1 - z) n + z h_{t-1}
gru = _recurrence(_gru_gates)


def mingru(
    weights: dict[str, Tensor], x: Tensor, mask: Tensor | None, state: dict[str, Tensor], memory: Any = None
) -> Run:
    """z_t = sigmoid(W_z x_t + b_z); h_t = (1 - z_t) h_{t-1} + z_t (W_h x_t + b_h)."""

    def step(x_t: Tensor, s: dict[str, Tensor]) -> dict[str, Tensor]:
        candidate = gate(weights, "input_to_gates", 0, 2, x_t)
        z = torch.sigmoid(gate(weights, "input_to_gates", 1, 2, x_t))
        return {"h": (1 - z) * s["h"] + z * candidate}

    return _walk(x, mask, state, step, lambda s: s["h"])


def ssru(
    weights: dict[str, Tensor], x: Tensor, mask: Tensor | None, state: dict[str, Tensor], memory: Any = None
) -> Run:
    """f_t = sigmoid(W_f x_t + b_f); c_t = f_t c_{t-1} + (1 - f_t) (W x_t + b); y_t = relu(c_t)."""

    def step(x_t: Tensor, s: dict[str, Tensor]) -> dict[str, Tensor]:
        candidate = gate(weights, "input_to_gates", 0, 2, x_t)
        f = torch.sigmoid(gate(weights, "input_to_gates", 1, 2, x_t))
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


def ntm(
    weights: dict[str, Tensor], x: Tensor, mask: Tensor | None, state: dict[str, Tensor], memory: Any = None
) -> Run:
    """An LSTM with heads on a memory of slots, see ``reference_ntm``."""
    return _walk(x, mask, state, lambda x_t, s: ntm_step(weights, x_t, s), lambda s: ntm_output(weights, s))


def rglru(
    weights: dict[str, Tensor], x: Tensor, mask: Tensor | None, state: dict[str, Tensor], memory: Any = None
) -> Run:
    """Griffin's block, see ``reference_rglru``: at a masked step zeros are read, which open the gate of the output."""
    run = _walk(x, mask, state, lambda x_t, s: rglru_step(weights, x_t, s), lambda s: s["h"])
    read = x if mask is None else torch.where(mask[..., None], x, 0.0)
    rows = [
        torch.stack([rglru_output(weights, x_t, h) for x_t, h in zip(read[row], run.outputs[row], strict=True)])
        for row in range(x.shape[0])
    ]
    return run._replace(outputs=torch.stack(rows))


def _walk_reading(
    x: Tensor,
    mask: Tensor | None,
    state: State,
    memory: Any,
    step: Callable[[Tensor, State, Tensor, Any], tuple[State, Tensor, Tensor, Tensor]],
) -> Run:
    """Row by row, token by token: ``step(x_t, state, values, slots)`` gives state, output, weights and context."""
    values, allowed = memory
    columns: list[list[Tensor]] = [[], [], []]
    trails = []
    for row in range(x.shape[0]):
        slots = range(values.shape[1]) if allowed is None else allowed[row].nonzero().flatten().tolist()
        current = {name: value[row] for name, value in state.items()}
        trail, found = [], []
        for t in range(x.shape[1]):
            real = mask is None or bool(mask[row, t])
            new, *read = step(x[row, t], current, values[row], slots)
            current = new if real else current
            trail.append(current)
            found.append(read)
        trails.append({name: torch.stack([at[name] for at in trail]) for name in state})
        for column, parts in zip(columns, zip(*found, strict=True), strict=True):
            column.append(torch.stack(parts))
    steps = {name: torch.stack([trail[name] for trail in trails]) for name in state}
    outputs, alphas, contexts = (torch.stack(column) for column in columns)
    return Run(outputs, {name: value[:, -1] for name, value in steps.items()}, steps, alphas[:, None], contexts)


def bahdanau_gru(weights: dict[str, Any], x: Tensor, mask: Tensor | None, state: State, memory: Any) -> Run:
    """alpha_t = softmax_j(v . tanh(A s_{t-1} + K m_j + k)); c_t = sum_j alpha_tj m_j; s_t = GRU(x_t, c_t, s_{t-1})."""

    def step(x_t: Tensor, s: State, values: Tensor, slots: Any) -> tuple[State, Tensor, Tensor, Tensor]:
        alpha, context = additive_read(weights, "score.", s["h"], values, slots)
        entering = _entering(weights, "", x_t) + affine(weights, "context_to_gates", context)
        s = _gru_gates(entering, _recurrent(weights, "", s["h"]), s)
        return s, s["h"], alpha, context

    run = _walk_reading(x, mask, state, memory, step)
    return run._replace(outputs=run.steps["h"])  # a masked step repeats its predecessor


def _conditional(gates: Step) -> Callable[..., Run]:
    def conditional(weights: dict[str, Any], x: Tensor, mask: Tensor | None, state: State, memory: Any) -> Run:
        """s' = cell_1(x_t, s_{t-1}); c_t read with s'; s_t = cell_N(... cell_2(c_t, s'))."""

        def step(x_t: Tensor, s: State, values: Tensor, slots: Any) -> tuple[State, Tensor, Tensor, Tensor]:
            s = _cell(gates, weights, "", x_t, s)
            alpha, context = additive_read(weights, "score.", s["h"], values, slots)
            for i in range(_transitions(weights, "")):
                s = _cell(gates, weights, f"transitions.{i}.", None if i else context, s)
            return s, s["h"], alpha, context

        run = _walk_reading(x, mask, state, memory, step)
        return run._replace(outputs=run.steps["h"])

    return conditional


conditional_gru, conditional_lstm = _conditional(_gru_gates), _conditional(_lstm_gates)


def _normed_lstm_gates(weights: dict[str, Any], gates: Tensor, s: State) -> State:
    """Each gate normalised as a whole; h_t = o c_t."""
    width = s["h"].shape[0]
    split = {**weights, "norm_blocks": [width] * 4}
    i, f, g, o = normed(split, "gate_norm", gates).chunk(4)
    c = torch.sigmoid(f) * s["c"] + torch.sigmoid(i) * torch.tanh(g)
    return {"h": torch.sigmoid(o) * c, "c": c}


def normed_lstm(weights: dict[str, Any], x: Tensor, mask: Tensor | None, state: State, memory: Any = None) -> Run:
    """i, f, o = sigmoid(LN(W x_t + U h_{t-1})), g = tanh(LN(...)); c_t = f c_{t-1} + i g; h_t = o c_t."""

    def step(x_t: Tensor, s: State) -> State:
        gates = affine(weights, "input_to_gates", x_t) + affine(weights, "state_to_gates", s["h"])
        return _normed_lstm_gates(weights, gates, s)

    return _walk(x, mask, state, step, lambda s: s["h"])


def rnmt_lstm(weights: dict[str, Any], x: Tensor, mask: Tensor | None, state: State, memory: Any) -> Run:
    """h_t = normed LSTM on [x_t; a_{t-1}]; a_t read with h_t by every head, and kept."""

    def step(x_t: Tensor, s: State, values: Tensor, slots: Any) -> tuple[State, Tensor, Tensor, Tensor]:
        gates = affine(weights, "input_to_gates", x_t) + affine(weights, "context_to_gates", s["context"])
        cell = _normed_lstm_gates(weights, gates + affine(weights, "state_to_gates", s["h"]), s)
        alpha, context = heads_read(weights, cell["h"], values, slots)
        return cell | {"context": context}, cell["h"], alpha, context

    run = _walk_reading(x, mask, state, memory, step)
    alphas = run.weights[:, 0].transpose(1, 2).clone()  # (B, H, T, S)
    for row in range(x.shape[0]):  # a masked step asks with the last real one's state
        slots = range(memory[0].shape[1]) if memory[1] is None else memory[1][row].nonzero().flatten().tolist()
        for t in range(x.shape[1]):
            if mask is not None and not bool(mask[row, t]):
                alphas[row, :, t] = heads_read(weights, run.steps["h"][row, t], memory[0][row], slots)[0]
    return run._replace(outputs=run.steps["h"], weights=alphas, context=run.steps["context"])


def _luong(gates: Step, names: tuple[str, ...]) -> Callable[..., Run]:
    def luong(weights: dict[str, Any], x: Tensor, mask: Tensor | None, state: State, memory: Any) -> Run:
        """q_t = the stack on [x_t; a_{t-1}], or on x_t; c_t read with q_t; a_t = W_a [c_t; q_t] + b_a, or its tanh."""
        depth = len([name for name in state if name.startswith("h.")])

        def stack(x_t: Tensor, s: State) -> tuple[Tensor, State]:
            new, top = {}, torch.cat([x_t, s["fed"]]) if "fed" in s else x_t
            for k in range(depth):
                held = {name: s[f"{name}.{k}"] for name in names}
                cell = _deep_cell(gates, weights, f"cells.{k}.", top, held)
                top = cell["h"]
                new |= {f"{name}.{k}": cell[name] for name in names}
            return top, new

        def read(top: Tensor, values: Tensor, slots: Any) -> tuple[Tensor, Tensor, Tensor]:
            alpha, context = scored_read(weights, "score.", top, values, slots)
            found = affine(weights, "attentional_proj", torch.cat([context, top]))
            return found if weights.get("attentional_activation") == "none" else torch.tanh(found), alpha, context

        def step(x_t: Tensor, s: State, values: Tensor, slots: Any) -> tuple[State, Tensor, Tensor, Tensor]:
            top, new = stack(x_t, s)
            attentional, alpha, context = read(top, values, slots)
            return (new | {"fed": attentional} if "fed" in s else new), attentional, alpha, context

        run = _walk_reading(x, mask, state, memory, step)
        # At a masked step the state is the last real one's, and what is read there is read with it.
        for row in range(x.shape[0]):
            slots = range(memory[0].shape[1]) if memory[1] is None else memory[1][row].nonzero().flatten().tolist()
            for t in range(x.shape[1]):
                if mask is not None and not bool(mask[row, t]):
                    found = read(run.steps[f"h.{depth - 1}"][row, t], memory[0][row], slots)
                    for column, value in zip(
                        (run.outputs[row], run.weights[row, 0], run.context[row]), found, strict=True
                    ):
                        column[t] = value
        return run

    return luong


luong_gru, luong_lstm = _luong(_gru_gates, ("h",)), _luong(_lstm_gates, ("h", "c"))


def fused(weights: dict[str, Any], x: Tensor, mask: Tensor | None, state: State, memory: Any = None) -> Run:
    """The equations are in ``reference_fused.py``."""
    return Run(*fused_steps(weights, x, mask, state)[:3])


def deep_readout(weights: dict[str, Any], embedded: Tensor, hidden: Tensor, context: Tensor) -> Tensor:
    """r = tanh(W_y y + b_y + W_s s + b_s + W_c c + b_c) of one position, each normalised if there are norms."""
    parts = (embedded, hidden, context)
    return torch.tanh(
        sum(normed(weights, f"norms.{i}", affine(weights, f"projections.{i}", x)) for i, x in enumerate(parts))
    )


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
    "conditional_gru": conditional_gru,
    "conditional_lstm": conditional_lstm,
    "elman": elman,
    "fused": fused,
    "gru": gru,
    "lstm": lstm,
    "luong_gru": luong_gru,
    "luong_lstm": luong_lstm,
    "mingru": mingru,
    "kim_ssru": kim_ssru,
    "normed_lstm": normed_lstm,
    "rglru": rglru,
    "ntm": ntm,
    "rnmt_lstm": rnmt_lstm,
    "ssru": ssru,
}
