"""Translation, and with ``--summary_column`` summaries, by the calls of transformers' scripts of these names."""

from dataclasses import dataclass
from typing import Any

import evaluate
import numpy as np
from example_calls import Start, encode, load, parse, read, record, train, write_lines
from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments


@dataclass
class Task:
    """Languages or columns, and lengths."""

    source_lang: str | None = None
    target_lang: str | None = None
    text_column: str | None = None
    summary_column: str | None = None
    max_source_length: int = 1024
    max_target_length: int = 128
    num_beams: int = 1


def main() -> None:
    """Trains, evaluates and predicts."""
    start, task, training = parse(Start, Task, Seq2SeqTrainingArguments)
    rows = read(start)
    tokenizer, model = load(AutoModelForSeq2SeqLM, start)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))
    if model.config.decoder_start_token_id is None:
        raise ValueError("config.decoder_start_token_id is not defined")
    if model.config.max_position_embeddings < task.max_source_length:
        raise ValueError("max_source_length is beyond the positions of the model")

    def pairs(batch: Any) -> tuple[list[str], list[str]]:
        if task.summary_column is not None:
            return batch[task.text_column], batch[task.summary_column]
        sides = batch["translation"]
        return [pair[task.source_lang] for pair in sides], [pair[task.target_lang] for pair in sides]

    def preprocess(batch: Any) -> Any:
        sources, targets = pairs(batch)
        inputs = tokenizer(sources, max_length=task.max_source_length, padding=False, truncation=True)
        labels = tokenizer(text_target=targets, max_length=task.max_target_length, padding=False, truncation=True)
        inputs["labels"] = labels["input_ids"]
        return inputs

    columns = rows["train"].column_names
    encoded = {name: encode(found, preprocess, training, remove_columns=columns) for name, found in rows.items()}
    metric = evaluate.load("sacrebleu" if task.summary_column is None else "rouge", cache_dir=None)

    def texts(ids: Any) -> list[str]:
        known = np.where(ids != -100, ids, tokenizer.pad_token_id)
        return [text.strip() for text in tokenizer.batch_decode(known, skip_special_tokens=True)]

    def compute_metrics(prediction: Any) -> dict[str, float]:
        ids = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
        said, right = texts(ids), texts(prediction.label_ids)
        if task.summary_column is None:
            scores = {"bleu": metric.compute(predictions=said, references=[[text] for text in right])["score"]}
        else:
            scores = metric.compute(predictions=said, references=right, use_stemmer=True)
        return {**scores, "gen_len": float(np.mean([np.count_nonzero(row != tokenizer.pad_token_id) for row in ids]))}

    trainer = Seq2SeqTrainer(
        model=model,
        args=training,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model, label_pad_token_id=-100),
        compute_metrics=compute_metrics if training.predict_with_generate else None,
    )
    train(trainer)
    generation = {"max_length": task.max_target_length, "num_beams": task.num_beams}
    record(trainer, "eval", trainer.evaluate(metric_key_prefix="eval", **generation), encoded["validation"])
    found = trainer.predict(encoded["test"], metric_key_prefix="predict", **generation)
    record(trainer, "predict", found.metrics, encoded["test"])
    write_lines(trainer, "generated_predictions.txt", texts(found.predictions))
    trainer.create_model_card(finetuned_from=start.model_name_or_path, tasks="translation", language=["en"])


if __name__ == "__main__":
    main()
