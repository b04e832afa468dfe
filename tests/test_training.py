"""Real runs on real words: from scratch, interrupted and resumed, stopped early, on every kind of file."""

import importlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, TrainerCallback

from hf_rnnattn.results import read_results
from hf_rnnattn.training import prepare_training
from hf_rnnattn.training_arguments import parse_arguments
from small_runs import FLAGS, TINY, TINY_BART, flags_of, write_words


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> dict[str, Path]:
    return write_words(tmp_path_factory.mktemp("words"))


def train(flags: list[str]) -> dict:
    return prepare_training(parse_arguments(flags)).run()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def trained(words, tmp_path_factory) -> Path:
    """A checkpoint of a short run from scratch, with everything that a run writes."""
    output = tmp_path_factory.mktemp("runs") / "words"
    metrics = ("--metrics", "phoneme_error_rate", "g2p_word_error_rate")
    train(flags_of(words, output, "--max_steps", "60", "--seed", "1", *metrics, "--hub_token", "hf_secret"))
    return output


def test_run_from_scratch_learns_and_writes_a_checkpoint_that_loads(trained: Path) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(trained)
    tokenizer = AutoTokenizer.from_pretrained(trained)
    results = read_results(trained)
    assert results["model"]["class"] == type(model).__name__ == "RnnAttnForConditionalGeneration"
    assert results["model"]["parameters"] == model.num_parameters()
    assert model.config.encoder_mixers == ["gru"]
    assert (model.config.encoder_vocab_size, model.config.vocab_size) == (
        len(tokenizer.get_src_vocab()),
        len(tokenizer.get_tgt_vocab()),
    )
    untrained = torch.log(torch.tensor(float(model.config.vocab_size))).item()
    assert results["training"]["steps"] == 60
    assert results["evaluation"]["test"]["metrics"]["loss"] < 0.85 * untrained
    assert results["data"]["sizes"] == {"train": 200, "validation": 24, "test": 24}
    assert len(results["examples"]) == 5


def test_results_hold_what_transformers_scripts_write_too(trained: Path) -> None:
    everything = json.loads((trained / "all_results.json").read_text())
    for split, prefix in (("validation", "eval"), ("test", "test")):
        for name, value in read_results(trained)["evaluation"][split]["metrics"].items():
            assert everything[f"{prefix}_{name}"] == value
    assert everything["train_samples"] == 200


def test_no_pickle_lies_beside_the_weights(trained: Path) -> None:
    assert not [file.name for file in trained.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_card_is_valid_and_its_numbers_are_those_of_the_results(trained: Path) -> None:
    card = ModelCard.load(trained / "README.md")
    results = read_results(trained)
    assert card.data.library_name == "transformers"
    shown = {(result.dataset_split, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert shown == {
        (split, name): value
        for split, evaluation in results["evaluation"].items()
        for name, value in evaluation["metrics"].items()
    }
    assert set(card.data.metrics) == {"loss", "phoneme_error_rate", "g2p_word_error_rate"}
    assert "AutoModelForSeq2SeqLM.from_pretrained" in card.text
    assert results["command"] in card.text


def test_secrets_stay_out_of_results_and_card(trained: Path) -> None:
    for name in ("results.json", "README.md", "all_results.json"):
        assert "hf_secret" not in (trained / name).read_text()
    assert "--hub_token '***'" in read_results(trained)["command"]


class Interruption(TrainerCallback):
    """Ends the process's work after some steps, as a crash would: without a last checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def test_resumed_run_equals_the_uninterrupted_one_bitwise(words, tmp_path: Path) -> None:
    # dropout and shuffling are on; a step has two micro-batches; the interruption is in the middle of an epoch
    common = ("--max_steps", "12", "--save_steps", "4", "--gradient_accumulation_steps", "2", "--do_train")
    train(flags_of(words, tmp_path / "whole", *common))
    interrupted = prepare_training(parse_arguments(flags_of(words, tmp_path / "parts", *common)))
    interrupted.trainer.add_callback(Interruption(10))
    with pytest.raises(KeyboardInterrupt):
        interrupted.run()
    (tmp_path / "parts" / "checkpoint-9").mkdir()  # what dying while saving leaves
    resumed = prepare_training(parse_arguments(flags_of(words, tmp_path / "parts", *common)))
    assert resumed.checkpoint == str(tmp_path / "parts" / "checkpoint-8")
    assert resumed.run()["training"]["steps"] == 12
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert (tmp_path / "whole" / "tokenizer.json").read_bytes() == (tmp_path / "parts" / "tokenizer.json").read_bytes()


def test_finished_run_is_not_resumed_when_it_shall_be_overwritten(words, tmp_path: Path) -> None:
    flags = flags_of(words, tmp_path, "--max_steps", "2", "--save_steps", "1", "--do_train")
    train(flags)
    assert prepare_training(parse_arguments(flags)).checkpoint == str(tmp_path / "checkpoint-2")
    assert prepare_training(parse_arguments([*flags, "--overwrite_output_dir"])).checkpoint is None
    explicit = ["--resume_from_checkpoint", str(tmp_path / "checkpoint-1")]
    assert prepare_training(parse_arguments([*flags, *explicit])).checkpoint == str(tmp_path / "checkpoint-1")


def test_early_stopping_ends_the_run_and_keeps_the_best_checkpoint(words, tmp_path: Path) -> None:
    by_steps = [word for name in ("eval", "save") for word in (f"--{name}_strategy", "steps", f"--{name}_steps", "2")]
    results = train(
        flags_of(
            words, tmp_path, "--max_steps", "40", *by_steps, "--load_best_model_at_end", "--metrics", "wer",
            "--metric_for_best_model", "wer", "--early_stopping_patience", "2", "--early_stopping_threshold", "1000",
        )
    )  # fmt: skip
    log = json.loads((tmp_path / "trainer_state.json").read_text())
    evaluated = {entry["step"]: entry["eval_wer"] for entry in log["log_history"] if "eval_wer" in entry}
    assert results["training"]["steps"] == 6  # nothing is better by 1000: two evaluations after the first
    best = min(evaluated, key=lambda step: (evaluated[step], step))  # an error rate: the smallest
    assert results["training"]["best_step"] == best
    kept, final = weights(tmp_path / f"checkpoint-{best}"), weights(tmp_path)
    assert all(torch.equal(kept[name], final[name]) for name in kept)


def test_time_budget_ends_the_run_annealed(words, tmp_path: Path) -> None:
    results = train(
        flags_of(
            words, tmp_path, "--max_train_minutes", "0.02", "--num_train_epochs", "1000", "--logging_steps", "1",
            "--do_train", "--save_strategy", "no",
        )
    )  # fmt: skip
    log = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    rates = [entry["learning_rate"] for entry in log if "learning_rate" in entry]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.5 * rates[0]
    assert results["training"]["max_train_minutes"] == 0.02
    assert results["training"]["steps"] == len(rates)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_every_kind_of_file_gives_the_same_run(words, trained: Path, tmp_path: Path, kind: str) -> None:
    from datasets import Dataset

    converted = {}
    for split, path in words.items():
        rows = [dict(zip(("word", "phones"), line.split("\t"), strict=True))
                for line in path.read_text().splitlines()[1:]]  # fmt: skip
        converted[split] = tmp_path / f"{split}.{kind}"
        dataset = Dataset.from_list(rows)
        if kind == "json":
            converted[split].write_text(json.dumps(rows))
        else:
            write = {"jsonl": dataset.to_json, "csv": dataset.to_csv, "parquet": dataset.to_parquet}[kind]
            write(str(converted[split]))
    columns = ("--source_column", "word", "--target_column", "phones")
    run = prepare_training(parse_arguments(flags_of(converted, tmp_path / "out", "--seed", "1", *columns)))
    original = prepare_training(parse_arguments(flags_of(words, tmp_path / "tsv", "--seed", "1")))
    for split, rows in run.encoded.items():
        assert rows.to_dict() == original.encoded[split].to_dict()


def test_other_families_train_with_the_same_script(words, tmp_path: Path) -> None:
    bart = ("--model_type", "bart", "--target_tokenizer", "char", "--shared_vocabulary", "--max_steps", "2")
    results = train(flags_of(words, tmp_path / "bart", *bart, config=TINY_BART))
    assert results["model"]["class"] == "BartForConditionalGeneration"
    assert "base_model" not in results
    again = ["--model_name_or_path", str(tmp_path / "bart"), "--max_steps", "2", "--label_smoothing_factor", "0.1"]
    files = [word for split, path in words.items() for word in (f"--{split}_file", str(path))]
    tuned = train(["--output_dir", str(tmp_path / "tuned"), *files, "--use_cpu", "--disable_tqdm", "true", *again])
    assert tuned["base_model"] == str(tmp_path / "bart")
    assert tuned["model"]["parameters"] == results["model"]["parameters"]
    assert tuned["training"]["arguments"]["label_smoothing_factor"] == 0.1


def test_lengths_are_kept_within_the_positions_of_the_model(words, tmp_path: Path, caplog) -> None:
    config = TINY.replace("hidden_size=16", "hidden_size=16,max_position_embeddings=9")
    run = prepare_training(parse_arguments(flags_of(words, tmp_path, "--max_steps", "1", config=config)))
    assert "max_source_length is set to 9" in caplog.text
    assert max(map(len, run.encoded["train"]["input_ids"])) == 9
    assert run.arguments.data.max_target_length == 24  # its decoder has no positions
    assert run.trainer.model.generation_config.max_length == 25


def test_evaluation_alone_needs_no_training_data(words, trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    flags = ["--model_name_or_path", str(copy), "--test_file", str(words["test"]), "--output_dir", str(tmp_path / "o")]
    results = train([*flags, "--metrics", "phoneme_error_rate", "--max_target_length", "24", *FLAGS[-6:]])
    assert "training" not in results
    expected = read_results(trained)["evaluation"]["test"]["metrics"]["phoneme_error_rate"]
    assert results["evaluation"]["test"]["metrics"]["phoneme_error_rate"] == pytest.approx(expected)


def script(name: str):
    path = Path(__file__).parents[1] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAULTS = {
    "a column is missing": (lambda w, d: ["--source_column", "wort"], r"train.tsv.*no column 'wort'.*word, phones"),
    "a file is missing": (lambda w, d: ["--train_file", str(d / "none.tsv")], r"none\.tsv"),
    "a file is empty": (lambda w, d: ["--train_file", file(d, b"")], r"bad\.tsv is empty"),
    "not UTF-8": (lambda w, d: ["--train_file", file(d, b"a\tb\nx\t\xff\n")], r"bad\.tsv, line 2.*not UTF-8"),
    "one side is empty": (lambda w, d: ["--train_file", file(d, b"a\tb\nx\t\n")], r"bad\.tsv, line 2, column 'b'"),
    "unknown config field": (lambda w, d: ["--config_overrides", "hiden_size=3"], r"no field hiden_size"),
    "config out of bounds": (lambda w, d: ["--config_overrides", "hidden_size=-3"], r"hidden_size .*-3"),
    "unknown mixer": (lambda w, d: ["--config_overrides", "decoder_mixers=[grru]"], r"'grru'"),
    "unknown family": (lambda w, d: ["--model_type", "brat"], r"'brat'"),
    "unknown metric": (lambda w, d: ["--metrics", "blue"], r"unknown metric 'blue'"),
    "patience without best": (lambda w, d: ["--early_stopping_patience", "2"], r"needs load_best_model_at_end"),
    "checkpoint is missing": (lambda w, d: ["--resume_from_checkpoint", str(d / "c")], r"no folder .*c"),
    "no time": (lambda w, d: ["--max_train_minutes", "0"], r"positive number of seconds, got 0"),
    "two vocabularies for BART": (
        lambda w, d: ["--model_type", "bart", "--config_overrides", TINY_BART],
        "one vocabulary for both sides: pass --shared_vocabulary",
    ),
    "output is a file": (lambda w, d: ["--output_dir", file(d, b"x")], r"output_dir .*bad\.tsv is not a folder"),
}


def file(folder: Path, content: bytes) -> str:
    path = folder / "bad.tsv"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_given_wrongly_is_one_line_and_status_2(words, tmp_path: Path, capsys, fault: str) -> None:
    more, message = FAULTS[fault]
    flags = flags_of(words, tmp_path / "out", *more(words, tmp_path))
    assert script("train_seq2seq").main(flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("train_seq2seq.py: error: ")
    assert re.search(message, error), error
