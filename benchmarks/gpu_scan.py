"""The scan on a GPU: how near it comes to the speed at which memory can be copied, and how far it errs.

    python benchmarks/gpu_scan.py [--output benchmarks/results/gpu_scan.json]

A forward scan must read a and b and write h: 12 bytes a number. Its gradient must read a, h and the gradient of h and
write those of a and b: 20 bytes. What is told is these bytes over the time, as a share of the same for a copy of as
many bytes. Beside it stands torch's fused causal attention (8 heads, bfloat16) over inputs of the same shape.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, write
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from triton.testing import do_bench

from hf_rnnattn.model.scan import device_solver, doubling_states, linear_scan

SIZES = [(8, 512, 512), (32, 512, 1024), (32, 2048, 512), (64, 2048, 1024), (4, 32768, 512)]
FORWARD, BACKWARD = 12, 20  # bytes a number
HEADS = 8


def milliseconds(call: Callable[[], Any]) -> float:
    """The median, after a warm-up, with cold caches."""
    return float(do_bench(call, warmup=10, rep=60, return_mode="median"))


def copy_rate(size: int) -> float:
    """GB/s, read and written, of a copy that moves ``size`` bytes in all."""
    source = torch.randn(size // 8, device="cuda")
    target = torch.empty_like(source)
    return size / milliseconds(lambda: target.copy_(source)) / 1e6


def inputs(batch: int, length: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    a = torch.rand(batch, length, size, device="cuda")
    return a, torch.randn_like(a), torch.randn(batch, size, device="cuda")


def speed(batch: int, length: int, size: int) -> dict[str, Any]:
    """Rates of one size."""
    a, b, h0 = (tensor.requires_grad_() for tensor in inputs(batch, length, size))
    grad = torch.randn_like(a)
    numbers = a.numel()

    def both() -> None:
        torch.autograd.grad(linear_scan(a, b, h0), (a, b, h0), grad)

    q, k, v = (
        torch.randn(batch, HEADS, length, size // HEADS, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        for _ in range(3)
    )
    grad_heads = torch.randn_like(q)

    def attend() -> None:
        torch.autograd.grad(scaled_dot_product_attention(q, k, v, is_causal=True), (q, k, v), grad_heads)

    with torch.no_grad():
        times = {
            "forward": milliseconds(lambda: linear_scan(a, b, h0)),
            "forward_doubling": milliseconds(lambda: doubling_states(a, b, h0, False)),
        }
    times |= {"forward_and_backward": milliseconds(both), "attention_forward_and_backward": milliseconds(attend)}
    copies = {"forward": copy_rate(FORWARD * numbers), "both": copy_rate((FORWARD + BACKWARD) * numbers)}
    row = {
        "batch": batch,
        "length": length,
        "width": size,
        "milliseconds": {name: round(value, 4) for name, value in times.items()},
        "copy_gigabytes_per_second": {name: round(value) for name, value in copies.items()},
        "share_of_copy_bandwidth": {
            "forward": round(FORWARD * numbers / times["forward"] / 1e6 / copies["forward"], 3),
            "forward_and_backward": round(
                (FORWARD + BACKWARD) * numbers / times["forward_and_backward"] / 1e6 / copies["both"], 3
            ),
        },
        "times_as_fast_as_attention": round(
            times["attention_forward_and_backward"] / times["forward_and_backward"], 3
        ),
    }
    print(row, flush=True)
    return row


def errors(length: int) -> dict[str, Any]:
    """The largest error of float32 against a float64 loop, over the largest number, of h and of the gradients."""
    leaves = [tensor.requires_grad_() for tensor in inputs(4, length, 64)]
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    h, states = wide[2], []
    for decay, added in zip(wide[0].unbind(1), wide[1].unbind(1), strict=True):
        h = decay * h + added
        states.append(h)
    want = torch.stack(states, 1)
    got = linear_scan(*leaves)
    pairs = {"h": (got, want)}
    grads = zip(torch.autograd.grad(got.sum(), leaves), torch.autograd.grad(want.sum(), wide), strict=True)
    pairs |= dict(zip(("grad_a", "grad_b", "grad_h0"), grads, strict=True))
    found = {name: ((one - other).abs().max() / other.abs().max()).item() for name, (one, other) in pairs.items()}
    return {"length": length, **{name: float(f"{value:.2g}") for name, value in found.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu_scan.json", help="where the JSON goes")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rows = [speed(*size) for size in SIZES]
    solver = device_solver("cuda").__name__
    write(arguments.output, {"solver": solver, "speed": rows, "float32_errors": [errors(n) for n in (7, 1000, 4096)]})


if __name__ == "__main__":
    main()
