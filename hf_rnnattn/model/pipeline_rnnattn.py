"""The text2text-generation pipeline, for every sequence-to-sequence model of transformers and of this package."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, GenerationConfig

from .alignment_rnnattn import (
    attention_weights,
    build_alignment,
    eager_attention,
    produced_lengths,
    target_side,
    token_ids,
)
from .pipeline_inputs import check_ids, check_text, reads_segments, without_lone_surrogates
from .pipeline_saving import PortablePipeline
from .transformers_versions import generate_arguments, task_parameters_hidden


class Text2TextGenerationPipeline(PortablePipeline):
    """Text in, text out, by an encoder-decoder: ``pipeline("text2text-generation", model=…)``.

        >>> pipe = pipeline("text2text-generation", model=model, tokenizer=tokenizer)
        >>> pipe("a text")
        [{'generated_text': '…'}]
        >>> pipe(["one", "two"], batch_size=2)
        [{'generated_text': '…'}, {'generated_text': '…'}]
        >>> pipe(["one", "two"], num_return_sequences=2)
        [[{'generated_text': '…'}, {'generated_text': '…'}], [{'generated_text': '…'}, {'generated_text': '…'}]]

    Called with a string it returns a list of records, one per returned sequence. Called with a list, it returns a
    list with a record per text, or a list of records per text where ``num_return_sequences`` is above 1. Called with a
    generator or a dataset, it yields a list of records per text and never holds more than a batch.

    Where neither the caller nor the model's generation config says otherwise, it generates at most 256 tokens with 4
    beams. A ``prefix`` in the model's config, or in its ``task_specific_params`` for the task, goes before each text.

    Args of a call (and of ``pipeline``, for all calls):
        return_text: whether records have ``generated_text``; by default they do unless ``return_tensors``.
        return_tensors: whether records have ``generated_token_ids``, the row of ids that ``generate`` returned.
        return_alignments: whether records have ``alignments``: an ``Alignment`` with the matrix ``weights`` (produced
            tokens, source tokens) of the last layer's cross-attention, mean over heads, beams resolved; the tokens of
            both sides; and ``pairs()``, the links (target index, source index, weight). The model runs eager attention
            for the call.
        clean_up_tokenization_spaces: passed to the tokenizer's ``decode``; default False.
        truncation: passed to the tokenizer; default False.
        stop_sequence: text whose first token ends a sequence, in place of the model's end token.
        assistant_model, assistant_tokenizer: of ``pipeline`` only: a smaller model that proposes tokens, as for
            ``generate``; with it, pass ``num_beams=1``.
        batch_size, num_workers: as for every pipeline.
        any other: goes to ``generate``.

    Raises:
        ValueError: the model is no encoder-decoder that can generate; an input is no string; a text is empty and the
            tokenizer has no end token to stand for it; the tokenizer gave an id that the model's embedding does not
            have; a text is longer than the model's table of positions.
    """

    _pipeline_calls_generate = True
    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _default_generation_config = GenerationConfig(max_new_tokens=256, num_beams=4)
    auto_class = AutoModelForSeq2SeqLM

    model: Any
    tokenizer: Any
    prefix: str | None
    assistant_model: Any
    assistant_tokenizer: Any
    return_name = "generated"  # records have {return_name}_text and {return_name}_token_ids

    def __init__(
        self, model: Any, tokenizer: Any = None, *, task: str = "text2text-generation", **kwargs: Any
    ) -> None:
        if not (model.can_generate() and getattr(model.config, "is_encoder_decoder", False)):
            raise ValueError(f"model must be an encoder-decoder that can generate, got {type(model).__name__}")
        of_tasks = getattr(model.config, "task_specific_params", None) or {}
        task_params = dict(of_tasks.get(task, {}))
        prefix = task_params.pop("prefix", None)
        if "generation_config" not in kwargs:
            kwargs = {**task_params, **kwargs}
        if getattr(model.generation_config, "max_length_factor", None) is not None:
            # the model bounds its targets by their sources, better than any number
            self._default_generation_config = GenerationConfig(num_beams=self._default_generation_config.num_beams)
        with task_parameters_hidden(model.config):
            super().__init__(model, tokenizer, task=task, **kwargs)
        if prefix is not None:
            self.prefix = prefix

    def _sanitize_parameters(
        self,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        return_alignments: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        truncation: Any = None,
        stop_sequence: str | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess = {} if truncation is None else {"truncation": truncation}
        if stop_sequence is not None:
            generate_kwargs["eos_token_id"] = self._stop_token(stop_sequence)
        if return_alignments is not None:
            generate_kwargs["return_alignments"] = return_alignments
        if self.assistant_model is not None:
            generate_kwargs["assistant_model"] = self.assistant_model
        if self.assistant_tokenizer is not None:  # it speaks another language than the model's
            generate_kwargs["tokenizer"] = self.tokenizer
            generate_kwargs["assistant_tokenizer"] = self.assistant_tokenizer
        given = {
            "return_tensors": return_tensors,
            "return_text": return_text,
            "clean_up_tokenization_spaces": clean_up_tokenization_spaces,
        }
        return preprocess, generate_kwargs, {name: value for name, value in given.items() if value is not None}

    def _stop_token(self, stop_sequence: str) -> int:
        with target_side(self.tokenizer):
            ids = self.tokenizer.encode(stop_sequence, add_special_tokens=False)
        if not ids:
            raise ValueError(f"stop_sequence must hold at least one token, got {stop_sequence!r}")
        if len(ids) > 1:
            warnings.warn(
                f"stop_sequence {stop_sequence!r} is {len(ids)} tokens; generation stops at the first of them. "
                "stop_strings=[…] stops at the whole text.",
                stacklevel=4,
            )
        return int(ids[0])

    def check_inputs(self, input_length: int, min_length: int | None, max_length: int | None) -> None:
        """Called with the length of each batch before it is generated from; a task may warn of unlikely lengths."""

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes):
            inputs = list(inputs)  # a tuple, or a column of a dataset
            for i, text in enumerate(inputs):
                check_text(text, f"inputs[{i}]")
            if not inputs:
                return []
        results = super().__call__(inputs, *args, **kwargs)
        if isinstance(inputs, list) and all(len(records) == 1 for records in results):
            return [records[0] for records in results]
        return results

    def preprocess(self, inputs: Any, truncation: Any = False) -> dict[str, Tensor]:
        """One text to (1, S) ``input_ids``, ``attention_mask`` and, if the model reads them, ``token_type_ids``."""
        check_text(inputs, "inputs")
        text = without_lone_surrogates((self.prefix or "") + inputs)
        encoding = self.tokenizer(text, truncation=truncation)
        wanted = {name for name in ("input_ids", "attention_mask", "token_type_ids") if name in encoding}
        if not reads_segments(self.model):
            wanted.discard("token_type_ids")
        if not encoding["input_ids"]:
            end = self.tokenizer.eos_token_id
            if end is None:
                raise ValueError(f"source length is 0: {inputs!r} has no tokens, and the tokenizer has no end token")
            encoding = {"input_ids": [end], "attention_mask": [1], "token_type_ids": [0]}
        return {name: torch.tensor([encoding[name]]) for name in sorted(wanted)}

    def _forward(
        self, model_inputs: dict[str, Tensor], return_alignments: bool = False, **generate_kwargs: Any
    ) -> Any:
        input_ids = model_inputs["input_ids"]
        check_ids(input_ids, self.model.get_input_embeddings().weight.shape[0])
        asked = {"return_dict_in_generate": True, "output_attentions": True} if return_alignments else {}
        arguments = generate_arguments(self, generate_kwargs, asked)
        self.check_inputs(
            input_ids.shape[1], *(self._setting(arguments, name) for name in ("min_length", "max_length"))
        )
        if not return_alignments:
            return {"output_ids": _by_source(self._generate(model_inputs, arguments), input_ids)}
        with eager_attention(self.model):
            output = self._generate(model_inputs, arguments)
        ends = token_ids(self._setting(arguments, "eos_token_id"))
        lengths = produced_lengths(output, ends, self._setting(arguments, "pad_token_id"))
        return {
            "output_ids": _by_source(output.sequences, input_ids),
            "weights": _by_source(attention_weights(output), input_ids),
            "lengths": _by_source(torch.tensor(lengths), input_ids),
            "input_ids": input_ids,
            "attention_mask": model_inputs.get("attention_mask", torch.ones_like(input_ids)),
        }

    def postprocess(
        self,
        model_outputs: dict[str, Tensor],
        return_tensors: bool = False,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool = False,
    ) -> list[dict[str, Any]]:
        """The records of one text."""
        return_text = not return_tensors if return_text is None else return_text
        records = []
        for n, ids in enumerate(model_outputs["output_ids"][0]):
            record: dict[str, Any] = {}
            if return_tensors:
                record[f"{self.return_name}_token_ids"] = ids
            if return_text:
                record[f"{self.return_name}_text"] = self.tokenizer.decode(
                    ids, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
                )
            if "weights" in model_outputs:
                weights = model_outputs["weights"][0, n]  # (T, S)
                start = len(ids) - len(weights)  # the tokens that the decoder was started with
                produced = ids[start : start + int(model_outputs["lengths"][0, n])].tolist()
                source = model_outputs["input_ids"][0], model_outputs["attention_mask"][0]
                record["alignments"] = build_alignment(weights, *source, produced, self.tokenizer)
            if not record:
                raise ValueError(
                    "return_text=False without return_tensors or return_alignments leaves nothing to return"
                )
            records.append(record)
        return records

    def _setting(self, arguments: dict[str, Any], name: str) -> Any:
        """What ``generate`` will take for a generation parameter that has no default of its own."""
        given = arguments.get("generation_config")
        for value in (arguments.get(name), getattr(given, name, None), getattr(self.model.generation_config, name)):
            if value is not None:
                return value
        return None

    def _generate(self, model_inputs: dict[str, Tensor], arguments: dict[str, Any]) -> Any:
        try:
            return self.model.generate(**model_inputs, **arguments)
        except IndexError as error:
            length = model_inputs["input_ids"].shape[1]
            limit = getattr(self.model.config, "max_position_embeddings", None)
            if limit is not None and length > limit:
                raise ValueError(
                    f"source length {length} exceeds max_position_embeddings {limit}; shorten the text or pass "
                    "truncation=True with the tokenizer's model_max_length set"
                ) from error
            raise


def _by_source(rows: Any, input_ids: Tensor) -> Tensor:
    """(B * n, …) as (B, n, …)."""
    tensor: Tensor = getattr(rows, "sequences", rows)
    return tensor.reshape(input_ids.shape[0], -1, *tensor.shape[1:])
