"""Cloze questions about Debian's packages, answered with a span of the text: the preset ``reader``.

    python benchmarks/learn_reader.py

cloze_questions.py makes the questions of the descriptions that debian_descriptions.py reads; the packages to test with
share no family with those trained on. An answer counts if the text of the best span is the blanked word. The text's
most frequent word, and the most frequent one that the question lacks, stand beside it, as in Hermann et al. 2015.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from cloze_questions import Question, common_words, most_frequent, question_of
from debian_descriptions import descriptions, lists, release
from learning import Batch, Measured, run, train
from narrow_presets import INIT_STD, has_norms, narrow
from sequence_pairs import PAD, like_lengths, padded

from hf_rnnattn.model.pipeline_spans import best_spans
from hf_rnnattn.model.tokenization_rnnattn import RnnAttnTokenizer
from hf_rnnattn.tokenizer_training import train_tokenizer

BUDGET: dict[str, Any] = {
    "steps": 850,
    "batch": 16,
    "learning_rate": 5e-3,
    "init_std": INIT_STD[has_norms("reader")],
    "width": 96,
    "layers": 2,
    "dropout": 0.1,
    "vocabulary": 6000,
    "words_of_text": 40,
    "questions": {"train": 14000, "test": 1000},
}
LONGEST_ANSWER = 12


class Reading:
    """Questions as ids: two segments, and where the answer stands.

    Args:
        questions: all of them; the answer is found by its characters.
        tokenizer: gives ids, segments and the place of each piece in the text.
    """

    def __init__(self, questions: list[Question], tokenizer: RnnAttnTokenizer) -> None:
        self.questions = questions
        asked, texts = ([getattr(each, side) for each in questions] for side in ("question", "text"))
        encoded = tokenizer(asked, texts, return_offsets_mapping=True)
        self.ids, self.segments = encoded["input_ids"], encoded["token_type_ids"]
        self.places = encoded["offset_mapping"]
        self.spans = [self._span(row) for row in range(len(questions))]

    def _span(self, row: int) -> tuple[int, int]:
        """The first and the last piece of the answer."""
        question = self.questions[row]
        begin, end = question.place, question.place + len(question.answer)
        inside = [i for i, (a, b) in enumerate(self.places[row]) if self.segments[row][i] and a < end and b > begin]
        return inside[0], inside[-1]

    def batch(self, rows: list[int]) -> Batch:
        """Some of the questions."""
        input_ids = padded([self.ids[row] for row in rows], PAD)
        starts, ends = (torch.tensor([self.spans[row][side] for row in rows]) for side in (0, 1))
        return {
            "input_ids": input_ids,
            "attention_mask": (input_ids != PAD).long(),
            "token_type_ids": padded([self.segments[row] for row in rows], 0),
            "start_positions": starts,
            "end_positions": ends,
        }

    def batches(self, size: int, seed: int) -> Iterator[Batch]:
        """Batches without end, see ``like_lengths``."""
        for rows in like_lengths([len(ids) for ids in self.ids], size, seed):
            yield self.batch(rows)

    @torch.no_grad()
    def answers(self, model: Any, size: int = 100) -> list[str]:
        """The text of the best span for each question."""
        found = []
        for begin in range(0, len(self.questions), size):
            rows = list(range(begin, min(begin + size, len(self.questions))))
            batch = self.batch(rows)
            output = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")})
            for row, start, end in zip(rows, output.start_logits, output.end_logits, strict=True):
                places = self.places[row]
                context = torch.tensor([segment == 1 for segment in self.segments[row]])
                context &= torch.tensor([b > a for a, b in places])  # not the end token
                length = len(places)
                spans, _ = best_spans(start[:length], end[:length], context, None, 1, LONGEST_ANSWER)
                first, last, _ = spans[0]
                found.append(self.questions[row].text[places[first][0] : places[last][1]])
        return found


@cache
def data() -> tuple[dict[str, Reading], set[str], int]:
    """Questions to train on and to test with, the common words that are no answers, and the vocabulary's size."""
    parts = descriptions(lists())
    common = common_words(parts["train"])
    questions = {
        part: [asked for each in rows if (asked := question_of(each, common, BUDGET["words_of_text"]))]
        for part, rows in parts.items()
    }
    questions = {part: asked[: BUDGET["questions"][part]] for part, asked in questions.items()}
    texts = (f"{each.question} {each.text}" for each in questions["train"])
    tokenizer = train_tokenizer(texts, kind="wordpiece", vocab_size=BUDGET["vocabulary"], min_frequency=2)
    return {part: Reading(asked, tokenizer) for part, asked in questions.items()}, common, len(tokenizer)


def per_cent(answers: list[str], questions: list[Question]) -> float:
    right = sum(answer == question.answer for answer, question in zip(answers, questions, strict=True))
    return round(100 * right / len(questions), 1)


def learn(seed: int) -> Measured:
    """Per cent of test questions answered with the blanked word."""
    parts, common, vocabulary = data()
    model = narrow(
        "reader",
        width=BUDGET["width"],
        layers=BUDGET["layers"],
        dropout=BUDGET["dropout"],
        vocab_size=vocabulary,
    )
    drawn = parts["train"].batches(BUDGET["batch"], seed)
    losses = train(model, drawn, steps=BUDGET["steps"], learning_rate=BUDGET["learning_rate"])
    test = parts["test"].questions
    return {
        "right": per_cent(parts["test"].answers(model), test),
        "most_frequent": per_cent([most_frequent(each, common, exclusive=False) for each in test], test),
        "most_frequent_exclusive": per_cent([most_frequent(each, common, exclusive=True) for each in test], test),
        "loss": round(sum(losses[-50:]) / 50, 4),
        "parameters": model.num_parameters(),
        "questions": {part: len(reading.questions) for part, reading in parts.items()},
        "lists": release(lists()),
    }


if __name__ == "__main__":
    run("reader", __doc__, learn, BUDGET)
