"""scripts/convert_checkpoint.py: what it prints and returns."""

import importlib.util
import json

import numpy as np
import pytest

from fairseq_models import dictionaries, write_checkpoint
from g2p_en_models import random_weights
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


@pytest.mark.parametrize("toolkit", ["fairseq", "marian"])
def test_these_need_a_vocabulary(main, toolkit, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--from", toolkit, str(MODEL), "--output", str(tmp_path / "ours")])
    assert f"--from {toolkit} needs --vocab" in capsys.readouterr().err


def test_models_of_fairseq_and_g2p_en_are_converted(main, tmp_path):
    np.savez(tmp_path / "checkpoint20.npz", **random_weights())
    checkpoint = write_checkpoint("luong", tmp_path / "checkpoint_best.pt")
    source, target = map(str, dictionaries("luong"))
    for arguments in (
        ["--from", "g2p_en", str(tmp_path / "checkpoint20.npz")],
        ["--from", "fairseq", str(checkpoint), "--vocab", source, "--target_vocab", target],
    ):
        output = tmp_path / arguments[1]
        assert main([*arguments, "--output", str(output)]) == 0
        assert (output / "target_tokenizer.json").is_file()


def test_a_vocabulary_that_is_not_asked_for_is_refused(main, tmp_path, capsys):
    assert main(["--from", "g2p_en", "a.npz", "--vocab", "b.txt", "--output", str(tmp_path / "c")]) == 2
    assert "the symbols of g2p-en are known: give no b.txt" in capsys.readouterr().err


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
        main(["--from", "opennmt_tf", "a", "--vocab", "b", "--output", "c"])
    assert "invalid choice: 'opennmt_tf'" in capsys.readouterr().err
