"""Metrics: values worked out by hand, and those of the libraries they stand on."""

import evaluate
import jiwer
import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from transformers import EvalPrediction

from hf_rnnattn.evaluation import METRICS, compute_metrics_fn, load_metric, score_texts
from hf_rnnattn.tokenizer_training import train_tokenizers

TEXTS = ["the cat sat on the mat", "a quick brown fox", "hello there world"]
REFERENCES = ["the cat is on the mat", "the quick brown fox jumps", "hello there world"]
SECOND = ["a cat sat on a mat", None, "hi there"]
SEVERAL = [[first] if second is None else [first, second] for first, second in zip(REFERENCES, SECOND, strict=True)]


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path))


def value(name: str, predictions: list[str], references: list) -> float:
    return score_texts([name], predictions, references)[name]


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_an_evaluate_metric(name):
    metric = load_metric(name)
    assert isinstance(metric, evaluate.Metric)
    assert metric.description
    one = metric.compute(predictions=TEXTS, references=REFERENCES)
    assert one == metric.compute(predictions=TEXTS, references=[[text] for text in REFERENCES])
    for text, reference in zip(TEXTS, REFERENCES, strict=True):
        metric.add(prediction=text, reference=reference)
    assert metric.compute() == one


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_prediction_is_perfect_whichever_reference_it_equals(name):
    best = 0.0 if name == "wer" or name.endswith("rate") else 100.0
    texts = ["one two three four five", "six seven eight nine"]
    others = [["x y", texts[0]], [texts[1], "z"]]
    for references in (texts, others):
        assert all(v == pytest.approx(best) for v in score_texts([name], texts, references).values())


@pytest.mark.parametrize("name", METRICS)
def test_a_further_reference_never_hurts(name):
    single, several = score_texts([name], TEXTS, REFERENCES), score_texts([name], TEXTS, SEVERAL)
    sign = -1 if name == "wer" or name.endswith("rate") else 1
    assert all(sign * several[key] >= sign * single[key] for key in single)


def test_bleu_and_chrf_are_those_of_sacrebleu():
    assert value("bleu", TEXTS, REFERENCES) == sacrebleu.corpus_bleu(TEXTS, [REFERENCES]).score
    assert value("bleu", TEXTS, SEVERAL) == sacrebleu.corpus_bleu(TEXTS, [REFERENCES, SECOND]).score
    assert value("chrf", TEXTS, REFERENCES) == sacrebleu.corpus_chrf(TEXTS, [REFERENCES]).score
    assert value("chrf", TEXTS, SEVERAL) == sacrebleu.corpus_chrf(TEXTS, [REFERENCES, SECOND]).score


def test_bleu_worked_out_by_hand():
    # 1-grams 5/6, 2-grams 4/5, 3-grams 3/4, 4-grams 2/3, no brevity penalty
    expected = 100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25
    assert value("bleu", ["a b c d e f"], ["a b c d e g"]) == pytest.approx(expected)


def test_rouge_is_the_mean_of_rouge_score():
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    scores = [scorer.score(reference, text) for reference, text in zip(REFERENCES, TEXTS, strict=True)]
    values = score_texts(["rouge"], TEXTS, REFERENCES)
    for kind in ("rouge1", "rouge2", "rougeL"):
        assert values[kind] == pytest.approx(100 * sum(score[kind].fmeasure for score in scores) / 3)


def test_rouge_worked_out_by_hand():
    # 2 of 3 predicted and 2 of 4 wanted words agree: F = 2 * 2/3 * 1/2 / (2/3 + 1/2) = 4/7
    values = score_texts(["rouge"], ["a b x"], [["a b c d", "q"]])
    assert values["rouge1"] == pytest.approx(400 / 7)
    assert values["rougeL"] == pytest.approx(400 / 7)
    assert values["rouge2"] == pytest.approx(40)  # 1 of 2 and 1 of 3


def test_wer_is_that_of_jiwer():
    assert value("wer", TEXTS, REFERENCES) == pytest.approx(100 * jiwer.wer(REFERENCES, TEXTS))


def test_wer_worked_out_by_hand():
    # one substitution in three words, one insertion and nothing else in one word: 2 edits, 4 words
    assert value("wer", ["a x c", "d e"], ["a b c", "d"]) == 50.0
    assert value("wer", ["a b c"], ["x"]) == 300.0
    assert value("wer", [""], ["a b"]) == 100.0


def test_phoneme_errors_count_against_the_closest_pronunciation():
    # closest: 1 edit of 3 phones (not 2 of 2), and 0 of 2
    references = [["P AA", "T AH M", "K L AO S T"], ["OW", "L OW"]]
    assert value("phoneme_error_rate", ["T AH N", "L OW"], references) == pytest.approx(100 * 1 / 5)


def test_equally_close_pronunciations_count_with_the_longer_one():
    assert value("phoneme_error_rate", ["A B"], [["A", "A B C"]]) == pytest.approx(100 / 3)


def test_a_word_is_wrong_unless_a_pronunciation_fits_exactly():
    references = [["HH AH L OW", "HH EH L OW"], ["W ER L D"], ["AH"], ["AH"]]
    predictions = ["HH EH L OW", "W ER L", "AH AH", " AH  "]
    assert value("g2p_word_error_rate", predictions, references) == 50.0


def test_exact_match_compares_every_character():
    assert value("exact_match", ["ab", "a b", "ab ", "x"], ["ab", "ab", "ab", ["y", "x"]]) == 50.0


def test_symbols_are_separated_by_any_white_space():
    assert value("wer", ["a\tb\u00a0c"], ["a b\nc"]) == 0.0


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(
        ValueError, match="unknown metric 'blue'; choose from bleu, chrf, rouge, wer, phoneme_error_rate"
    ):
        load_metric("blue")


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "predictions is empty"),
        (["a"], ["a", "b"], "1 predictions, but 2 references"),
        (["a", "b"], [["a"], []], r"references\[1\] is empty"),
        (["a"], [""], "all references are empty"),
    ],
)
def test_what_cannot_be_scored_is_named(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        score_texts(["wer"], predictions, references)


@pytest.fixture
def tokenizer():
    return train_tokenizers(["ab"], ["HH AH L OW", "W ER L D"], source_kind="char", target_kind="whitespace")


def padded(tokenizer, texts: list[str], fill: int, start: bool = False) -> np.ndarray:
    rows = tokenizer(text_target=texts)["input_ids"]
    rows = [[tokenizer.bos_token_id, *row] if start else row for row in rows]
    return np.array([row + [fill] * (9 - len(row)) for row in rows])


def test_generated_ids_are_scored_against_labels_without_padding(tokenizer):
    output = EvalPrediction(
        predictions=padded(tokenizer, ["HH AH L OW", "W ER D"], -100, start=True),
        label_ids=padded(tokenizer, ["HH AH L OW", "W ER L D"], -100),
    )
    values = compute_metrics_fn(tokenizer, ["g2p_word_error_rate", "phoneme_error_rate"])(output)
    assert values == {"g2p_word_error_rate": 50.0, "phoneme_error_rate": 100 / 8}


def test_given_references_stand_above_the_labels(tokenizer):
    labels = padded(tokenizer, ["HH AH L OW", "W ER L D"], -100)
    predictions = padded(tokenizer, ["HH AH L OW", "W ER D"], 0, start=True)
    compute = compute_metrics_fn(tokenizer, ["exact_match"], [["HH AH L OW"], ["W ER L D", "W ER D"]])
    assert compute(EvalPrediction(predictions=(predictions, None), label_ids=labels)) == {"exact_match": 100.0}
    with pytest.raises(ValueError, match="2 predictions, but 1 references"):
        compute_metrics_fn(tokenizer, ["exact_match"], ["HH"])(EvalPrediction(predictions, labels))


def test_rows_in_another_order_than_the_references_are_refused(tokenizer):
    texts = ["HH AH L OW", "W ER L D"]
    output = EvalPrediction(padded(tokenizer, texts, 0), padded(tokenizer, texts[::-1], -100))
    with pytest.raises(ValueError, match="in another order than the references"):
        compute_metrics_fn(tokenizer, ["exact_match"], texts)(output)


def test_an_unknown_name_is_refused_before_training(tokenizer):
    with pytest.raises(ValueError, match="unknown metric 'word_error_rate'"):
        compute_metrics_fn(tokenizer, ["word_error_rate"])
