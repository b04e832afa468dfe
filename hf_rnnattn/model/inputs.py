"""What a forward pass is given: masks and lengths are checked here, with errors that say what was wrong."""

from typing import Any

import torch
from torch import Tensor


def check_one_of(input_ids: Tensor | None, inputs_embeds: Tensor | None, prefix: str) -> Tensor:
    """The one of the two that was given; ValueError if none or both were."""
    given = [inputs for inputs in (input_ids, inputs_embeds) if inputs is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of {prefix}input_ids and {prefix}inputs_embeds must be given, got {len(given)}")
    return given[0]


def check_lengths(inputs: Tensor, side: str) -> None:
    """Raises ValueError if a batch (B, T, ...) has no rows or no tokens."""
    if inputs.shape[0] == 0:
        raise ValueError("batch size is 0")
    if inputs.shape[1] == 0:
        raise ValueError(f"{side} length is 0")


def check_memory(memory: Tensor | None, rows: int, *, has_encoder: bool) -> None:
    """Raises ValueError if the encoder's output (B, S, C) is missing, empty or not that of ``rows`` targets.

    Without an encoder, it must be None.
    """
    if (memory is not None) != has_encoder:
        needs = "needs encoder_hidden_states" if has_encoder else "has no encoder: encoder_hidden_states must be None"
        raise ValueError(f"the decoder {needs}")
    if memory is None:
        return
    check_lengths(memory, "source")
    if memory.shape[0] != rows:
        raise ValueError(f"the source has {memory.shape[0]} rows, the target {rows}")


def memory_mask_of(encoder_outputs: Any, attention_mask: Tensor | None, *, pooled: bool) -> Tensor | None:
    """Which of the encoder's vectors the decoder may read: (B, S), None for all of them.

    Raises:
        ValueError: segments were ``pooled``, and the encoder's output does not say where their slots are.
    """
    if not pooled:
        return attention_mask
    slots: Tensor | None = getattr(encoder_outputs, "memory_mask", None)
    if slots is None:
        raise ValueError("encoder_pooling needs an encoder output that carries memory_mask, got none")
    return slots


def check_states(states: Tensor | None, memory: Tensor, count: int) -> Tensor:
    """The encoder's states, if they are (B, count, C) for its output ``memory`` (B, S, C).

    Raises:
        ValueError: they are not.
    """
    wanted = (memory.shape[0], count, memory.shape[-1])
    if states is None or tuple(states.shape) != wanted:
        got = "none" if states is None else tuple(states.shape)
        raise ValueError(f"decoder_init 'encoder_state' needs the encoder's final_states of shape {wanted}, got {got}")
    return states


def as_bool_mask(mask: Tensor | None, *, batch: int, length: int, name: str) -> Tensor | None:
    """A user's mask as (B, T) booleans, True for real tokens; None if every token is real.

    Raises:
        TypeError: the mask is neither boolean nor integer.
        ValueError: its shape is not (batch, length). Masks of four dimensions say which token may read which, and a
            recurrence cannot follow them.
    """
    if mask is None:
        return None
    if mask.is_floating_point() or mask.is_complex():
        raise TypeError(f"{name} must be bool or integer, got {mask.dtype}")
    if tuple(mask.shape) != (batch, length):
        raise ValueError(f"{name} must have shape ({batch}, {length}), got {tuple(mask.shape)}")
    mask = mask.bool()
    # Without padding every layer may take its shortest way. A compiled graph cannot ask.
    return None if not torch.compiler.is_compiling() and bool(mask.all()) else mask


def positions_of(mask: Tensor | None, past: int | Tensor, length: int, device: torch.device) -> Tensor:
    """Positions (B or 1, T) of the last ``length`` tokens, padding not counted.

    Args:
        mask: (B, past + T) bool, or None if everything is real.
        past: number of tokens read before.
    """
    if mask is None:
        return (torch.arange(length, device=device) + past)[None]
    return (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]


def continued(values: Tensor, length: int, step: int) -> Tensor:
    """Positions or segments (B, T) of ``length`` tokens: the last value goes on, ``step`` more at each token."""
    missing = length - values.shape[1]
    if missing <= 0:
        return values
    rise = step * torch.arange(1, missing + 1, dtype=values.dtype, device=values.device)
    return torch.cat([values, values[:, -1:] + rise], dim=1)


def first_and_last(hidden: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The vectors (B, C) of the first and the last real token of (B, S, C); zeros for a row without any."""
    if mask is None:
        return hidden[:, 0], hidden[:, -1]
    steps = torch.arange(mask.shape[1], device=mask.device)
    first = mask.long().argmax(-1)  # (B,)
    last = torch.where(mask, steps, 0).argmax(-1)  # (B,)
    rows = torch.arange(mask.shape[0], device=mask.device)
    return hidden[rows, first], hidden[rows, last]


def mean_over_real(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """The mean (B, C) over the real tokens of (B, S, C), whose padding is zero; zeros for a row without any."""
    if mask is None:
        return hidden.mean(1)
    count = mask.sum(1, keepdim=True).clamp(min=1)
    return hidden.sum(1) / count.to(hidden.dtype)
