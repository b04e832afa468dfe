"""Text in, text out: batches through ``generate``, in order, over however many processes accelerate started."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import hf_rnnattn  # noqa: F401  (registers the family)


def load_checkpoint(
    name: str, *, device: str | None = None, dtype: str = "auto", **options: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model for inference and its tokenizer.

    Args:
        name: a folder, or a name on the Hub.
        device: torch's name of one; None: the accelerator of this process if there is one.
        dtype: float32, bfloat16, float16, or auto for the checkpoint's own.
        **options: for both ``from_pretrained`` (``revision``, ``trust_remote_code``).
    """
    # the model first: where there is no checkpoint at all, its error is the clearer one
    model = AutoModelForSeq2SeqLM.from_pretrained(name, dtype=dtype, **options)
    tokenizer = AutoTokenizer.from_pretrained(name, **options)
    return model.to(device or process_state().device).eval(), tokenizer


def process_state() -> PartialState:
    """This process among those that ``accelerate launch`` or ``torchrun`` started, on GPUs or on CPUs."""
    on_cpu = not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
    return PartialState(cpu=on_cpu)


class TextGenerator:
    """Generates from lists of texts.

    Args:
        model, tokenizer: as ``load_checkpoint`` returns them.
        max_source_length: longer sources are cut, None: never.
        **generation: for ``model.generate`` (``num_beams``, ``max_new_tokens``, ...); None stands for the model's own.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_source_length: int | None = None,
        **generation: Any,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_source_length = max_source_length
        self.generation = {name: value for name, value in generation.items() if value is not None}
        self.state = process_state()

    @property
    def returned(self) -> int:
        """Hypotheses a text."""
        return int(self.generation.get("num_return_sequences", 1))

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[list[str]]:
        """The hypotheses of each text, best first. Blank texts give empty ones and are not put through the model.

        Under ``accelerate launch`` every process must call this with the same texts, and gets all answers.
        """
        chosen = [index for index, text in enumerate(texts) if text.strip()]
        answers = [[""] * self.returned for _ in texts]
        if self.state.num_processes == 1:
            generated = self._generate(chosen, texts, pairs)
        else:
            with self.state.split_between_processes(chosen) as mine:
                generated = gather_object(self._generate(mine, texts, pairs))
        for index, hypotheses in generated:
            answers[index] = hypotheses
        return answers

    @torch.inference_mode()
    def _generate(
        self, chosen: Sequence[int], texts: Sequence[str], pairs: Sequence[str] | None
    ) -> list[tuple[int, list[str]]]:
        if not chosen:
            return []
        inputs = self.tokenizer(
            [texts[index] for index in chosen],
            text_pair=None if pairs is None else [pairs[index] for index in chosen],
            padding=True,
            truncation=self.max_source_length is not None,
            max_length=self.max_source_length,
            return_tensors="pt",
        )
        known = {name: value for name, value in inputs.items() if name != "token_type_ids" or self._takes_segments()}
        placed = {name: value.to(self.model.device) for name, value in known.items()}
        output = self.model.generate(**placed, **self.generation)
        lines = self.tokenizer.batch_decode(output, skip_special_tokens=True)
        starts = range(0, len(lines), self.returned)
        return [(index, lines[at : at + self.returned]) for index, at in zip(chosen, starts, strict=True)]

    def _takes_segments(self) -> bool:
        return getattr(self.model.config, "type_vocab_size", 0) > 0
