"""The model card of a run: README.md with the Hub's metadata header, every number taken from the run's results.

The results are a JSON object with these keys; those marked * may be missing and their part of the card is left out:

    name          what the model is called
    license*      identifier such as "apache-2.0"            language*  "en", or a list
    base_model*   what was fine-tuned
    data          name, description*, source_column*, target_column*, sizes {split: examples}
    model         class, model_type, parameters, needs_package (import hf_rnnattn first), config {field: value}
    tokenizer*    class, source_vocabulary, target_vocabulary
    training*     seconds, steps, epochs, loss, arguments {name: value}
    evaluation    {split: {"examples": n, "metrics": {name: value}}}
    generation*   {name: value} used in the evaluation
    metric_notes* {metric: what it is}
    examples*     [{"source", "prediction", "reference"}]
    command, versions {package: version}, machine {property: value}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from hf_rnnattn.results import read_results, write_text

CARD_NAME = "README.md"
TASK_TYPE = "text2text-generation"
TASK_NAME = "Sequence to sequence"
UNNAMED_LICENSE = "No licence has been chosen for these weights; the data's licence is its publisher's."


def write_model_card(target: str | Path, results: Mapping[str, Any]) -> Path:
    """Write the card, to ``target`` if it ends in ``.md``, else to ``README.md`` in the folder ``target``.

    Args:
        target: a checkpoint's folder, or a Markdown file.
        results: see the head of this module.

    Returns:
        The card's path.

    Raises:
        ValueError: a key that every card needs is missing.
    """
    target = Path(target)
    path = target if target.suffix == ".md" else target / CARD_NAME
    return write_text(path, model_card(results))


def write_card_of_results(results_file: str | Path, target: str | Path) -> Path:
    """``write_model_card`` for a results file."""
    return write_model_card(target, read_results(results_file))


def model_card(results: Mapping[str, Any]) -> str:
    """The text of the card."""
    missing = [key for key in ("name", "data", "model", "evaluation", "command", "versions") if key not in results]
    if missing:
        raise ValueError(f"the results of a model card lack {', '.join(missing)}")
    parts = [
        f"---\n{_metadata(results).to_yaml()}\n---",
        f"# {results['name']}",
        _summary(results),
        _loading(results),
        _numbers(results),
        _samples(results),
        _data(results),
        _architecture(results),
        _training(results),
        _limits(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metadata(results: Mapping[str, Any]) -> ModelCardData:
    tags = ["seq2seq", "encoder-decoder", results["model"]["model_type"]]
    if results["model"].get("needs_package"):
        tags.append("hf_rnnattn")
    evaluations = _evaluations(results)
    return ModelCardData(
        model_name=results["name"],
        library_name="transformers",
        pipeline_tag=TASK_TYPE,
        license=results.get("license"),
        language=results.get("language"),
        base_model=results.get("base_model"),
        tags=tags,
        metrics=sorted({evaluation.metric_type for evaluation in evaluations}) or None,
        eval_results=evaluations or None,
    )


def _evaluations(results: Mapping[str, Any]) -> list[EvalResult]:
    data_name = results["data"]["name"]
    return [
        EvalResult(
            task_type=TASK_TYPE,
            task_name=TASK_NAME,
            dataset_type=data_name,
            dataset_name=data_name,
            dataset_split=split,
            metric_type=metric,
            metric_value=value,
        )
        for split, evaluation in results["evaluation"].items()
        for metric, value in evaluation["metrics"].items()
    ]


def _summary(results: Mapping[str, Any]) -> str:
    model = results["model"]
    parameters = f"{model['parameters']:,} parameters"
    origin = f", fine-tuned from {results['base_model']}" if results.get("base_model") else ", trained from scratch"
    return f"`{model['class']}` with {parameters}{origin} on {results['data']['name']}."


def _loading(results: Mapping[str, Any]) -> str:
    needs_package = results["model"].get("needs_package", False)
    samples = results.get("examples") or [{"source": "example"}]
    lines = [
        *(["import hf_rnnattn  # registers the model family with transformers"] if needs_package else []),
        "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer",
        "",
        'folder = "."  # where this file lies, or the name of the repository',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        "model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()",
        f'inputs = tokenizer([{samples[0]["source"]!r}], return_tensors="pt")',
        "print(tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True))",
    ]
    packages = "`hf_rnnattn`, `transformers` and `torch`" if needs_package else "`transformers` and `torch`"
    code = "\n".join(lines)
    return f"## How to load it\n\nWith {packages} installed:\n\n```python\n{code}\n```"


def _numbers(results: Mapping[str, Any]) -> str:
    if not results["evaluation"]:
        return "## Results\n\nThe run measured nothing: it had no validation or test data."
    rows = [
        (split, metric, _number(value), f"{evaluation['examples']:,}")
        for split, evaluation in results["evaluation"].items()
        for metric, value in evaluation["metrics"].items()
    ]
    settings = ", ".join(f"{name} {value}" for name, value in results.get("generation", {}).items())
    notes = [f"Generated with: {settings}."] if settings else []
    notes += ["\n".join(f"- `{name}`: {note}" for name, note in results.get("metric_notes", {}).items())]
    return "\n\n".join(["## Results", _table(("split", "metric", "value", "examples"), rows), *filter(None, notes)])


def _samples(results: Mapping[str, Any]) -> str:
    rows = [(sample["source"], sample["prediction"], sample["reference"]) for sample in results.get("examples", [])]
    if not rows:
        return ""
    table = _table(("source", "model", "reference"), rows)
    return f"## Examples\n\nNot chosen: the first of the evaluated data.\n\n{table}"


def _data(results: Mapping[str, Any]) -> str:
    data = results["data"]
    lines = [data.get("description", f"Data: {data['name']}.")]
    if "source_column" in data:
        lines.append(f"Source column `{data['source_column']}`, target column `{data['target_column']}`.")
    sizes = [(split, f"{size:,}") for split, size in data["sizes"].items()]
    return "## Data\n\n" + " ".join(lines) + "\n\n" + _table(("split", "examples"), sizes)


def _architecture(results: Mapping[str, Any]) -> str:
    rows = [(f"`{name}`", f"`{value}`") for name, value in results["model"].get("config", {}).items()]
    tokenizer = results.get("tokenizer")
    note = ""
    if tokenizer:
        note = (
            f"\n\nTokenizer: `{tokenizer['class']}`, {tokenizer['source_vocabulary']:,} source "
            f"and {tokenizer['target_vocabulary']:,} target symbols."
        )
    return f"## Model\n\n{_table(('field', 'value'), rows)}{note}" if rows else ""


def _training(results: Mapping[str, Any]) -> str:
    training = results.get("training")
    lines = ["## Training"]
    if training:
        lines.append(
            f"{training['steps']:,} steps, {training['epochs']:.2f} epochs, {training['seconds']:.1f} seconds; "
            f"mean training loss {_number(training['loss'])}."
        )
        if training.get("best_step"):
            lines.append(f"Kept: the checkpoint of step {training['best_step']:,}, the best on the validation data.")
        lines.append(_table(("argument", "value"), [(f"`{k}`", f"`{v}`") for k, v in training["arguments"].items()]))
    lines.append(f"Command:\n\n```bash\n{results['command']}\n```")
    lines.append(_table(("package", "version"), list(results["versions"].items())))
    if results.get("machine"):
        lines.append(_table(("machine", ""), [(name, _plain(value)) for name, value in results["machine"].items()]))
    return "\n\n".join(lines)


def _limits(results: Mapping[str, Any]) -> str:
    lines = [
        f"- It knows the kind of text that {results['data']['name']} holds, and no other was measured.",
        "- The numbers above are of one run with one seed.",
        "- Like every generator it can answer wrongly without a sign of doubt; check what matters.",
    ]
    if not results.get("license"):
        lines.append(f"- {UNNAMED_LICENSE}")
    return "## Limits\n\n" + "\n".join(lines)


def _number(value: Any) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _plain(value: Any) -> str:
    return ", ".join(str(item) for item in value) or "none" if isinstance(value, list) else str(value)


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
