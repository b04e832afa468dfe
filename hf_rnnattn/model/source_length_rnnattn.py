"""Targets that may be so many times as long as their source: ``max_length_factor`` of a generation config."""

import math
from typing import Any

import torch
from torch import Tensor
from transformers.generation import StoppingCriteria, StoppingCriteriaList

from .transformers_versions import GenerationHooks


class SourceLengthCriteria(StoppingCriteria):
    """Ends each row when it is as long as its source allows.

    Args:
        limits: (B,) the longest target of each source, prompt included. There may be several rows a source, one after
            the other, as for beams.
    """

    def __init__(self, limits: Tensor) -> None:
        self.limits = limits

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:  # type: ignore[override]
        """(R, T) -> (R,) bool, R a multiple of B."""
        limits = self.limits.to(input_ids.device).repeat_interleave(input_ids.shape[0] // len(self.limits))
        return limits <= input_ids.shape[1]


class SourceLengthMixin(GenerationHooks):
    """``generate`` that knows ``max_length_factor``, as Marian's decoder has it.

    A target then ends at floor(factor x tokens of its source + ``max_length_offset``), whatever stands beside it in
    the batch, and earlier if ``max_new_tokens`` or ``max_length`` is less. The end token counts where sources have
    one; the offset is 0 unless the config has it. The settings live in the generation config and are saved with it;
    ``generate(max_length_factor=...)`` overrides it where the config has it, None turns it off.
    """

    def prepared_settings(self, generation_config: Any, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        config, model_kwargs = super().prepared_settings(generation_config, *args, **kwargs)
        if getattr(config, "max_length_factor", None) is not None:
            _check(config.max_length_factor, _offset(config))
            config._source_mask = model_kwargs.get("attention_mask")
            given = (kwargs.get("max_length"), getattr(generation_config, "max_length", None))
            if (*given, self.generation_config.max_length) == (None, None, None):  # type: ignore[attr-defined]
                config.max_length = (
                    None  # not transformers' 20, which older pipelines hand back as if it were asked for
                )
        return config, model_kwargs

    def prepared_length(self, generation_config: Any, has_default_max_length: bool, *args: Any, **kwargs: Any) -> Any:
        factor = getattr(generation_config, "max_length_factor", None)
        if factor is not None:
            limits = _limits(
                factor, _offset(generation_config), kwargs["inputs_tensor"], generation_config._source_mask
            )
            generation_config._longest_targets = limits + kwargs["input_ids_length"]
            if has_default_max_length and generation_config.max_new_tokens is None:
                generation_config.max_new_tokens = int(limits.max())
        return super().prepared_length(generation_config, has_default_max_length, *args, **kwargs)

    def stopping_criteria(self, generation_config: Any, *args: Any, **kwargs: Any) -> StoppingCriteriaList:
        criteria = super().stopping_criteria(generation_config, *args, **kwargs)
        if getattr(generation_config, "max_length_factor", None) is not None:
            criteria.append(SourceLengthCriteria(generation_config._longest_targets))
        return criteria


def _offset(generation_config: Any) -> Any:
    offset = getattr(generation_config, "max_length_offset", None)
    return 0 if offset is None else offset


def _check(factor: Any, offset: Any) -> None:
    if not _is_number(factor) or not 0 < factor < math.inf:
        raise ValueError(f"max_length_factor must be positive and finite, or None, got {factor!r}")
    if not _is_number(offset) or not 0 <= offset < math.inf:
        raise ValueError(f"max_length_offset must be at least 0 and finite, or None, got {offset!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _limits(factor: float, offset: float, source: Tensor, mask: Tensor | None) -> Tensor:
    """(B,) the most tokens of each target, at least 1."""
    batch, length = source.shape[:2]
    lengths = torch.full((batch,), length) if mask is None else (mask != 0).sum(-1).cpu()
    return (lengths.double() * factor + offset).floor().long().clamp(min=1)
