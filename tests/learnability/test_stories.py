"""A memory network answers what takes two facts with several hops, and not with one."""

import random
from pathlib import Path

import pytest
from stories import PEOPLE, PLACES, Story, tell

from learned import SEEDS, committed, learn


def answered(story: Story) -> set[str]:
    """Every answer that follows from the sentences."""
    subjects = {story.question[1]}
    if story.question[1] not in PEOPLE:
        subjects = {who for who, _, what in story.sentences if what == story.question[1]}
    return {what for who, verb, what in story.sentences if verb == "went" and who in subjects}


@pytest.mark.parametrize("facts", [1, 2])
def test_a_story_has_one_answer_and_no_single_sentence_gives_it(facts: int) -> None:
    draw = random.Random(0)
    for _ in range(200):
        story = tell(draw, facts)
        assert answered(story) == {story.answer}
        assert story.answer in PLACES
        telling = [sentence for sentence in story.sentences if {story.question[1], story.answer} <= {*sentence}]
        assert len(telling) == (1 if facts == 1 else 0)


def test_committed_results_are_three_seeds_of_which_two_learn_all_with_three_hops_and_none_with_one() -> None:
    seeds = committed("stories")
    assert [measured["seed"] for measured in seeds] == SEEDS
    assert [measured["three_hops"]["two_facts"] for measured in seeds].count(1.0) == 2
    assert all(measured["one_hop"]["two_facts"] < 0.3 for measured in seeds)
    assert all(measured[hops]["one_fact"] == 1.0 for measured in seeds for hops in ("one_hop", "three_hops"))


@pytest.mark.slow
def test_three_hops_learn_what_one_does_not(tmp_path: Path) -> None:
    measured = learn("stories", tmp_path)
    assert measured["three_hops"]["two_facts"] > 0.95
    assert measured["one_hop"]["two_facts"] < 0.5
