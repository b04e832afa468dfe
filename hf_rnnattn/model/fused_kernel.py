"""When a cell may hand its weights to torch's fused kernels, and how a mask is kept out of their way."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def may_fuse(input_to_gates: nn.Linear, state_to_gates: nn.Linear, state: Tensor) -> bool:
    """Whether reading the weights of both layers equals calling them, in the dtype of ``state``.

    False for layers that were wrapped, replaced or hooked (adapters, quantisation, pruning), for half precision,
    and in compiled or exported graphs.
    """
    return (
        _is_plain(input_to_gates)
        and _is_plain(state_to_gates)
        and input_to_gates.weight.dtype == state_to_gates.weight.dtype == state.dtype
        and not torch.compiler.is_compiling()
    )


def _is_plain(layer: nn.Module) -> bool:
    hooks = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    return type(layer) is nn.Linear and layer.bias is not None and not hooks


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Turns autocasting off, under which torch's kernels would carry the state in half precision."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def gather_front(x: Tensor, mask: Tensor) -> Tensor:
    """``x`` (B, T, D) with the real steps of each row moved to the front, in order, the masked ones behind them."""
    order = torch.argsort(~mask, dim=1, stable=True)  # (B, T)
    return x.gather(1, order[..., None].expand_as(x))


def spread_back(hidden: Tensor, mask: Tensor, h0: Tensor) -> Tensor:
    """Undoes ``gather_front`` for outputs (B, T, D); a masked step repeats the last real one, or ``h0`` (B, D)."""
    real_so_far = mask.cumsum(1)  # (B, T): 0 before the first real step
    padded = torch.cat([h0[:, None], hidden], dim=1)  # (B, T + 1, D)
    return padded.gather(1, real_so_far[..., None].expand_as(hidden))
