"""When a cell may hand its weights to torch's fused kernels, and how a mask is kept out of their way."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .plain_linear import has_usual_weights, is_plain


def fusible_weights(cell: nn.Module, dtype: torch.dtype) -> list[Tensor] | None:
    """The cell's weights and biases in the order that torch's kernels take, if reading them equals calling its layers.

    None for layers that were wrapped, replaced or hooked (adapters, quantisation, pruning, offloading), whose weights
    are special tensors or have another dtype than ``dtype``, without a bias, and in compiled or exported graphs.
    """
    # The dicts behind the attributes: nn.Module's own look-up would cost more than the rest of this function.
    entering, recurrent = cell._modules["input_to_gates"], cell._modules["state_to_gates"]
    if not (is_plain(entering) and is_plain(recurrent)) or torch.compiler.is_compiling():
        return None
    first, second = entering._parameters, recurrent._parameters
    weights: list[Any] = [first["weight"], second["weight"], first["bias"], second["bias"]]
    return weights if has_usual_weights(weights, dtype) else None


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Turns autocasting off, under which torch's kernels would carry the state in half precision."""
    kind = device.type
    if kind == "cuda":
        return _on_gpu()
    autocasts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if autocasts else nullcontext()


@contextmanager
def _on_gpu() -> Iterator[None]:
    """Also keeps cuDNN from saying, at every call, that it copies weights which do not lie one after the other.

    That takes far less time than the steps, and ours cannot: adapters, quantisation and distributed training want each
    matrix as a parameter of its own.
    """
    with torch.autocast("cuda", enabled=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        yield


def gather_front(x: Tensor, mask: Tensor) -> Tensor:
    """``x`` (B, T, D) with the real steps of each row moved to the front, in order, the masked ones behind them."""
    order = torch.argsort(~mask, dim=1, stable=True)  # (B, T)
    return take_steps(x, order)


def spread_back(hidden: Tensor, mask: Tensor, h0: Tensor) -> Tensor:
    """Undoes ``gather_front`` for outputs (B, T, D); a masked step repeats the last real one, or ``h0`` (B, D)."""
    real_so_far = mask.cumsum(1)  # (B, T): 0 before the first real step
    padded = torch.cat([h0[:, None], hidden], dim=1)  # (B, T + 1, D)
    return take_steps(padded, real_so_far)


def take_steps(x: Tensor, steps: Tensor) -> Tensor:
    """The vectors of ``x`` (B, T, D) at ``steps`` (B, L) of each row: (B, L, D).

    Whole vectors by one flat index: back and forth several times as fast as ``gather``, which moves single numbers.
    """
    first = x.shape[1] * torch.arange(x.shape[0], device=x.device)  # (B,)
    flat = (steps + first[:, None]).flatten()
    return x.flatten(0, 1).index_select(0, flat).view(*steps.shape, -1)
