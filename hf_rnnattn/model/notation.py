"""The letters used in every shape comment and equation of this package, and the checks that speak of them.

    B  batch size                      T  length of the sequence being read or written (time)
    S  length of the memory            D  width of a hidden state
    H  number of attention heads       N  number of layers
    A  width of an attention key       C  width of a context vector

A ``State`` is what a recurrent mixer carries from step to step: named tensors, batch first, so that beam reordering,
selection and repetition are one ``index_select`` whatever the cell.
"""

import torch
from torch import Tensor

State = dict[str, Tensor]


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which a state is carried: float32, or float64 if the inputs are float64. Never half precision."""
    return torch.promote_types(dtype, torch.float32)


def check_sequence(x: Tensor, *, size: int, name: str = "x") -> None:
    """Raises ValueError unless ``x`` is (B, T, size)."""
    if x.dim() != 3 or x.shape[-1] != size:
        raise ValueError(f"{name} must have shape (batch, length, {size}), got {tuple(x.shape)}")


def check_mask(mask: Tensor | None, *, batch: int, length: int, name: str = "mask") -> None:
    """Raises unless ``mask`` is None or a (batch, length) tensor of booleans.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: its shape is not (batch, length).
    """
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(f"{name} must be a boolean tensor, got {mask.dtype}")
    if mask.dim() != 2 or mask.shape[0] != batch or mask.shape[1] != length:
        raise ValueError(f"{name} must have shape ({batch}, {length}), got {tuple(mask.shape)}")
