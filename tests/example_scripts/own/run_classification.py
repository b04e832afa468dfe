"""Labels of texts, by the calls of transformers' script of this name."""

from dataclasses import dataclass
from typing import Any

import evaluate
import numpy as np
from example_calls import Start, encode, load, parse, read, record, train, write_lines
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments, default_data_collator


@dataclass
class Task:
    """Length in tokens."""

    max_seq_length: int = 128


def main() -> None:
    """Trains, evaluates and predicts."""
    start, task, training = parse(Start, Task, TrainingArguments)
    rows = read(start)
    names = sorted({label for found in rows.values() for label in found.unique("label")})
    fields = {"num_labels": len(names), "finetuning_task": "text-classification"}
    tokenizer, model = load(AutoModelForSequenceClassification, start, **fields)
    model.config.label2id = {name: number for number, name in enumerate(names)}
    model.config.id2label = dict(enumerate(names))
    length = min(task.max_seq_length, tokenizer.model_max_length)

    def preprocess(batch: Any) -> Any:
        inputs = tokenizer(batch["sentence"], padding="max_length", max_length=length, truncation=True)
        inputs["label"] = [names.index(label) for label in batch["label"]]
        return inputs

    encoded = {name: encode(found, preprocess, training) for name, found in rows.items()}
    metric = evaluate.load("accuracy", cache_dir=None)

    def compute_metrics(prediction: Any) -> dict[str, float]:
        logits = prediction.predictions
        logits = logits[0] if isinstance(logits, tuple) else logits
        return metric.compute(predictions=np.argmax(logits, axis=1), references=prediction.label_ids)

    trainer = Trainer(
        model=model,
        args=training,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        compute_metrics=compute_metrics,
        processing_class=tokenizer,
        data_collator=default_data_collator,
    )
    train(trainer)
    record(trainer, "eval", trainer.evaluate(eval_dataset=encoded["validation"]), encoded["validation"])
    test = encoded["test"].remove_columns("label")
    found = np.argmax(trainer.predict(test, metric_key_prefix="predict").predictions, axis=1)
    lines = [f"{number}\t{names[label]}" for number, label in enumerate(found)]
    write_lines(trainer, "predict_results.txt", ["index\tprediction", *lines])
    trainer.create_model_card(finetuned_from=start.model_name_or_path, tasks="text-classification")


if __name__ == "__main__":
    main()
