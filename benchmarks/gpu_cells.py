"""Every recurrent cell on a GPU: how far it errs in each precision, and how fast it trains beside one of torch.nn.

    PYTHONPATH=tests python benchmarks/gpu_cells.py [--output benchmarks/results/gpu_cells.json]

Errors are the largest of any output, over the largest output, against the naive float64 loops of tests/reference.py on
the CPU, with the same weights. A ratio of times is how many times as long our cell took as the peer in the same round:
below 1, ours was faster. The peers of cells without one of their own are GRUs.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, alternate, compare, write
from torch import nn

from hf_rnnattn.model.attention import Memory
from hf_rnnattn.model.mixers import MIXERS
from recurrent_cells import build, memory_of, random_state, reference

RECURRENT = [name for name in sorted(MIXERS) if MIXERS[name].kind == "recurrent"]
WIDTH, BATCH, LENGTH = 512, 32, 256
PEERS = {"elman": nn.RNN, "lstm": nn.LSTM}
TIMED = ["elman", "gru", "lstm", "mingru", "ssru", "rglru"]
PRECISIONS: dict[str, Any] = {
    "float32": lambda: torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
    "tf32": lambda: torch.backends.cudnn.flags(enabled=True, allow_tf32=True),
    "bfloat16": lambda: torch.autocast("cuda", torch.bfloat16),
    "float16": lambda: torch.autocast("cuda", torch.float16),
}


@torch.no_grad()
def errors(name: str) -> dict[str, Any]:
    """Of one cell of width 64, over 50 steps."""
    cell = build(name, input_size=64, hidden_size=64, noise=0.05)
    x, state = torch.randn(8, 50, 64, dtype=torch.float64), random_state(cell, 8)
    memory, raw = memory_of(cell, 8)
    want = reference(name, cell, x, None, state, raw).outputs
    cell.to("cuda", torch.float32)
    if memory is not None:
        memory = Memory(*(part.float().cuda() for part in memory[:2]), memory.mask.cuda())
    state = {key: value.float().cuda() for key, value in state.items()}
    found = {}
    for precision, context in PRECISIONS.items():
        with context():
            got = cell(x.float().cuda(), None, state, memory).hidden
        found[precision] = float(f"{float((got.double().cpu() - want).abs().max() / want.abs().max()):.2g}")
    print(name, found, flush=True)
    return {"cell": name, **found}


def training(name: str, repeats: int) -> dict[str, Any]:
    """Forward and backward over whole sequences, gradients of inputs and weights, float32 with TF32 in cuDNN."""
    sizes = {"num_blocks": 8} if MIXERS[name].takes_blocks else {}
    cell = MIXERS[name](input_size=WIDTH, hidden_size=WIDTH, **sizes).cuda()
    cell.init_weights()
    peer = PEERS.get(name, nn.GRU)(WIDTH, WIDTH, batch_first=True).cuda()
    x = torch.randn(BATCH, LENGTH, WIDTH, device="cuda", requires_grad=True)
    grad = torch.randn_like(x)
    mask = torch.arange(LENGTH, device="cuda") < torch.randint(LENGTH // 2, LENGTH + 1, (BATCH, 1), device="cuda")

    def with_gradient(forward: Any) -> Any:
        leaves = (x, *cell.parameters(), *peer.parameters())
        return lambda: torch.autograd.grad(forward(), leaves, grad, allow_unused=True)

    ours = f"{name}, all real"
    calls = {
        ours: with_gradient(lambda: cell(x, None, None, None, return_state=False).hidden),
        f"{name}, padded": with_gradient(lambda: cell(x, mask, None, None, return_state=False).hidden),
        f"torch.nn.{type(peer).__name__}": with_gradient(lambda: peer(x)[0]),
    }
    measured = compare(alternate(calls, repeats, warmup=3), ours)
    row = {"cell": name, "batch": BATCH, "length": LENGTH, "width": WIDTH, **measured}
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="rounds (default: 20)")
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu_cells.json", help="where the JSON goes")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    results = {
        "largest_relative_error": [errors(name) for name in RECURRENT],
        "training": [training(name, arguments.repeats) for name in TIMED],
    }
    write(arguments.output, results)


if __name__ == "__main__":
    main()
