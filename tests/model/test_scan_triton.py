"""The GPU kernel of the scan can be compiled for the GPUs there are, which takes no GPU."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

COMPILE = """
import sys
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from hf_rnnattn.model import scan_triton

capability, stages, width = map(int, sys.argv[1:])
for dtype, pointer, size in ((tl.float32, "*fp32", 4), (tl.float64, "*fp64", 8)):
    names = scan_triton._walk.arg_names
    kinds = {name: pointer if name in ("a", "b", "start", "states") else "i32" for name in names}
    tile = scan_triton.TILE_BYTES[stages] // size // width
    chosen = {"DTYPE": dtype, "BLOCK_T": tile, "BLOCK_D": width, "STAGES": stages}
    source = ASTSource(
        scan_triton._walk,
        {**kinds, **dict.fromkeys(chosen, "constexpr")},
        constexprs={(names.index(name),): value for name, value in chosen.items()},
    )
    options = {"num_warps": scan_triton.WARPS}
    kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert ".visible .entry" in kernel.asm["ptx"]
    assert kernel.metadata.shared < (48_000 if stages == 1 else scan_triton.ROOM), kernel.metadata.shared
"""


pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("stages", "width"), [(1, 8), (3, 64)])
def test_the_kernel_compiles(capability, stages, width):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", COMPILE, str(capability), str(stages), str(width)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("strides", "kept"), [((2048, 1024, 1), True), ((1, 2**23, 1), False), ((2**40, 1, 2**22), False)], ids=str
)
def test_tensors_whose_steps_lie_too_far_apart_are_copied(strides, kept):
    from hf_rnnattn.model import scan_triton

    steps = torch.empty_strided((2, 2, 1024), strides, device="meta")
    reached = scan_triton._reachable(steps)
    assert (reached is steps) == kept
    assert kept or reached.is_contiguous()
