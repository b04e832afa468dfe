"""Questions about the packages of Debian: the short description with a word blanked that the long one holds.

Hermann et al. 2015 made such questions of news and their summaries. A package whose long description's beginning has
none of the words of the short one, common words aside, makes no question.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from debian_descriptions import Description

BLANK = "_"
SHORTEST_ANSWER = 4
COMMON_WORDS = 150

_WORD = re.compile(r"[a-z][a-z0-9+]*")


@dataclass(frozen=True)
class Question:
    """A cloze question, the text that answers it, the answer, a word, and the place of its first letter in the text.

    All in lower case.
    """

    question: str
    text: str
    answer: str
    place: int


def words_of(text: str) -> list[str]:
    """Its words in lower case, marks left out."""
    return _WORD.findall(text.lower())


def common_words(descriptions: Sequence[Description]) -> set[str]:
    """The words that the most descriptions use."""
    counts = Counter(word for each in descriptions for word in {*words_of(f"{each.short} {each.long}")})
    return {word for word, _ in counts.most_common(COMMON_WORDS)}


def candidates(text: str, common: set[str]) -> list[str]:
    """The words that may be an answer, as often as they occur."""
    return [word for word in words_of(text) if len(word) >= SHORTEST_ANSWER and word not in common]


def question_of(description: Description, common: set[str], longest: int) -> Question | None:
    """A question of a package, of its text's first so many words; None if it makes none.

    Of several words that could be blanked, the one that is the least frequent in the text is, the first of those.
    """
    short = " ".join(description.short.lower().split())
    text = " ".join(description.long.lower().split()[:longest])
    inside = Counter(candidates(text, common))
    answers = [word for word in candidates(short, common) if word in inside]
    if not answers:
        return None
    answer = min(answers, key=lambda word: inside[word])
    blanked = re.sub(rf"(?<![a-z0-9+]){re.escape(answer)}(?![a-z0-9+])", BLANK, short)
    found = re.search(rf"(?<![a-z0-9+]){re.escape(answer)}(?![a-z0-9+])", text)
    return None if found is None or answer in blanked else Question(blanked, text, answer, found.start())


def most_frequent(question: Question, common: set[str], exclusive: bool) -> str:
    """What Hermann et al. compare with: the text's most frequent candidate, ``exclusive``: that the question lacks."""
    asked = {*words_of(question.question)} if exclusive else set()
    counts = Counter(word for word in candidates(question.text, common) if word not in asked)
    return counts.most_common(1)[0][0]
