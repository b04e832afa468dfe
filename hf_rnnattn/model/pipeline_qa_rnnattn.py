"""The extractive question-answering pipeline, for every model with start and end scores."""

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForQuestionAnswering
from transformers.pipelines.base import ChunkPipeline

from .pipeline_inputs import reads_segments
from .pipeline_samples import checked_sample, samples_of
from .pipeline_saving import PortablePipeline
from .pipeline_spans import best_spans

MAX_SEQ_LEN = 384
MAX_QUESTION_LEN = 64
DOC_STRIDE = 128


class QuestionAnsweringPipeline(PortablePipeline, ChunkPipeline):
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
        doc_stride: how many tokens neighbouring pieces of a context share; default 128, or half of ``max_seq_len``
            if that is less; fewer where a piece has no room for so many.
        max_answer_len: the longest answer, in tokens; default 15.
        max_seq_len: the tokens of question and piece together; default 384, or fewer if the tokenizer or the model
            says that it takes no more.
        max_question_len: tokens of the question, which is cut off behind them; default 64.
        handle_impossible_answer: whether "there is none" is an answer (an empty one); its score is that of the
            tokenizer's ``cls_token``, and 0 where there is no such token.
        align_to_words: whether answers are widened to whole words; default True.
        padding: passed to the tokenizer.

    Raises:
        ValueError: a question or context is missing, None or empty; the question leaves no room for the context; the
            tokenizer is not a fast one; the model gives no start and end scores; an argument out of its bounds.
        KeyError: a dict lacks one of the two.
    """

    _pipeline_calls_generate = False
    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    default_input_names = "question,context"
    auto_class = AutoModelForQuestionAnswering

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
            warnings.warn("topk is called top_k", UserWarning, stacklevel=3)
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
        inputs = samples_of(args, named)
        if isinstance(inputs, list) and len(inputs) < 2:
            return super().__call__(inputs[0], **kwargs) if inputs else []
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
        sample = checked_sample(inputs)
        length = self._longest() if max_seq_len is None else max_seq_len
        stride = min(length // 2, DOC_STRIDE) if doc_stride is None else doc_stride
        if stride > length:
            raise ValueError(f"doc_stride must be at most max_seq_len ({length}), got {stride}")
        question = self._cut(sample["question"], max_question_len)
        texts = [question, sample["context"]]
        encoded = self.tokenizer(
            *(texts if self._question_first else reversed(texts)),
            padding=padding,
            truncation="only_second" if self._question_first else "only_first",
            max_length=length,
            stride=min(stride, self._room(question, length) - 1),
            return_token_type_ids=True,
            return_overflowing_tokens=True,
        )
        names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in encoded]
        context = 1 if self._question_first else 0
        for i in range(len(encoded["input_ids"])):
            outside = torch.tensor([place != context for place in encoded.sequence_ids(i)]).long()
            # transformers pads ``p_mask`` with 1 where it joins pieces into a batch
            yield {
                "sample": sample,
                "encoding": encoded.encodings[i],
                "is_last": i == len(encoded["input_ids"]) - 1,
                "p_mask": outside[None],
                **{name: torch.tensor(encoded[name][i])[None] for name in names},
            }

    def _longest(self) -> int:
        positions = getattr(self.model.config, "max_position_embeddings", None) or MAX_SEQ_LEN
        return int(min(self.tokenizer.model_max_length, positions, MAX_SEQ_LEN))

    def _cut(self, question: str, max_question_len: int) -> str:
        encoded = self.tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"]
        return question if len(offsets) <= max_question_len else question[: offsets[max_question_len - 1][1]]

    def _room(self, question: str, length: int) -> int:
        """How many tokens of a context fit beside the question."""
        taken = len(self.tokenizer(question, add_special_tokens=False)["input_ids"])
        room = length - taken - int(self.tokenizer.num_special_tokens_to_add(pair=True))
        if room < 1:
            raise ValueError(
                f"max_question_len leaves no room for the context: the question has {taken} tokens, max_seq_len is "
                f"{length}"
            )
        return room

    def _forward(self, model_inputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        names = [name for name in self.tokenizer.model_input_names if name in model_inputs]
        if not reads_segments(self.model):
            names = [name for name in names if name != "token_type_ids"]
        taken = inspect.signature(self.model.forward).parameters
        settings = {"use_cache": False} if "use_cache" in taken else {}
        outputs = self.model(**{name: model_inputs[name] for name in names}, return_dict=True, **settings)
        if "start_logits" not in outputs:
            raise ValueError(f"model must give start_logits and end_logits, got {type(self.model).__name__}")
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
            start, end, context = piece["start"][0], piece["end"][0], piece["p_mask"][0] == 0
            spans, nothing = best_spans(start, end, context, self._place_of_none(piece), wanted, max_answer_len)
            no_answer = min(no_answer, nothing)
            for first, last, score in spans:
                begin, stop = self._characters(piece, first, last, align_to_words)
                text = piece["sample"]["context"][begin:stop]
                record = {"score": 0.0, "start": begin, "end": stop, "answer": text}
                answers.setdefault(text.lower(), record)["score"] += score
        records = list(answers.values())
        if handle_impossible_answer:
            records.append({"score": no_answer, "start": 0, "end": 0, "answer": ""})
        records = sorted(records, key=lambda record: -float(record["score"]))[:top_k]
        return records[0] if len(records) == 1 else records

    def _place_of_none(self, piece: dict[str, Any]) -> int | None:
        """Where the token is whose scores models are trained to give to "there is no answer"."""
        places = (piece["input_ids"][0] == self.tokenizer.cls_token_id).nonzero() if self.tokenizer.cls_token else []
        return int(places[0]) if len(places) else None

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
                begin, stop = (encoding.word_to_chars(word, context) for word in words)
                return int(begin[0]), int(stop[1])
        return int(encoding.offsets[first][0]), int(encoding.offsets[last][1])


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
