"""Summaries and translations: the text2text pipeline under the names, keys and warnings that these tasks have."""

import logging
import warnings
from typing import Any

from torch import Tensor

from .pipeline_rnnattn import Text2TextGenerationPipeline

logger = logging.getLogger(__name__)


class SummarizationPipeline(Text2TextGenerationPipeline):
    """A text to its summary: ``pipeline("summarization", model=…)``; records have ``summary_text``.

    Everything else is as in ``Text2TextGenerationPipeline``.
    """

    return_name = "summary"

    def __init__(self, model: Any, tokenizer: Any = None, *, task: str = "summarization", **kwargs: Any) -> None:
        super().__init__(model, tokenizer, task=task, **kwargs)

    def check_inputs(self, input_length: int, min_length: int | None, max_length: int | None) -> None:
        """Warns of bounds that exclude each other, and of a summary that may be longer than its text."""
        if max_length is None:
            return
        if min_length is not None and max_length < min_length:
            logger.warning("min_length %s is above max_length %s", min_length, max_length)
        if input_length < max_length:
            logger.warning(
                "max_length is %s, but a text of the batch has only %s tokens; a summary is usually shorter than its "
                "text: max_length=%s",
                max_length,
                input_length,
                input_length // 2,
            )


class TranslationPipeline(Text2TextGenerationPipeline):
    """A text to its translation: ``pipeline("translation_en_to_fr", model=…)``; records have ``translation_text``.

    Everything else is as in ``Text2TextGenerationPipeline``, and:

    Args of a call (and of ``pipeline``):
        src_lang, tgt_lang: languages, in the spelling of a multilingual model's tokenizer (mBART, NLLB, M2M100, …).
            Where neither is given, they are those of the task's name. Models of one pair do not read them.
    """

    return_name = "translation"

    def __init__(self, model: Any, tokenizer: Any = None, *, task: str = "translation", **kwargs: Any) -> None:
        if task == "translation":  # a model such as T5 says for which pairs it has settings
            pairs = getattr(model.config, "task_specific_params", None) or {}
            task = next((name for name in pairs if name.startswith("translation")), task)
            if task != "translation":
                warnings.warn(f"task translation does not say which languages: {task} is taken", stacklevel=3)
        super().__init__(model, tokenizer, task=task, **kwargs)

    def _sanitize_parameters(  # type: ignore[override]
        self, src_lang: str | None = None, tgt_lang: str | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess, forward, postprocess = super()._sanitize_parameters(**kwargs)
        if src_lang is None and tgt_lang is None:
            src_lang, tgt_lang = _languages(self.task)
        for name, value in (("src_lang", src_lang), ("tgt_lang", tgt_lang)):
            if value is not None:
                preprocess[name] = value
        return preprocess, forward, postprocess

    def check_inputs(self, input_length: int, min_length: int | None, max_length: int | None) -> None:
        """Warns of a bound that may cut translations off."""
        if max_length is not None and input_length > 0.9 * max_length:
            logger.warning(
                "max_length is %s, and a text of the batch has %s tokens: its translation may be cut off",
                max_length,
                input_length,
            )

    def preprocess(
        self, inputs: Any, truncation: Any = False, src_lang: str | None = None, tgt_lang: str | None = None
    ) -> dict[str, Any]:
        """One text to the model's inputs; a multilingual tokenizer adds the languages."""
        build = getattr(self.tokenizer, "_build_translation_inputs", None)
        if build is None:
            return super().preprocess(inputs, truncation=truncation)
        if not isinstance(inputs, str):
            raise ValueError(f"inputs must be a string, got {inputs!r}")
        built: dict[str, Tensor | int] = dict(
            build(inputs, return_tensors="pt", truncation=truncation, src_lang=src_lang, tgt_lang=tgt_lang)
        )
        built.pop("token_type_ids", None)
        return built

    def _forward(
        self,
        model_inputs: dict[str, Any],
        return_alignments: bool = False,
        forced_bos_token_id: Any = None,
        **generate_kwargs: Any,
    ) -> Any:
        # Among the inputs, since the language of each text is known there; a batch has it once a row.
        forced = model_inputs.pop("forced_bos_token_id", forced_bos_token_id)
        if forced is not None:
            first = forced[0] if isinstance(forced, list | tuple) else forced
            generate_kwargs["forced_bos_token_id"] = int(first)
        return super()._forward(model_inputs, return_alignments=return_alignments, **generate_kwargs)


def _languages(task: str | None) -> tuple[str | None, str | None]:
    """``translation_en_to_fr`` -> ("en", "fr"); any other name -> (None, None)."""
    parts = (task or "").split("_")
    return (parts[1], parts[3]) if len(parts) == 4 and parts[2] == "to" else (None, None)
