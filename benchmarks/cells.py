"""Each recurrent cell against its peer in torch.nn and against causal attention, training and stepping, on a CPU.

    python benchmarks/cells.py [--threads 2] [--repeats 30] [--output benchmarks/results/cells.json]

A ratio is how many times as long our cell took as the peer, in the same round: below 1, ours was faster.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, alternate, compare, write
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hf_rnnattn.model.attention import Memory
from hf_rnnattn.model.mixers import MIXERS
from hf_rnnattn.model.scan import linear_scan

Row = dict[str, Any]

RECURRENT = [name for name in sorted(MIXERS) if MIXERS[name].kind == "recurrent"]
LAYERS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM, "mingru": nn.GRU, "ssru": nn.GRU, "bahdanau_gru": nn.GRU}
CELLS = {
    "elman": nn.RNNCell,
    "gru": nn.GRUCell,
    "lstm": nn.LSTMCell,
    "mingru": nn.GRUCell,
    "ssru": nn.GRUCell,
    "bahdanau_gru": nn.GRUCell,
}
HEADS, SLOTS, CACHED = 8, 32, 512


class CausalAttention(nn.Module):
    """Multi-head self-attention as a layer of the same width: projections, torch's fused attention, output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projections = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)  # (B, H, T, d)

    def forward(self, x: Tensor, keys: Tensor | None = None, values: Tensor | None = None) -> Tensor:
        """Without a cache the whole causal sequence; with one (B, H, S, d), one step that overwrites its last slot."""
        q, k, v = (self.heads(part) for part in self.projections(x).chunk(3, dim=-1))
        if keys is None or values is None:
            read = scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            keys[:, :, -1:], values[:, :, -1:] = k, v
            read = scaled_dot_product_attention(q, keys, values)
        return self.output(read.transpose(1, 2).flatten(2))


def build(name: str, width: int, batch: int) -> tuple[Any, Memory | None]:
    if not MIXERS[name].reads_memory:
        return MIXERS[name](input_size=width, hidden_size=width), None
    cell = MIXERS[name](input_size=width, hidden_size=width, memory_size=width, attention_size=width)
    with torch.no_grad():
        return cell, Memory(*cell.prepare_memory(torch.randn(batch, SLOTS, width)), None)


def training(name: str, batch: int, length: int, width: int, repeats: int) -> Row:
    """Forward and backward over whole sequences, gradients of inputs and weights."""
    cell, memory = build(name, width, batch)
    peer, attention = LAYERS[name](width, width, batch_first=True), CausalAttention(width)
    x, grad = torch.randn(batch, length, width, requires_grad=True), torch.randn(batch, length, width)
    mask = torch.arange(length) < torch.randint(length // 2, length + 1, (batch, 1))
    ours = f"{name}, all real"

    def with_gradient(forward: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            forward().backward(grad)
            for tensor in (x, *cell.parameters(), *peer.parameters(), *attention.parameters()):
                tensor.grad = None

        return run

    calls = {
        ours: with_gradient(lambda: cell(x, None, None, memory, return_state=False).hidden),
        f"{name}, padded": with_gradient(lambda: cell(x, mask, None, memory, return_state=False).hidden),
        f"torch.nn.{LAYERS[name].__name__}": with_gradient(lambda: peer(x)[0]),
        f"causal attention, {HEADS} heads": with_gradient(lambda: attention(x)),
    }
    measured = compare(alternate(calls, repeats), ours)
    return {"task": "training", "cell": name, "batch": batch, "length": length, "width": width, **measured}


@torch.no_grad()
def stepping(name: str, batch: int, width: int, repeats: int) -> Row:
    """One step of generation from a given state."""
    cell, memory = build(name, width, batch)
    peer, attention = CELLS[name](width, width), CausalAttention(width)
    x = torch.randn(batch, 1, width)
    flat = x[:, 0]
    state = {key: torch.randn(batch, width) for key in cell.state_names}
    start = tuple(state.values()) if name == "lstm" else next(iter(state.values()))
    keys, values = torch.randn(2, batch, HEADS, CACHED, width // HEADS)
    calls = {
        name: lambda: cell(x, None, state, memory),
        f"torch.nn.{CELLS[name].__name__}": lambda: peer(flat, start),
        f"causal attention, {CACHED} tokens cached": lambda: attention(x, keys, values),
    }
    measured = compare(alternate(calls, 20 * repeats, warmup=20), name)
    return {"task": "step", "cell": name, "batch": batch, "width": width, **measured}


def scanning(batch: int, length: int, width: int, repeats: int) -> Row:
    """The scan alone against torch's fused causal attention alone, forward and backward."""
    a = torch.rand(batch, length, width, requires_grad=True)
    b = torch.randn(batch, length, width, requires_grad=True)
    h0, grad = torch.zeros(batch, width), torch.randn(batch, length, width)
    q, k, v = (torch.randn(batch, HEADS, length, width // HEADS, requires_grad=True) for _ in range(3))
    grad_heads = torch.randn_like(q)

    def scan() -> None:
        linear_scan(a, b, h0).backward(grad)
        a.grad = b.grad = None

    def attend() -> None:
        scaled_dot_product_attention(q, k, v, is_causal=True).backward(grad_heads)
        q.grad = k.grad = v.grad = None

    times = alternate({"linear_scan": scan, f"scaled_dot_product_attention, causal, {HEADS} heads": attend}, repeats)
    measured = compare(times, "linear_scan")
    return {"task": "scan", "batch": batch, "length": length, "width": width, **measured}


def report(row: Row) -> Row:
    """Prints a row and passes it on."""
    sizes = " x ".join(str(row[key]) for key in ("batch", "length", "width") if key in row)
    others = "; ".join(f"{value['ratio']:.2f} of {name}" for name, value in row["against"].items())
    print(
        f"{row['task']:9} {row.get('cell', ''):13} {sizes:14} {row['microseconds']:>10.1f} us   {others}", flush=True
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--repeats", type=int, default=30, help="rounds for training; 20 times as many for steps")
    parser.add_argument("--output", type=Path, default=RESULTS / "cells.json", help="where the JSON goes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rows = [report(scanning(8, 512, 512, arguments.repeats))]
    for name in RECURRENT:
        rows.append(report(training(name, 32, 64, 256, arguments.repeats)))
    for name in RECURRENT:
        for batch in (1, 16):
            for width in (256, 512):
                rows.append(report(stepping(name, batch, width, arguments.repeats)))
    write(arguments.output, rows)


if __name__ == "__main__":
    main()
