"""The metrics that stand in for those of the Hub: worked examples."""

import pytest

from example_scripts.local_metrics import METRICS, entities, load


def test_bleu_and_rouge_have_the_units_of_the_originals():
    text = "the cat sat on the mat"
    assert load("sacrebleu").compute(predictions=[text], references=[[text]])["score"] == pytest.approx(100)
    scores = load("rouge").compute(predictions=["the cats sat"], references=["the cat sat"], use_stemmer=True)
    assert scores == {"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0, "rougeLsum": 1.0}
    assert load("rouge").compute(predictions=["the cats sat"], references=["the cat sat"])["rouge1"] < 1


def test_accuracy_is_the_share_of_equal_labels():
    assert load("accuracy").compute(predictions=[0, 2, 1], references=[0, 1, 2]) == {"accuracy": pytest.approx(1 / 3)}


def test_squad_ignores_case_articles_and_punctuation_and_takes_the_best_answer():
    said = [{"id": "1", "prediction_text": "The  mat!"}, {"id": "2", "prediction_text": "a red hat"}]
    right = [
        {"id": "2", "answers": {"text": ["no", "red hats, red hat"], "answer_start": [0, 0]}},
        {"id": "1", "answers": {"text": ["mat"], "answer_start": [4]}},
    ]
    scores = load("squad").compute(predictions=said, references=right)
    assert scores == {"exact_match": 50.0, "f1": pytest.approx(100 * (1 + 4 / 6) / 2)}


def test_entities_are_whole_spans_of_one_type():
    assert entities(["B-A", "I-A", "B-A", "I-B", "O", "I-A"]) == {("A", 0, 1), ("A", 2, 2), ("B", 3, 3), ("A", 5, 5)}
    assert entities(["O", "O"]) == set()


def test_seqeval_gives_what_its_documentation_says():
    said = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    assert load("seqeval").compute(predictions=said, references=true) == {
        "overall_precision": 0.5,
        "overall_recall": 0.5,
        "overall_f1": 0.5,
        "overall_accuracy": 0.8,
    }


def test_a_metric_that_is_not_here_is_named():
    with pytest.raises(KeyError, match=r"no metric 'mse' here; there are sacrebleu"):
        load("mse")
    assert set(METRICS) == {"sacrebleu", "rouge", "accuracy", "squad", "seqeval"}
