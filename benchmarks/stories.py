"""Little stories with questions that need one of their facts, or two: who took a thing, and where that person went."""

import random
from typing import NamedTuple

PEOPLE = ("mary", "john", "sandra", "daniel")
PLACES = ("kitchen", "garden", "office", "bathroom", "hallway", "bedroom")
THINGS = ("ball", "apple", "milk", "book")
WORDS = ("<pad>", "<start>", "<end>", *PEOPLE, *PLACES, *THINGS, "went", "took", "where")
IDS = {word: i for i, word in enumerate(WORDS)}


class Story(NamedTuple):
    """Sentences in the order in which they happened, a question, and its answer."""

    sentences: list[list[str]]
    question: list[str]
    answer: str


def tell(draw: random.Random, facts: int) -> Story:
    """Everybody goes to a place of their own and takes one thing, some before and some after they went.

    The eight sentences come in any order. With one of the ``facts``, asked is where a person is. With two it is where
    a thing is: one sentence says who took it, another where that person went, and no other tells anything of it.
    """
    places, things = draw.sample(PLACES, len(PEOPLE)), draw.sample(THINGS, len(PEOPLE))
    sentences = [[person, "went", place] for person, place in zip(PEOPLE, places, strict=True)]
    sentences += [[person, "took", thing] for person, thing in zip(PEOPLE, things, strict=True)]
    draw.shuffle(sentences)
    asked = draw.randrange(len(PEOPLE))
    return Story(sentences, ["where", (PEOPLE if facts == 1 else things)[asked]], places[asked])
