"""The scan as one GPU kernel, which reads and writes every number once.

``scan.py`` imports this file where tensors lie on a GPU, and does without it where Triton is missing or fails.
"""

from functools import cache

import torch
from torch import Tensor

try:  # what stands outside of a try, the Hub's check of imports demands of everybody
    import triton
    import triton.language as tl
except ImportError:
    raise

# Measured on an H200: three tiles on their way at once, 16 KB of a and of b each, where a multiprocessor has room for
# them; else one, half as large. A program's warps, and the programs that keep a GPU busy: fewer than its
# multiprocessors leave some idle, more have narrower tiles, whose memory comes in shorter pieces.
TILE_BYTES = {1: 8192, 3: 16384}
ROOM = 100_000  # bytes; they take up to 98 KB
WARPS = 4
PROGRAMS = 128
WIDEST, NARROWEST = 64, 8  # columns of a tile; 8 float32 fill the 32 bytes that memory gives at least


@triton.jit
def _join(decay_1, added_1, decay_2, added_2):  # type: ignore[no-untyped-def]
    # h -> decay_1 h + added_1, then h -> decay_2 h + added_2, as one step
    return decay_1 * decay_2, decay_2 * added_1 + added_2


@triton.jit(do_not_specialize=["length"])
def _walk(  # type: ignore[no-untyped-def]
    a, a_first, a_row, a_time, a_column,
    b, b_first, b_row, b_time, b_column,
    start, start_row, start_column,
    states, states_first, states_row, states_time,
    length, size,
    DTYPE: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    # A program walks time for BLOCK_D columns of one row of the batch, BLOCK_T steps at once. "first" is where time
    # starts in a tensor; the strides of time are negative if it runs backwards.
    blocks = tl.cdiv(size, BLOCK_D)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    column = (tl.program_id(0) % blocks) * BLOCK_D + tl.arange(0, BLOCK_D)
    step = tl.arange(0, BLOCK_T)
    inside = column < size
    a_tile = a + a_first + row * a_row + step[:, None] * a_time + column[None, :] * a_column
    b_tile = b + b_first + row * b_row + step[:, None] * b_time + column[None, :] * b_column
    out = states + states_first + row * states_row + column
    out_tile = out[None, :] + (step[:, None] + 1) * states_time
    state = tl.load(start + row * start_row + column * start_column, mask=inside, other=0.0).to(DTYPE)
    tl.store(out, state, mask=inside)
    for begin in tl.range(0, length, BLOCK_T, num_stages=STAGES):
        real = (begin + step < length)[:, None] & inside[None, :]
        decay = tl.load(a_tile, mask=real, other=0.0).to(DTYPE)
        added = tl.load(b_tile, mask=real, other=0.0).to(DTYPE)
        decay, added = tl.associative_scan((decay, added), 0, _join)
        now = decay * state[None, :] + added
        tl.store(out_tile, now, mask=real)
        state = tl.sum(tl.where(step[:, None] == BLOCK_T - 1, now, 0.0), 0)
        a_tile += BLOCK_T * a_time
        b_tile += BLOCK_T * b_time
        out_tile += BLOCK_T * states_time


def triton_states(a: Tensor, b: Tensor, start: Tensor, reverse: bool) -> Tensor:
    """A ``Solver`` of ``scan.py`` for GPUs: O(T) steps, tile by tile, and O(B T D) memory traffic.

    Tensors of any strides; the products are float32, or float64 for such tensors. Not differentiable by itself.
    """
    batch, length, size = b.shape
    states = start.new_empty(batch, length + 1, size)
    if states.numel() == 0:
        return states
    a, b = _reachable(a), _reachable(b)
    width = _width(batch, size)
    stages = _stages(a.device)
    last, sign = (length - 1, -1) if reverse else (0, 1)
    with torch.cuda.device_of(a):  # type: ignore[no-untyped-call]
        _walk[(batch * triton.cdiv(size, width),)](
            *(a, last * a.stride(1), a.stride(0), sign * a.stride(1), a.stride(2)),
            *(b, last * b.stride(1), b.stride(0), sign * b.stride(1), b.stride(2)),
            *(start, start.stride(0), start.stride(1)),
            *(states, length * size if reverse else 0, states.stride(0), sign * size),
            *(length, size),
            DTYPE=tl.float64 if states.dtype == torch.float64 else tl.float32,
            BLOCK_T=TILE_BYTES[stages] // max(4, states.itemsize) // width,
            BLOCK_D=width,
            STAGES=stages,
            num_warps=WARPS,
        )
    return states


def _reachable(steps: Tensor) -> Tensor:
    """``steps`` (B, T, D) so that offsets within a tile are numbers of 32 bits."""
    tallest = max(TILE_BYTES.values()) // 4 // NARROWEST
    farthest = tallest * steps.stride(1) + steps.shape[2] * steps.stride(2)
    return steps if farthest < 2**31 else steps.contiguous()


@cache
def _stages(device: torch.device) -> int:
    """How many tiles may be on their way at once."""
    if device.type != "cuda":
        return 1
    properties = torch.cuda.get_device_properties(device)
    return 3 if getattr(properties, "shared_memory_per_block_optin", 0) >= ROOM else 1


def _width(batch: int, size: int) -> int:
    """Columns of a tile: as many as leave enough programs, and no more than there are."""
    width = WIDEST
    while width > NARROWEST and (width >= 2 * size or batch * triton.cdiv(size, width) < PROGRAMS):
        width //= 2
    return width
