"""transformers' example scripts, on real text, with tiny models of ours.

``examples/pytorch`` is in transformers' repository and in no package of it: the source distributions on PyPI leave it
out. So two kinds of scripts run here, with the same files, flags and checks:

- those of transformers, unmodified, in fresh processes, where ``TRANSFORMERS_EXAMPLES`` names the folder
  ``examples/pytorch`` of a checkout at the version that is installed;
- those in ``own``, always: written here, they make the same calls in the same order, with the same options.

One thing is replaced, without touching a script: ``evaluate.load`` fetches a metric's code from the Hub, and gives
``local_metrics`` instead; and NLTK, which one script asks for sentences, splits them without its English data.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import evaluate
import pytest
import torch
import transformers
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import hf_rnnattn
from example_scripts import local_metrics, tasks
from hf_rnnattn.__main__ import main
from sources import PROJECT

HERE = Path(__file__).parent
EXAMPLES = os.environ.get("TRANSFORMERS_EXAMPLES")
TRAINING = [
    "--do_train",
    "--do_eval",
    "--do_predict",
    "--learning_rate",
    "1e-2",
    "--per_device_train_batch_size",
    "16",
]
TRAINING += ["--logging_strategy", "epoch", "--save_strategy", "no", "--report_to", "none", "--use_cpu"]
TRAINING += ["--disable_tqdm", "true"]
GENERATION = ["--predict_with_generate", "--max_source_length", "128", "--max_target_length", "24", "--num_beams", "2"]
LANGUAGES = ["--source_lang", "en", "--target_lang", "phones"]
COLUMNS = ["--text_column", "text", "--summary_column", "summary"]


@dataclass(frozen=True)
class Task:
    """A script, what it reads, and what must come out."""

    theirs: str  # the script of transformers
    rows: Callable[[], tasks.Rows]
    tokenizer: Callable[[tasks.Rows], hf_rnnattn.RnnAttnTokenizer]
    auto_class: str
    score: str  # of the evaluation, in eval_results.json
    least: float = 0.0  # of that score, after these epochs; 0 where a model so small learns too little of the task
    flags: list[str] = field(default_factory=list)
    epochs: int = 6
    predictions: str | None = None  # the file of the predictions, one a line
    own: str | None = None


def words(*columns: str, kind: str = "bpe") -> Callable[[tasks.Rows], hf_rnnattn.RnnAttnTokenizer]:
    """A tokenizer trained from these columns."""

    def train(rows: tasks.Rows) -> hf_rnnattn.RnnAttnTokenizer:
        texts = [row[column] for row in rows["train"] for column in columns]
        return tasks.subwords([text if isinstance(text, str) else " ".join(text) for text in texts], kind)

    return train


TASKS = {
    "translation": Task(
        "run_translation.py",
        tasks.pronunciations,
        tasks.letters_and_phones,
        "AutoModelForSeq2SeqLM",
        *("eval_gen_len", 3),
        flags=[*LANGUAGES, *GENERATION],
        predictions="generated_predictions.txt",
        own="run_translation.py",
    ),
    "summarization": Task(
        "run_summarization.py",
        tasks.summaries,
        words("text", "summary"),
        "AutoModelForSeq2SeqLM",
        *("eval_gen_len", 3),
        flags=[*COLUMNS, *GENERATION],
        predictions="generated_predictions.txt",
        own="run_translation.py",
    ),
    "question answering": Task(
        "run_qa.py",
        tasks.questions,
        words("question", "context"),
        "AutoModelForQuestionAnswering",
        *("eval_f1", 30),
        flags=["--max_seq_length", "96", "--doc_stride", "32"],
        epochs=4,
        predictions="predict_predictions.json",
        own="run_qa.py",
    ),
    "generated answers": Task(
        "run_seq2seq_qa.py",
        tasks.questions,
        words("question", "context"),
        "AutoModelForSeq2SeqLM",
        "eval_f1",
        flags=["--predict_with_generate", "--max_seq_length", "96"],
    ),
    "classification": Task(
        "run_classification.py",
        tasks.articles,
        words("sentence", kind="char"),
        "AutoModelForSequenceClassification",
        *("eval_accuracy", 0.9),
        flags=["--max_seq_length", "32"],
        predictions="predict_results.txt",
        own="run_classification.py",
    ),
    "tagging": Task(
        "run_ner.py",
        tasks.signatures,
        words("tokens", kind="wordpiece"),
        "AutoModelForTokenClassification",
        *("eval_f1", 0.8),
        predictions="predictions.txt",
        own="run_ner.py",
    ),
}
SLOW = ("summarization",)  # what translation and it have in common is tested with translation
OWN = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name, task in TASKS.items() if task.own]


def theirs(task: Task) -> Path:
    """The script of transformers; skips where it is not at hand."""
    if EXAMPLES is None:
        pytest.skip("TRANSFORMERS_EXAMPLES does not name the folder examples/pytorch of a checkout of transformers")
    found = sorted(Path(EXAMPLES).rglob(task.theirs))
    assert found, f"no {task.theirs} below {EXAMPLES}"
    return found[0]


def command(task: Task, folder: Path) -> list[str]:
    """The flags of a run in this folder, for which the data and the checkpoint are written."""
    rows = task.rows()
    checkpoint = tasks.save_checkpoint(task.tokenizer(rows), folder / "checkpoint")
    files = tasks.write(rows, folder, squad=task.rows is tasks.questions)
    places = ["--model_name_or_path", str(checkpoint), "--output_dir", str(folder / "output")]
    return [*places, *files, *task.flags, *TRAINING, "--num_train_epochs", str(task.epochs)]


def launch(*arguments: str, folder: Path) -> None:
    """Runs a script through the launcher, in a process of its own and without a network."""
    (folder / "nltk" / "tokenizers" / "punkt").mkdir(parents=True)
    variables = {
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "tests"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "HF_MODULES_CACHE": str(folder / "modules"),
        "NLTK_DATA": str(folder / "nltk"),
    }
    run = [sys.executable, str(HERE / "launcher.py"), *arguments]
    done = subprocess.run(
        run, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def check(task: Task, output: Path, start: Path) -> None:
    """What a run leaves behind: falling losses, metrics, a prediction for each row, a checkpoint that loads."""
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert len(losses) == task.epochs
    assert losses[-1] < 0.9 * losses[0]
    for name in ("train", "eval", "predict"):
        if (name, task.theirs) == ("predict", "run_classification.py"):
            continue  # it saves predictions alone
        metrics = json.loads((output / f"{name}_results.json").read_text())
        assert all(math.isfinite(value) for value in metrics.values()), metrics
        if (name, task.theirs) != ("predict", "run_ner.py"):
            assert metrics[f"{name}_samples"] >= tasks.SIZES["train" if name == "train" else "test"]
    assert json.loads((output / "eval_results.json").read_text())[task.score] >= task.least
    if task.predictions is not None:
        text = (output / task.predictions).read_text(encoding="utf-8")
        lines = json.loads(text) if task.predictions.endswith("json") else text.removesuffix("\n").split("\n")
        assert len(lines) == tasks.SIZES["test"] + (task.predictions == "predict_results.txt")  # it has a heading
    if task.theirs != "run_seq2seq_qa.py":  # it writes no card
        assert f"base_model: {start}" in (output / "README.md").read_text(encoding="utf-8")
    auto_class = getattr(transformers, task.auto_class)
    model, report = auto_class.from_pretrained(output, output_loading_info=True)
    assert not any(report.values()), report
    assert all(torch.isfinite(weight).all() for weight in model.parameters())
    before, after = (AutoTokenizer.from_pretrained(folder) for folder in (start, output))
    assert after("Return a def", text_target="Return a").data == before("Return a def", text_target="Return a").data


@pytest.mark.parametrize("name", OWN)
def test_scripts_with_the_calls_of_transformers_examples_train_and_predict(name, tmp_path, monkeypatch):
    task = TASKS[name]
    monkeypatch.setattr(evaluate, "load", local_metrics.load)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert main([str(HERE / "own" / task.own), *command(task, tmp_path)]) == 0
    check(task, tmp_path / "output", tmp_path / "checkpoint")


@pytest.mark.parametrize("name", TASKS)
def test_examples_of_transformers_run_unmodified(name, tmp_path):
    script = theirs(TASKS[name])
    launch(str(script), *command(TASKS[name], tmp_path), folder=tmp_path)
    check(TASKS[name], tmp_path / "output", tmp_path / "checkpoint")


def with_its_code(folder: Path) -> None:
    """Saves the checkpoint of a folder again, together with its code; in a process that then ends."""
    code = (
        "import sys, hf_rnnattn; from transformers import AutoModelForSeq2SeqLM, AutoTokenizer; folder = sys.argv[1];"
        "hf_rnnattn.enable_remote_code(); tokenizer = AutoTokenizer.from_pretrained(folder);"
        "AutoModelForSeq2SeqLM.from_pretrained(folder).save_pretrained(folder); tokenizer.save_pretrained(folder)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True)
    assert (folder / "modeling_rnnattn.py").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("origin", ["theirs", "own"])
def test_a_checkpoint_with_its_code_trains_where_the_package_is_not_installed(origin, tmp_path):
    task = TASKS["translation"]
    script = theirs(task) if origin == "theirs" else HERE / "own" / task.own
    flags = command(task, tmp_path)
    with_its_code(tmp_path / "checkpoint")
    launch("--without_package", str(script), "--trust_remote_code", *flags, folder=tmp_path)
    check(task, tmp_path / "output", tmp_path / "checkpoint")
    assert (tmp_path / "output" / "modeling_rnnattn.py").is_file()  # and can be shared as it was
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "output").config.model_type == "rnnattn"
