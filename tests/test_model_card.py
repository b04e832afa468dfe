"""The card's header is what the Hub reads, and its numbers are those of the results file."""

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_rnnattn.command_line import command_line
from hf_rnnattn.model_card import model_card, write_card_of_results, write_model_card
from hf_rnnattn.results import machine, package_versions, read_results, write_results

RESULTS = {
    "name": "tiny-g2p",
    "license": "apache-2.0",
    "language": "en",
    "data": {
        "name": "cmudict",
        "description": "Words and their pronunciations.",
        "source_column": "word",
        "target_column": "phones",
        "sizes": {"train": 106837, "test": 12},
    },
    "model": {
        "class": "RnnAttnForConditionalGeneration",
        "model_type": "rnnattn",
        "parameters": 2612345,
        "needs_package": True,
        "config": {"hidden_size": 256, "decoder_mixers": ["ssru", "ssru"]},
    },
    "tokenizer": {"class": "RnnAttnTokenizer", "source_vocabulary": 31, "target_vocabulary": 43},
    "training": {"seconds": 181.5, "steps": 1234, "epochs": 2.5, "loss": 0.73215, "arguments": {"seed": 42}},
    "evaluation": {
        "validation": {"examples": 10, "metrics": {"wer": 0.4321, "per": 0.1}},
        "test": {"examples": 12, "metrics": {"wer": 0.4567891}},
    },
    "generation": {"num_beams": 4},
    "examples": [{"source": "a|b 'c'", "prediction": "AH0", "reference": "EY1"}],
    "command": "python scripts/train_seq2seq.py --dataset cmudict",
    "versions": {"torch": "2.13.0"},
    "machine": {"cores": 2, "gpus": []},
}


def test_header_is_parsed_back_by_the_hub_library(tmp_path: Path) -> None:
    path = write_model_card(tmp_path, RESULTS)
    assert path == tmp_path / "README.md"
    data = ModelCard.load(path).data
    assert (data.library_name, data.license, data.pipeline_tag) == (
        "transformers",
        "apache-2.0",
        "text2text-generation",
    )
    assert data.tags == ["seq2seq", "encoder-decoder", "rnnattn", "hf_rnnattn"]
    assert data.metrics == ["per", "wer"]
    found = {(result.dataset_split, result.metric_type): result.metric_value for result in data.eval_results}
    assert found == {("validation", "wer"): 0.4321, ("validation", "per"): 0.1, ("test", "wer"): 0.4567891}


def test_every_number_of_the_body_is_in_the_results() -> None:
    body = model_card(RESULTS).split("---\n", 2)[2].replace(",", "")
    known = {f"{float(number):.4f}" for number in re.findall(r"\d+(?:\.\d+)?", json.dumps(RESULTS))}
    unknown = [number for number in re.findall(r"\d+(?:\.\d+)?", body) if f"{float(number):.4f}" not in known]
    assert set(unknown) <= {"2"}  # the digit in the name of the task and of the loading snippet
    assert "106837" in body
    assert "0.4568" in body


def test_cells_of_tables_keep_their_columns() -> None:
    assert "| a\\|b 'c' | AH0 | EY1 |" in model_card(RESULTS)


def test_card_without_the_optional_parts_says_what_it_lacks(tmp_path: Path) -> None:
    required = {key: RESULTS[key] for key in ("name", "data", "model", "command", "versions")}
    text = model_card({**required, "evaluation": {}})
    assert "The run measured nothing" in text
    assert "No licence has been chosen" in text
    assert "## Examples" not in text
    (tmp_path / "card.md").write_text(text)
    assert ModelCard.load(tmp_path / "card.md").data.eval_results is None


def test_results_that_cannot_make_a_card_are_refused() -> None:
    with pytest.raises(ValueError, match="lack data, evaluation"):
        model_card({key: value for key, value in RESULTS.items() if key not in ("data", "evaluation")})


def test_card_is_made_from_the_results_file(tmp_path: Path) -> None:
    results_file = write_results(tmp_path / "results.json", RESULTS)
    card = write_card_of_results(results_file, tmp_path / "cards" / "tiny-g2p.md")
    assert card.read_text(encoding="utf-8") == model_card(RESULTS)
    assert read_results(tmp_path) == RESULTS


def test_results_file_that_is_no_json_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("[1]")
    with pytest.raises(ValueError, match="must hold a JSON object, got list"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        read_results(tmp_path)


def test_failed_write_leaves_the_previous_results(tmp_path: Path) -> None:
    write_results(tmp_path, RESULTS)
    with pytest.raises(ValueError, match="not finite"):
        write_results(tmp_path, {"loss": float("nan")})
    assert read_results(tmp_path) == RESULTS


def test_record_of_the_machine_names_versions_and_no_host() -> None:
    import platform

    import torch

    assert package_versions()["torch"] == torch.__version__
    record = machine()
    assert record["cores"] >= 1
    assert platform.node() not in json.dumps(record)


def test_command_line_is_quoted_for_a_shell() -> None:
    assert command_line("scripts/x.py", ["--a", "b c"]) == "python scripts/x.py --a 'b c'"
