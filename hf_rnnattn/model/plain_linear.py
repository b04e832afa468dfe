"""When reading a linear layer's weight equals calling the layer, and what is gained by it on a CPU."""

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

# A quantised or distributed weight is a subclass that shows the dtype it stands for.
_USUAL = (nn.Parameter, Tensor)

# oneDNN's kernel for float32 products without a gradient; None where torch was built without it.
_ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.enabled else None

SMALLEST = 2**18  # numbers in a weight; a call of the kernel costs about 17 microseconds, more than it saves on less


def is_plain(layer: nn.Module | None) -> TypeGuard[nn.Linear]:
    """Whether this is a linear layer that was not wrapped, replaced or hooked (adapters, quantisation, pruning)."""
    if type(layer) is not nn.Linear or "forward" in layer.__dict__:  # accelerate replaces forward on the instance
        return False
    return not (layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


def has_usual_weights(weights: list[Any], dtype: torch.dtype) -> bool:
    """Whether all of these are ordinary tensors of this dtype."""
    return all(type(weight) in _USUAL and weight.dtype == dtype for weight in weights)


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)`` for x (..., D_in).

    Decoding on a CPU spends most of its time in products of few rows with large weights. Where torch computes those
    with MKL, oneDNN takes 0.45 to 0.85 of its time (1 and 16 rows, weights of 512 x 512 and more, on an AMD
    processor), and differs from it by rounding only. It is used for plain float32 layers of such a size without
    gradient, autocast or tracing; else the layer is called.
    """
    y: Tensor = _ONEDNN(x, *_weights(layer), "none", [], "") if _may_use_onednn(layer, x) else layer(x)
    return y


def _may_use_onednn(layer: nn.Module, x: Tensor) -> bool:
    if torch.is_grad_enabled() or _ONEDNN is None or x.dtype != torch.float32 or x.device.type != "cpu":
        return False
    if not is_plain(layer) or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    if layer.in_features * layer.out_features < SMALLEST:
        return False
    return has_usual_weights([weight for weight in _weights(layer) if weight is not None], torch.float32)


def _weights(layer: nn.Module) -> tuple[Any, Any]:
    # The dict behind the attributes: nn.Module's own look-up costs as much as a small product.
    parameters = layer._parameters
    return parameters["weight"], parameters["bias"]
