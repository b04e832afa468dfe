"""scripts/convert_checkpoint.py: what it prints and returns."""

import importlib.util
import json

import pytest

from sources import PROJECT
from students import MODEL, VOCABULARY
from toolkit_models import assembled


@pytest.fixture(scope="module")
def main():
    path = PROJECT / "scripts" / "convert_checkpoint.py"
    spec = importlib.util.spec_from_file_location("script_convert_checkpoint", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_it_writes_the_folder_and_says_where(main, tmp_path, capsys):
    output = str(tmp_path / "converted")
    assert main(["--from", "marian", str(MODEL), "--vocab", str(VOCABULARY), "--output", output]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == output
    assert (tmp_path / "converted" / "model.safetensors").is_file()


def test_8_bits_are_kept_where_they_are_asked_for(main, tmp_path):
    output = str(tmp_path / "converted")
    flags = ["--vocab", str(VOCABULARY), "--output", output, "--keep_8bit"]
    assert main(["--from", "marian", str(MODEL), *flags]) == 0
    config = json.loads((tmp_path / "converted" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "torchao"


@pytest.mark.parametrize(("toolkit", "name"), [("joeynmt", "gru_zero"), ("opennmt", "gru_dot"), ("eole", "gru")])
def test_it_converts_what_brings_its_own_words(main, toolkit, name, tmp_path, capsys):
    model, output = assembled(toolkit, name, tmp_path / "theirs"), str(tmp_path / "ours")
    assert main(["--from", toolkit, str(model), "--output", output]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == output
    assert {"model.safetensors", "tokenizer.json"} <= {file.name for file in (tmp_path / "ours").iterdir()}


def test_marian_needs_a_vocabulary(main, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--from", "marian", str(MODEL), "--output", str(tmp_path / "ours")])
    assert "--from marian needs --vocab" in capsys.readouterr().err


def test_only_marian_has_8_bits_to_keep(main, capsys):
    with pytest.raises(SystemExit):
        main(["--from", "joeynmt", "a", "--output", "b", "--keep_8bit"])
    assert "--keep_8bit is for --from marian" in capsys.readouterr().err


def test_an_error_is_one_line(main, tmp_path, capsys):
    output = tmp_path / "converted"
    assert main(["--from", "marian", str(VOCABULARY), "--vocab", str(VOCABULARY), "--output", str(output)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("convert_checkpoint.py: error: ")
    assert "neither an .npz nor a .bin of Marian" in line
    assert not output.exists()


def test_another_toolkit_is_refused(main, capsys):
    with pytest.raises(SystemExit):
        main(["--from", "fairseq", "a", "--vocab", "b", "--output", "c"])
    assert "invalid choice: 'fairseq'" in capsys.readouterr().err
