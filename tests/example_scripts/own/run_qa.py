"""Answers that stand in a text, by the calls of transformers' script of this name.

Long texts become several rows that overlap; characters of the answer are found again through the tokens' offsets.
"""

import json
from dataclasses import dataclass
from typing import Any

import evaluate
import numpy as np
from example_calls import Start, encode, load, parse, read, record, train, write_lines
from transformers import AutoModelForQuestionAnswering, Trainer, TrainingArguments, default_data_collator


@dataclass
class Task:
    """Lengths in tokens."""

    max_seq_length: int = 384
    doc_stride: int = 128
    max_answer_length: int = 30


def span_of(answer: dict[str, Any], offsets: list[tuple[int, int]], sides: list[int | None]) -> tuple[int, int]:
    """First and last token of an answer; both 0 where the row does not hold all of it."""
    begin = answer["answer_start"][0]
    end = begin + len(answer["text"][0])
    inside = [place for place, side in enumerate(sides) if side == 1]
    if offsets[inside[0]][0] > begin or offsets[inside[-1]][1] < end:
        return 0, 0
    first = max(place for place in inside if offsets[place][0] <= begin)
    return first, min(place for place in inside if offsets[place][1] >= end)


def best_answer(rows: Any, starts: Any, ends: Any, context: str, longest: int) -> str:
    """The span with the largest sum of logits over all rows of one example."""
    best = (-np.inf, "")
    for row, start, end in zip(rows, starts, ends, strict=True):
        offsets = row["offset_mapping"]
        for first in np.argsort(start)[-20:]:
            for last in np.argsort(end)[-20:]:
                if offsets[first] and offsets[last] and 0 <= last - first < longest:
                    score = start[first] + end[last]
                    best = max(best, (score, context[offsets[first][0] : offsets[last][1]]))
    return best[1]


def main() -> None:
    """Trains, evaluates and predicts."""
    start, task, training = parse(Start, Task, TrainingArguments)
    examples = read(start, field="data")
    tokenizer, model = load(AutoModelForQuestionAnswering, start)

    def tokens(batch: Any) -> Any:
        return tokenizer(
            batch["question"],
            batch["context"],
            truncation="only_second",
            max_length=min(task.max_seq_length, tokenizer.model_max_length),
            stride=task.doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding="max_length",
        )

    def for_training(batch: Any) -> Any:
        inputs = tokens(batch)
        origins, offsets = inputs.pop("overflow_to_sample_mapping"), inputs.pop("offset_mapping")
        spans = [
            span_of(batch["answers"][origin], offsets[row], inputs.sequence_ids(row))
            for row, origin in enumerate(origins)
        ]
        inputs["start_positions"], inputs["end_positions"] = (list(side) for side in zip(*spans, strict=True))
        return inputs

    def for_prediction(batch: Any) -> Any:
        inputs = tokens(batch)
        inputs["example_id"] = [batch["id"][origin] for origin in inputs.pop("overflow_to_sample_mapping")]
        for row, offsets in enumerate(inputs["offset_mapping"]):
            sides = inputs.sequence_ids(row)
            inputs["offset_mapping"][row] = [
                offset if side == 1 else None for offset, side in zip(offsets, sides, strict=True)
            ]
        return inputs

    columns = examples["train"].column_names
    rows = {
        name: encode(found, for_training if name == "train" else for_prediction, training, remove_columns=columns)
        for name, found in examples.items()
    }
    trainer = Trainer(
        model=model,
        args=training,
        train_dataset=rows["train"],
        processing_class=tokenizer,
        data_collator=default_data_collator,
    )
    metric = evaluate.load("squad", cache_dir=None)

    def predict(split: str) -> tuple[dict[str, str], dict[str, float]]:
        loop = trainer.evaluation_loop(trainer.get_eval_dataloader(rows[split]), "Prediction", None)
        starts, ends = loop.predictions
        answers = {}
        for example in examples[split]:
            mine = [place for place, name in enumerate(rows[split]["example_id"]) if name == example["id"]]
            longest = task.max_answer_length
            answers[example["id"]] = best_answer(
                rows[split].select(mine), starts[mine], ends[mine], example["context"], longest
            )
        said = [{"id": name, "prediction_text": answer} for name, answer in answers.items()]
        right = [{"id": example["id"], "answers": example["answers"]} for example in examples[split]]
        return answers, metric.compute(predictions=said, references=right)

    train(trainer)
    for name, split in (("eval", "validation"), ("predict", "test")):
        answers, scores = predict(split)
        record(trainer, name, {f"{name}_{key}": value for key, value in scores.items()}, rows[split])
        write_lines(trainer, f"{name}_predictions.json", [json.dumps(answers)])
    trainer.create_model_card(finetuned_from=start.model_name_or_path, tasks="question-answering")


if __name__ == "__main__":
    main()
