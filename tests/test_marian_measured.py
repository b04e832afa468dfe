"""The numbers that docs/marian.md shows of models that Marian trained are those of the committed results."""

import json
from typing import Any

import pytest

from sources import PROJECT

DOCUMENT = " ".join((PROJECT / "docs" / "marian.md").read_text(encoding="utf-8").split())
MODELS = {"student": "transformer encoder, SSRU decoder", "s2s": "GRU encoder, conditional GRU decoder (`s2s`)"}
SEARCHES = ("greedy", "4 beams", "4 beams, none stopped early")


def results(name: str) -> Any:
    return json.loads((PROJECT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))["results"]


CASES = results("marian_real") | results("marian_real_s2s")


@pytest.mark.parametrize("name", MODELS)
def test_the_tables_are_the_committed_ones(name):
    case = CASES[name]
    same = " | ".join(f"{case['agreement'][s]['identical']} of {case['agreement'][s]['texts']}" for s in SEARCHES)
    assert f"| {MODELS[name]} | {case['bleu_of_marian_greedy']:.1f} | {same} |" in DOCUMENT
    times = " | ".join(f"{speed['times_as_long_as_marian']:.1f} × Marian's" for speed in case["speed"])
    assert f"| {MODELS[name]} | {times} |" in DOCUMENT


def test_what_is_said_of_scores_is_what_was_measured():
    for name in MODELS:
        agreement = CASES[name]["agreement"]
        assert max(agreement[search]["largest_difference_of_scores"] for search in SEARCHES) < 1e-5
    lower = {
        search: [CASES[name]["agreement"][search]["marian_scores_higher"] for name in MODELS] for search in SEARCHES
    }
    (student, s2s), (student_never, s2s_never) = lower["4 beams"], lower["4 beams, none stopped early"]
    assert f"With 4 beams {student} translations of the student and {s2s} of the s2s model scored lower" in DOCUMENT
    assert f'with `early_stopping="never"` {student_never} and {s2s_never};' in DOCUMENT


def test_what_is_said_of_narrowing_beams_is_what_was_measured():
    student, s2s = (results("marian_beams")[name] for name in ("student", "s2s"))
    assert f"own translation for {student['identical']} of {student['texts']} sentences" in DOCUMENT
    assert f"those of the s2s model for {s2s['identical']} of {s2s['texts']} (" in DOCUMENT


def test_the_readme_says_of_held_out_sentences_what_was_measured():
    readme = " ".join((PROJECT / "README.md").read_text(encoding="utf-8").split())
    assert "give its own translation of each of 500 held-out sentences" in readme
    greedy = [CASES[name]["agreement"]["greedy"] for name in MODELS]
    for result in (*greedy, *(results("marian_beams")[name] for name in MODELS)):
        assert result["identical"] == result["texts"] == 500


def test_what_is_said_of_fine_tuning_is_what_was_measured():
    tuned = results("fine_tune_student")
    before, after = tuned["bleu"]["before"], tuned["bleu"]["after"]
    assert (
        f"({tuned['fine_tuning']['steps']} steps) went from {before['domain']:.1f} to {after['domain']:.1f} BLEU"
        in DOCUMENT
    )
    assert f"on the general test from {before['general']:.1f} to {after['general']:.1f}" in DOCUMENT
    assert f"translates {tuned['given_back']['identical']} of {tuned['given_back']['texts']} sentences" in DOCUMENT
