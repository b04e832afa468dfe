"""Labels of words, by the calls of transformers' script of this name."""

from typing import Any

import evaluate
import numpy as np
from example_calls import Start, encode, load, parse, read, record, train, write_lines
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
)


def main() -> None:
    """Trains, evaluates and predicts."""
    start, training = parse(Start, TrainingArguments)
    rows = read(start)
    names = sorted({tag for tags in rows["train"]["ner_tags"] for tag in tags})
    fields = {"num_labels": len(names), "finetuning_task": "ner"}
    tokenizer, model = load(AutoModelForTokenClassification, start, **fields)
    model.config.label2id = {name: number for number, name in enumerate(names)}
    model.config.id2label = dict(enumerate(names))

    def preprocess(batch: Any) -> Any:
        """Labels the first token of each word."""
        inputs = tokenizer(batch["tokens"], padding=False, truncation=True, max_length=None, is_split_into_words=True)
        inputs["labels"] = []
        for row, tags in enumerate(batch["ner_tags"]):
            words = inputs.word_ids(batch_index=row)
            first = [word is not None and word != before for word, before in zip(words, [None, *words], strict=False)]
            labels = [names.index(tags[word]) if new else -100 for word, new in zip(words, first, strict=True)]
            inputs["labels"].append(labels)
        return inputs

    encoded = {name: encode(found, preprocess, training) for name, found in rows.items()}
    metric = evaluate.load("seqeval", cache_dir=None)

    def tags_of(ids: Any, labels: Any) -> list[list[str]]:
        pairs = zip(ids, labels, strict=True)
        return [[names[i] for i, label in zip(*row, strict=True) if label != -100] for row in pairs]

    def compute_metrics(prediction: Any) -> dict[str, float]:
        logits, labels = prediction
        scores = metric.compute(
            predictions=tags_of(np.argmax(logits, axis=2), labels), references=tags_of(labels, labels)
        )
        return {"f1": scores["overall_f1"], "accuracy": scores["overall_accuracy"]}

    trainer = Trainer(
        model=model,
        args=training,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorForTokenClassification(tokenizer, pad_to_multiple_of=None),
        compute_metrics=compute_metrics,
    )
    train(trainer)
    record(trainer, "eval", trainer.evaluate(), encoded["validation"])
    logits, labels, metrics = trainer.predict(encoded["test"], metric_key_prefix="predict")
    record(trainer, "predict", metrics, encoded["test"])
    lines = [" ".join(tags) for tags in tags_of(np.argmax(logits, axis=2), labels)]
    write_lines(trainer, "predictions.txt", lines)
    trainer.create_model_card(finetuned_from=start.model_name_or_path, tasks="token-classification")


if __name__ == "__main__":
    main()
