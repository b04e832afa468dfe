"""The extractive question-answering pipeline, for every model with start and end logits."""

import inspect
import types
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoModelForQuestionAnswering
from transformers.pipelines.base import ChunkPipeline

MAX_SEQ_LEN = 384
MAX_QUESTION_LEN = 64
DOC_STRIDE = 128


class QuestionAnsweringPipeline(ChunkPipeline):
    """Finds the answer to a question in a text: ``pipeline("question-answering", model=…)``.

        >>> pipe = pipeline("question-answering", model=model, tokenizer=tokenizer)
        >>> pipe(question="Where do I live?", context="My name is Wolfgang and I live in Berlin")
        {'score': 0.9191, 'start': 34, 'end': 40, 'answer': 'Berlin'}

    ``start`` and ``end`` count the characters of the context. Long contexts are read in overlapping pieces. Called
    with one question it returns one record, or a list of records where ``top_k`` is above 1; called with several, a
    list of these. Equal answers found at several places are one record with the sum of their scores.

    Inputs: ``question=`` and ``context=``, strings or lists (one context may serve several questions); or a dict with
    these keys, a list of dicts, a generator or a dataset of them.

    Args of a call (and of ``pipeline``, for all calls):
        top_k: how many answers to return; there may be fewer.
        doc_stride: how many tokens neighbouring pieces of a context share; default 128, or half of a shorter piece.
        max_answer_len: the longest answer, in tokens; default 15.
        max_seq_len: the tokens of question and piece together; default 384, or what the tokenizer allows.
        max_question_len: tokens of the question, which is cut off behind them; default 64.
        handle_impossible_answer: whether "there is none" is an answer (an empty one).
        align_to_words: whether answers are widened to whole words; default True.
        padding: passed to the tokenizer.

    Raises:
        ValueError: a question or context is missing, None or empty; the tokenizer is not a fast one; an argument
            out of its bounds.
        KeyError: a dict lacks one of the two.
    """

    _pipeline_calls_generate = False
    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    default_input_names = "question,context"

    model: Any
    tokenizer: Any

    def __init__(self, model: Any, tokenizer: Any = None, *, task: str = "question-answering", **kwargs: Any) -> None:
        super().__init__(model, tokenizer, task=task, **kwargs)
        if not getattr(self.tokenizer, "is_fast", False):
            raise ValueError(
                "tokenizer must be a fast one, which knows the characters of its tokens, got "
                f"{type(tokenizer).__name__}"
            )

    def _sanitize_parameters(
        self,
        padding: Any = None,
        topk: int | None = None,
        top_k: int | None = None,
        doc_stride: int | None = None,
        max_answer_len: int | None = None,
        max_seq_len: int | None = None,
        max_question_len: int | None = None,
        handle_impossible_answer: bool | None = None,
        align_to_words: bool | None = None,
        **kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if topk is not None:
            warnings.warn("topk is called top_k", FutureWarning, stacklevel=3)
            top_k = topk if top_k is None else top_k
        for name, value in (("top_k", top_k), ("max_answer_len", max_answer_len)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        before = {
            "padding": padding,
            "doc_stride": doc_stride,
            "max_seq_len": max_seq_len,
            "max_question_len": max_question_len,
        }
        after = {
            "top_k": top_k,
            "max_answer_len": max_answer_len,
            "handle_impossible_answer": handle_impossible_answer,
            "align_to_words": align_to_words,
        }
        return _given(before), {}, _given(after)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answers questions: see the class."""
        named: dict[str, Any] = {name: kwargs.pop(name) for name in ("question", "context") if name in kwargs}
        inputs = _samples(args, named)
        if isinstance(inputs, list) and len(inputs) == 1:
            return super().__call__(inputs[0], **kwargs)
        return super().__call__(inputs, **kwargs)

    @property
    def _question_first(self) -> bool:
        return bool(self.tokenizer.padding_side == "right")

    def preprocess(
        self,
        inputs: Any,
        padding: Any = "do_not_pad",
        doc_stride: int | None = None,
        max_seq_len: int | None = None,
        max_question_len: int = MAX_QUESTION_LEN,
    ) -> Iterator[dict[str, Any]]:
        """Yields the pieces of one context, each with the question: (1, S) tensors and what maps back to the text."""
        sample = _checked(inputs)
        length = min(self.tokenizer.model_max_length, MAX_SEQ_LEN) if max_seq_len is None else max_seq_len
        stride = min(length // 2, DOC_STRIDE) if doc_stride is None else doc_stride
        if stride > length:
            raise ValueError(f"doc_stride must be at most max_seq_len ({length}), got {stride}")
        texts = [self._cut(sample["question"], max_question_len), sample["context"]]
        encoded = self.tokenizer(
            *(texts if self._question_first else reversed(texts)),
            padding=padding,
            truncation="only_second" if self._question_first else "only_first",
            max_length=length,
            stride=stride,
            return_token_type_ids=True,
            return_overflowing_tokens=True,
        )
        names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in encoded]
        context = 1 if self._question_first else 0
        for i, input_ids in enumerate(encoded["input_ids"]):
            outside = torch.tensor([place != context for place in encoded.sequence_ids(i)]).long()
            if self.tokenizer.cls_token_id is not None:  # its score is that of "there is no answer"
                outside[torch.tensor(input_ids) == self.tokenizer.cls_token_id] = 0
            tensors = {name: torch.tensor(encoded[name][i])[None] for name in names}
            # transformers pads ``p_mask`` with 1 when it joins pieces into a batch
            yield {
                "sample": sample,
                "encoding": encoded.encodings[i],
                "is_last": i == len(encoded["input_ids"]) - 1,
                "p_mask": outside[None],
                **tensors,
            }

    def _cut(self, question: str, max_question_len: int) -> str:
        encoded = self.tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"]
        return question if len(offsets) <= max_question_len else question[: offsets[max_question_len - 1][1]]

    def _forward(self, model_inputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        taken = inspect.signature(self.model.forward).parameters
        tensors = {
            name: model_inputs[name]
            for name in self.tokenizer.model_input_names
            if name in model_inputs and (name in taken or name != "token_type_ids")
        }
        if "use_cache" in taken:
            tensors["use_cache"] = False
        outputs = self.model(**tensors)
        return {"start": outputs["start_logits"], "end": outputs["end_logits"], **model_inputs}

    def postprocess(
        self,
        model_outputs: list[dict[str, Any]],
        top_k: int = 1,
        handle_impossible_answer: bool = False,
        max_answer_len: int = 15,
        align_to_words: bool = True,
    ) -> Any:
        """The records of one question: one dict, or a list of ``top_k``."""
        answers: dict[str, dict[str, Any]] = {}  # lower-case text -> record
        no_answer = 1.0
        wanted = 2 * top_k + 10 if align_to_words else top_k  # some become the same when they are widened to words
        for piece in model_outputs:
            spans, none = _best_spans(piece, wanted, max_answer_len)
            no_answer = min(no_answer, none)
            for first, last, score in spans:
                start, end = self._characters(piece, first, last, align_to_words)
                text = piece["sample"]["context"][start:end]
                record = {"score": 0.0, "start": start, "end": end, "answer": text}
                answers.setdefault(text.lower(), record)["score"] += score
        records = list(answers.values())
        if handle_impossible_answer:
            records.append({"score": no_answer, "start": 0, "end": 0, "answer": ""})
        records = sorted(records, key=lambda record: -float(record["score"]))[:top_k]
        return records[0] if len(records) == 1 else records

    def _characters(self, piece: dict[str, Any], first: int, last: int, align_to_words: bool) -> tuple[int, int]:
        """From where to where in the context the tokens ``first`` to ``last`` reach."""
        encoding = piece["encoding"]
        if not self._question_first:  # the encoding was made before its batch was padded, on the left
            padding = piece["input_ids"].shape[-1] - len(encoding.ids)
            first, last = first - padding, last - padding
        if align_to_words:
            context = 1 if self._question_first else 0
            words = [encoding.token_to_word(place) for place in (first, last)]
            if None not in words:  # some tokenizers know no words
                start, end = (encoding.word_to_chars(word, context) for word in words)
                return int(start[0]), int(end[1])
        return int(encoding.offsets[first][0]), int(encoding.offsets[last][1])

    def save_pretrained(self, save_directory: Any, *, with_code: bool | None = None, **kwargs: Any) -> None:
        """Saves as ``Text2TextGenerationPipeline`` does: model, tokenizer and, if asked, this pipeline's code."""
        if with_code is None:
            loaded_with_code = type(self).__module__.startswith("transformers_modules.")
            with_code = loaded_with_code or getattr(self.model, "_auto_class", None) is not None
        if with_code:
            classes = (AutoModelForQuestionAnswering,)
            self._registered_impl = {self.task: {"impl": type(self), "pt": classes, "type": "text"}}
        try:
            super().save_pretrained(save_directory, **kwargs)
        finally:
            self.__dict__.pop("_registered_impl", None)
            self.model.config.__dict__.pop("custom_pipelines", None)


def _best_spans(piece: dict[str, Any], wanted: int, max_answer_len: int) -> tuple[list[tuple[int, int, float]], float]:
    """The most probable spans (first token, last token, probability) of a piece, and the probability of none."""
    allowed = piece["p_mask"][0] == 0  # (S,)
    if piece.get("attention_mask") is not None:
        allowed = allowed & (piece["attention_mask"][0] != 0)
    start, end = (_probabilities(piece[name][0], allowed) for name in ("start", "end"))  # (S,) each
    none = float(start[0] * end[0])
    start[0] = end[0] = 0.0
    scores = torch.outer(start, end).triu().tril(max_answer_len - 1)  # (S, S)
    scores[0] = -1.0
    possible = (allowed[:, None] & allowed).triu().tril(max_answer_len - 1)
    scores = torch.where(possible, scores, -1.0).flatten()
    best = scores.topk(min(wanted, len(scores)))
    size = len(allowed)
    pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [(place // size, place % size, score) for score, place in pairs if score >= 0], none


def _probabilities(logits: Tensor, allowed: Tensor) -> Tensor:
    return logits.double().masked_fill(~allowed, -10000.0).softmax(-1)


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _samples(args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """What the pipeline was called with, as a list of samples, a generator or a dataset."""
    if len(args) == 2 and all(isinstance(text, str) for text in args):
        args, named = (), dict(zip(("question", "context"), args, strict=True))
    if args:
        inputs = args[0] if len(args) == 1 else list(args)
    elif named.keys() == {"question", "context"}:
        inputs = _paired(named["question"], named["context"])
    else:
        raise ValueError(f"question and context must be given, or dicts with them, got {sorted(named) or 'nothing'}")
    if isinstance(inputs, types.GeneratorType | Dataset):
        return inputs
    if isinstance(inputs, dict) or not isinstance(inputs, Iterable) or isinstance(inputs, str):
        inputs = [inputs]
    return [_checked(sample) for sample in inputs]


def _paired(question: Any, context: Any) -> list[dict[str, Any]]:
    questions = [question] if isinstance(question, str) else question
    if not isinstance(questions, list):
        raise ValueError(f"question must be a string or a list of strings, got {question!r}")
    contexts = [context] * len(questions) if isinstance(context, str) else context
    if not isinstance(contexts, list) or len(contexts) != len(questions):
        raise ValueError(f"context must be a string or a list with one for each of {len(questions)} questions")
    return [{"question": one, "context": other} for one, other in zip(questions, contexts, strict=True)]


def _checked(sample: Any) -> dict[str, str]:
    """``{"question": …, "context": …}`` of a dict or of an object like transformers' SquadExample."""
    if hasattr(sample, "question_text"):
        sample = {"question": sample.question_text, "context": sample.context_text}
    if not isinstance(sample, dict):
        raise ValueError(f"a sample must be a dict with question and context, got {sample!r}")
    for name in ("question", "context"):
        if name not in sample:
            raise KeyError(f"a sample must have the keys question and context, got {sorted(sample)}")
        if not isinstance(sample[name], str) or not sample[name]:
            raise ValueError(f"{name} must be a string that is not empty, got {sample[name]!r}")
    return {"question": sample["question"], "context": sample["context"]}
