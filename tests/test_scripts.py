"""The scripts as a user runs them: in fresh processes, under accelerate, with pipes and files."""

import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from hf_rnnattn.results import read_results
from hf_rnnattn.training import prepare_training
from hf_rnnattn.training_arguments import parse_arguments
from small_runs import flags_of, write_words

SCRIPTS = Path(__file__).parents[1] / "scripts"


def script(name: str) -> ModuleType:
    """A script as a module, to call its main() in this process."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fresh(*command: object, **options) -> subprocess.CompletedProcess:
    """Run Python with these arguments in a process of its own, elsewhere than in the project."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=environment, timeout=300, **options
    )


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> dict[str, Path]:
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def trained(words, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "words"
    metrics = ("--metrics", "phoneme_error_rate", "g2p_word_error_rate")
    prepare_training(parse_arguments(flags_of(words, output, "--max_steps", "60", *metrics))).run()
    return output


def expected(folder: Path, texts: list[str], **generation) -> list[str]:
    """What the model says to each text alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
    answers = []
    for text in texts:
        output = model.generate(**tokenizer(text, return_tensors="pt"), **generation)
        answers += tokenizer.batch_decode(output, skip_special_tokens=True)
    return answers


def test_training_under_accelerate_from_a_yaml_file(words, tmp_path: Path) -> None:
    output = tmp_path / "out"
    flags = flags_of(words, output, "--max_steps", "2", "--max_train_samples", "50")
    settings = dict(zip([flag[2:] for flag in flags if flag.startswith("--") and flag != "--use_cpu"],
                        [word for word in flags if not word.startswith("--")], strict=True))  # fmt: skip
    (tmp_path / "run.yaml").write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items()))
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1")
    precision = ("--mixed_precision", "no", "--dynamo_backend", "no")
    run = fresh(
        *launch, *precision, SCRIPTS / "train_seq2seq.py", tmp_path / "run.yaml", "--max_steps", "3", cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    results = read_results(output)
    assert results["training"]["steps"] == 3
    assert results["data"]["sizes"]["train"] == 50
    assert (output / "README.md").is_file()


def test_evaluation_in_a_fresh_process_repeats_the_numbers_of_the_training(words, trained, tmp_path: Path) -> None:
    metrics = ("--metrics", "phoneme_error_rate", "g2p_word_error_rate", "--output_file", "scores.json")
    files = ("--test_file", words["test"], "--predictions_file", "predictions.txt", "--batch_size", "5")
    run = fresh(SCRIPTS / "evaluate.py", "--model", trained, *files, *metrics, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    measured = read_results(trained)["evaluation"]["test"]["metrics"]
    record = json.loads((tmp_path / "scores.json").read_text())
    assert record["metrics"] == {name: pytest.approx(measured[name]) for name in record["metrics"]}
    table = dict(line.split() for line in run.stdout.splitlines())
    assert {name: float(value) for name, value in table.items()} == pytest.approx(record["metrics"], abs=1e-4)
    sources = [line.split("\t")[0] for line in words["test"].read_text().splitlines()[1:]]
    assert (tmp_path / "predictions.txt").read_text().split("\n")[:-1] == expected(trained, sources)


def test_generation_in_a_fresh_process_answers_every_line_of_a_pipe(trained: Path) -> None:
    run = fresh(SCRIPTS / "generate.py", "--model", trained, "--num_beams", "2", input="hello\n\nworld\n")
    assert run.returncode == 0, run.stderr
    hello, world = expected(trained, ["hello", "world"], num_beams=2)
    assert run.stdout == f"{hello}\n\n{world}\n"


def test_snippet_of_the_card_runs_where_the_card_lies(trained: Path) -> None:
    card = (trained / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    run = fresh("-", input=snippet, cwd=trained)
    assert run.returncode == 0, run.stderr
    sample = read_results(trained)["examples"][0]
    assert run.stdout.strip() == repr([sample["prediction"]])


def test_generation_reads_a_file_and_writes_all_hypotheses(trained: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "words.txt").write_text("hello\n\nworld\n")
    beams = ["--num_beams", "3", "--num_return_sequences", "2", "--max_new_tokens", "7"]
    flags = ["--model", str(trained), "--input_file", str(tmp_path / "words.txt"), "--device", "cpu"]
    assert script("generate").main([*flags, *beams]) == 0
    options = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 7}
    hello, world = (expected(trained, [text], **options) for text in ("hello", "world"))
    assert capsys.readouterr().out.split("\n")[:-1] == [*hello, "", "", *world]


def test_sampling_is_repeated_by_its_seed(trained: Path, capsys, monkeypatch) -> None:
    drawn = []
    for seed in ("1", "1", "2"):
        monkeypatch.setattr(sys, "stdin", io.StringIO("hello\nworld\n" * 5))
        assert script("generate").main(["--model", str(trained), "--do_sample", "true", "--seed", seed]) == 0
        drawn.append(capsys.readouterr().out)
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("generate", ["--input_file", "none.txt"], r"none\.txt"),
        ("generate", ["--batch_size", "0"], r"batch_size must be >= 1, got 0"),
        ("generate", ["--num_beams", "1", "--num_return_sequences", "2"], r"num_return_sequences"),
        ("evaluate", [], r"give either files .* or the name of a dataset"),
        ("evaluate", ["--test_file", "none.tsv"], r"none\.tsv"),
        ("evaluate", ["--test_file", "WORDS", "--split", "validation"], r"no validation data; the data has test"),
        ("evaluate", ["--test_file", "WORDS", "--metrics", "blue"], r"unknown metric 'blue'"),
        ("evaluate", ["--test_file", "WORDS", "--target_column", "ipa"], r"no column 'ipa'; it has word, phones"),
    ],
)
def test_what_is_given_wrongly_is_one_line_and_status_2(
    words, trained: Path, capsys, monkeypatch, name: str, flags: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n"))
    given = [str(words["test"]) if flag == "WORDS" else flag for flag in flags]
    assert script(name).main(["--model", str(trained), *given]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"{name}.py: error: ")
    assert re.search(message, error), error


@pytest.mark.parametrize(("name", "flags"), [("generate", []), ("export_onnx", ["--output", "OUTPUT"])])
def test_folder_that_holds_no_model_is_one_line(tmp_path: Path, capsys, name: str, flags: list[str]) -> None:
    output = tmp_path / "output"
    given = [str(output) if flag == "OUTPUT" else flag for flag in flags]
    assert script(name).main(["--model", str(tmp_path), *given]) == 2
    assert str(tmp_path) in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()
