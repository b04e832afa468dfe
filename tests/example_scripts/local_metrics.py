"""The metrics that transformers' example scripts ask ``evaluate.load`` for, from what is installed.

``evaluate`` fetches the code of a metric from the Hub when it is loaded, and tests use no network. These stand in for
it: the same ``compute`` with the same keys and units. BLEU and ROUGE come from the libraries behind the originals;
accuracy, SQuAD's words and seqeval's entities are counted here.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

Scores = dict[str, Any]


def bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """BLEU in percent, as ``score``; as many references for each prediction."""
    streams = [list(stream) for stream in zip(*references, strict=True)]
    return {"score": sacrebleu.corpus_bleu(list(predictions), streams).score}


def rouge(predictions: Sequence[str], references: Sequence[str], use_stemmer: bool = False) -> Scores:
    """Mean F-scores between 0 and 1."""
    kinds = ("rouge1", "rouge2", "rougeL", "rougeLsum")
    scorer = RougeScorer(list(kinds), use_stemmer=use_stemmer)
    scores = [scorer.score(right, text) for text, right in zip(predictions, references, strict=True)]
    return {kind: float(np.mean([score[kind].fmeasure for score in scores])) for kind in kinds}


def accuracy(predictions: Sequence[int], references: Sequence[int]) -> Scores:
    """The share of predictions that equal their reference."""
    return {"accuracy": float(np.mean(np.asarray(predictions) == np.asarray(references)))}


def words_of(answer: str) -> list[str]:
    """The words that SQuAD compares: lower case, without punctuation and articles."""
    bare = answer.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def shared_words(text: str, right: str) -> float:
    """F1 of the words of two answers."""
    said, true = words_of(text), words_of(right)
    if not said or not true:
        return float(said == true)
    return 2 * sum((Counter(said) & Counter(true)).values()) / (len(said) + len(true))


def squad(predictions: Sequence[dict[str, Any]], references: Sequence[dict[str, Any]]) -> Scores:
    """Exact match and F1 of words, in percent; of several right answers the best counts."""
    answers = {reference["id"]: reference["answers"]["text"] for reference in references}
    pairs = [(prediction["prediction_text"], answers[prediction["id"]]) for prediction in predictions]
    exact = [any(words_of(text) == words_of(right) for right in choices) for text, choices in pairs]
    shared = [max(shared_words(text, right) for right in choices) for text, choices in pairs]
    return {"exact_match": 100 * float(np.mean(exact)), "f1": 100 * float(np.mean(shared))}


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """The entities of one sentence in the B-/I- scheme, as (type, first, last).

    As seqeval reads it: an I- that continues no entity of its type begins one.
    """
    found: set[tuple[str, int, int]] = set()
    begun: tuple[str, int] | None = None
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if begun is not None and (prefix != "I" or kind != begun[0]):
            found.add((*begun, place - 1))
            begun = None
        if begun is None and prefix in ("B", "I"):
            begun = (kind, place)
    return found


def seqeval(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Scores:
    """Precision, recall and F1 of whole entities, and the accuracy of tags, between 0 and 1."""
    said = {(row, *entity) for row, tags in enumerate(predictions) for entity in entities(tags)}
    true = {(row, *entity) for row, tags in enumerate(references) for entity in entities(tags)}
    right = len(said & true)
    precision, recall = right / len(said) if said else 0.0, right / len(true) if true else 0.0
    tags = [
        one == other for pair in zip(predictions, references, strict=True) for one, other in zip(*pair, strict=True)
    ]
    return {
        "overall_precision": precision,
        "overall_recall": recall,
        "overall_f1": 2 * right / (len(said) + len(true)) if said or true else 0.0,
        "overall_accuracy": float(np.mean(tags)),
    }


METRICS: dict[str, Callable[..., Scores]] = {
    "sacrebleu": bleu,
    "rouge": rouge,
    "accuracy": accuracy,
    "squad": squad,
    "seqeval": seqeval,
}


class LocalMetric:
    """What the scripts use of an ``evaluate.EvaluationModule``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def compute(self, *, predictions: Any, references: Any, **options: Any) -> Scores:
        """The scores by name."""
        return METRICS[self.name](predictions, references, **options)


def load(path: str, *, cache_dir: str | None = None) -> LocalMetric:
    """In place of ``evaluate.load``.

    Raises:
        KeyError: there is no stand-in for this metric.
    """
    if path not in METRICS:
        raise KeyError(f"no metric {path!r} here; there are {', '.join(METRICS)}")
    return LocalMetric(path)
