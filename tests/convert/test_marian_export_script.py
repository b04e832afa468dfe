"""scripts/export_marian.py: what it writes, prints and returns."""

import importlib.util

import numpy as np
import pytest

from hf_rnnattn.convert.marian_binary import read_binary
from hf_rnnattn.convert.marian_checkpoint import read_marian
from hf_rnnattn.convert.marian_folder import convert_marian
from sources import PROJECT
from students import MODEL, SENTENCES, VOCABULARY


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("script_export_marian", PROJECT / "scripts" / "export_marian.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "student"
    convert_marian(MODEL, VOCABULARY, output=folder)
    return folder


def test_it_writes_the_file_and_says_where(main, folder, tmp_path, capsys):
    assert main([str(folder), str(tmp_path / "model.npz")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "model.npz")
    found, original = read_marian(tmp_path / "model.npz").tensors, read_marian(MODEL).tensors
    assert found.keys() == original.keys()
    assert all(np.array_equal(found[name], values) for name, values in original.items())


def test_it_measures_multipliers_on_sentences(main, folder, tmp_path, capsys):
    (tmp_path / "samples.txt").write_text("".join(f"{line}\n" for line in [*SENTENCES[:3], ""]), encoding="utf-8")
    file = tmp_path / "model.intgemm.alphas.bin"
    assert main([str(folder), str(file), "--sentences", str(tmp_path / "samples.txt")]) == 0
    assert "4/4" in capsys.readouterr().err
    found, original = (read_binary(path.read_bytes(), path.name) for path in (file, MODEL))
    assert found.keys() == original.keys()
    for name, values in original.items():
        if name.endswith("_QuantMultA"):  # three sentences do not tell all
            np.testing.assert_allclose(found[name].ravel(), values.ravel(), rtol=0.35, err_msg=name)


@pytest.mark.parametrize(
    ("output", "flags", "message"),
    [
        ("model.intgemm.alphas.bin", [], "needs the multipliers of activations"),
        ("model.bin", ["--sentences", "samples.txt"], "model.bin holds no multipliers of activations"),
        ("model.intgemm.alphas.bin", ["--sentences", "blank.txt"], "alphas need at least one sentence"),
        ("model.intgemm.alphas.bin", ["--sentences", "none.txt"], "No such file"),
        ("model.pt", ["--sentences", "none.txt"], "must end in one of"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(main, folder, tmp_path, monkeypatch, capsys, output, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples.txt").write_text("a\n")
    (tmp_path / "blank.txt").write_text("\n\n")
    assert main([str(folder), output, *flags]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("export_marian.py: error: ")
    assert message in line
    assert {path.name for path in tmp_path.iterdir()} == {"samples.txt", "blank.txt"}


def test_a_folder_without_a_model_is_refused(main, tmp_path, capsys):
    assert main([str(tmp_path), str(tmp_path / "model.npz")]) == 2
    assert str(tmp_path) in capsys.readouterr().err.splitlines()[-1]
