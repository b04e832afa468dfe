"""Metrics by name, as ``evaluate.Metric`` classes that need no network, over sacrebleu, rouge-score and jiwer.

Every value is in percent (0 to 100; error rates can exceed 100), not rounded. Every metric takes one reference a
prediction, or a list of several, and then counts the best (bleu and chrf: as sacrebleu does).

    load_metric("wer").compute(predictions=["a b"], references=[["a c", "a b"]])   # {"wer": 0.0}

Names that are easily mixed up: ``wer`` counts wrong *words of a sentence*, as in speech recognition. In
pronunciation, where a prediction is a sequence of phones, ``phoneme_error_rate`` counts wrong phones and
``g2p_word_error_rate`` is the share of *words with any mistake*: what papers on grapheme-to-phoneme conversion (g2p)
call PER and WER.
"""

from collections.abc import Callable, Sequence
from typing import Any

import evaluate
import jiwer
import numpy as np
import sacrebleu
from datasets import Features, Value
from datasets import Sequence as ListOf
from rouge_score.rouge_scorer import RougeScorer
from transformers import EvalPrediction, PreTrainedTokenizerBase

IGNORED_LABEL = -100
_ROUGE_KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class TextMetric(evaluate.Metric):
    """Base: predictions are texts, references are texts or lists of texts.

    A subclass defines ``score(predictions, references)`` with lists of references, and ``description``.
    """

    description = ""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"keep_in_memory": True, **options})

    def _info(self) -> evaluate.MetricInfo:
        prediction = {"predictions": Value("string")}
        return evaluate.MetricInfo(
            description=self.description,
            citation="",
            inputs_description="predictions: list of str; references: list of str, or of lists of str",
            features=[
                Features({**prediction, "references": ListOf(Value("string"))}),
                Features({**prediction, "references": Value("string")}),
            ],
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[Any]) -> dict[str, float]:
        return self.score(list(predictions), [[r] if isinstance(r, str) else list(r) for r in references])

    def score(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        """The values by name, in percent."""
        raise TypeError(f"{type(self).__name__} must define score()")


class Bleu(TextMetric):
    """Corpus BLEU of sacrebleu (tokenisation 13a, exponential smoothing)."""

    description = "BLEU by sacrebleu with its defaults; larger is better."

    def score(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        """``bleu``."""
        return {"bleu": sacrebleu.corpus_bleu(predictions, _streams(references)).score}


class Chrf(TextMetric):
    """Corpus chrF2 of sacrebleu: F-score of character n-grams up to 6."""

    description = "chrF2 by sacrebleu with its defaults; larger is better."

    def score(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        """``chrf``."""
        return {"chrf": sacrebleu.corpus_chrf(predictions, _streams(references)).score}


class Rouge(TextMetric):
    """Mean F-scores of rouge-score, without stemming; of several references the best counts, for each kind."""

    description = "ROUGE-1, -2, -L and -Lsum by rouge-score, mean F-score; larger is better."

    def score(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        """``rouge1``, ``rouge2``, ``rougeL``, ``rougeLsum`` (the last one for sentences on lines of their own)."""
        scorer = RougeScorer(list(_ROUGE_KINDS), use_stemmer=False)
        scores = [scorer.score_multi(choices, text) for text, choices in zip(predictions, references, strict=True)]
        return {kind: 100 * float(np.mean([score[kind].fmeasure for score in scores])) for kind in _ROUGE_KINDS}


class WordErrors(TextMetric):
    """Edits between the words of a sentence and of its reference, over all words of the references (jiwer)."""

    description = "Word error rate of sentences by jiwer; smaller is better."

    def score(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        """``wer``."""
        return {"wer": _edit_rate(predictions, references)}


class PhonemeErrors(TextMetric):
    """Edits between the phones of a word and of its reference, over all phones of the references (jiwer)."""

    description = "Phoneme error rate (PER): symbols between spaces that are wrong; smaller is better."

    def score(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        """``phoneme_error_rate``."""
        return {"phoneme_error_rate": _edit_rate(predictions, references)}


class PronunciationErrors(TextMetric):
    """Share of words whose phones equal those of no reference; how they are spaced does not matter."""

    description = "Word error rate (WER) of pronunciation: words with any wrong phone; smaller is better."

    def score(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        """``g2p_word_error_rate``."""
        split = [[choice.split() for choice in choices] for choices in references]
        wrong = [text.split() not in choices for text, choices in zip(predictions, split, strict=True)]
        return {"g2p_word_error_rate": 100 * float(np.mean(wrong))}


class ExactMatch(TextMetric):
    """Share of predictions that equal a reference, character by character."""

    description = "Share of predictions that equal a reference exactly; larger is better."

    def score(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        """``exact_match``."""
        right = [text in choices for text, choices in zip(predictions, references, strict=True)]
        return {"exact_match": 100 * float(np.mean(right))}


METRICS: dict[str, type[TextMetric]] = {
    "bleu": Bleu,
    "chrf": Chrf,
    "rouge": Rouge,
    "wer": WordErrors,
    "phoneme_error_rate": PhonemeErrors,
    "g2p_word_error_rate": PronunciationErrors,
    "exact_match": ExactMatch,
}


def load_metric(name: str, **options: Any) -> TextMetric:
    """The metric of that name; ``options`` are those of ``evaluate.Metric`` (``keep_in_memory``, ``cache_dir``, ...).

    Raises:
        ValueError: there is none.
    """
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; choose from {', '.join(METRICS)}")
    return METRICS[name](**options)


def score_texts(
    names: Sequence[str], predictions: Sequence[str], references: Sequence[str | Sequence[str]]
) -> dict[str, float]:
    """The values of several metrics, in percent.

    Raises:
        ValueError: a name is unknown, there is nothing to score, the lengths differ, or a reference list is empty.
    """
    metrics = [load_metric(name) for name in names]
    if not len(predictions):
        raise ValueError("predictions is empty: there is nothing to score")
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, but {len(references)} references")
    choices = [[reference] if isinstance(reference, str) else list(reference) for reference in references]
    if not all(choices):
        raise ValueError(f"references[{choices.index([])}] is empty")
    values: dict[str, float] = {}
    for metric in metrics:
        values.update(metric.compute(predictions=list(predictions), references=choices))
    return values


def compute_metrics_fn(
    tokenizer: PreTrainedTokenizerBase,
    names: Sequence[str],
    references: Sequence[str | Sequence[str]] | None = None,
) -> Callable[[EvalPrediction], dict[str, float]]:
    """``compute_metrics`` for ``Seq2SeqTrainer`` with ``predict_with_generate=True``.

    Args:
        tokenizer: decodes what was generated; special tokens are left out.
        names: of metrics.
        references: for each row of the evaluated data the text, or texts, to score against. None: the decoded labels;
            texts are better, since labels may be cut and have lost what the tokenizer does not know.

    Raises:
        ValueError: a name is unknown; when called: the rows are not those of the references, in number or in order.
    """
    for name in names:
        load_metric(name)
    references = None if references is None else list(references)

    def decode(ids: Any) -> list[str]:
        rows = np.asarray(ids)
        padding = tokenizer.pad_token_id
        return tokenizer.batch_decode(np.where(rows == IGNORED_LABEL, padding, rows), skip_special_tokens=True)

    def compute(output: EvalPrediction) -> dict[str, float]:
        generated = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
        labels = decode(output.label_ids)
        if references is not None:
            _check_order(tokenizer, labels, references)
        return score_texts(names, decode(generated), labels if references is None else references)

    return compute


def _check_order(
    tokenizer: PreTrainedTokenizerBase, labels: list[str], references: Sequence[str | Sequence[str]]
) -> None:
    """Raises ValueError if the labels are the references in another order (``group_by_length`` leaves them so)."""
    first = [reference if isinstance(reference, str) else reference[0] for reference in references]
    wanted = tokenizer.batch_decode(tokenizer(text_target=first, verbose=False)["input_ids"], skip_special_tokens=True)
    if labels != wanted and sorted(labels) == sorted(wanted):
        raise ValueError(
            "the rows were evaluated in another order than the references are in: evaluate without "
            "train_sampling_strategy='group_by_length', which sorts evaluation data too"
        )


def _streams(references: list[list[str]]) -> list[list[str | None]]:
    """sacrebleu's layout: the n-th stream holds the n-th reference of every sentence, None where there is none."""
    most = max(len(choices) for choices in references)
    return [[choices[n] if n < len(choices) else None for choices in references] for n in range(most)]


def _edit_rate(predictions: list[str], references: list[list[str]]) -> float:
    """100 * edits / symbols of the references, symbols standing between spaces.

    Of several references the one with the fewest edits counts, and of those the longest.
    """
    edits = symbols = 0
    for text, choices in zip(predictions, references, strict=True):
        words = [choice.split() for choice in choices]
        fewest, negative_length = min((_edits(choice, text.split()), -len(choice)) for choice in words)
        edits, symbols = edits + fewest, symbols - negative_length
    if not symbols:
        raise ValueError("all references are empty: an error rate divides by their length")
    return 100 * edits / symbols


def _edits(reference: list[str], words: list[str]) -> int:
    if not reference:
        return len(words)
    result = jiwer.process_words(" ".join(reference), " ".join(words))
    return result.substitutions + result.deletions + result.insertions
