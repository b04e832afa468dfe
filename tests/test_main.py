"""``python -m hf_rnnattn script.py``: a script that knows nothing of the package, run as Python runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_rnnattn.__main__ import main
from sources import PROJECT

SCRIPT = """
import sys
from neighbour import GREETING
from transformers import AutoConfig

assert __name__ == "__main__"
print(GREETING, sys.argv[1:], AutoConfig.for_model("rnnattn").model_type)
sys.exit(3)
"""


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess:
    """A fresh process in this folder."""
    path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})


def test_a_script_finds_the_family_its_arguments_and_its_neighbours(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "script.py").write_text(SCRIPT)
    (tmp_path / "there" / "neighbour.py").write_text("GREETING = 'hello'")
    done = run("-m", "hf_rnnattn", "there/script.py", "--flag", "a b", folder=tmp_path)
    assert (done.returncode, done.stdout) == (3, "hello ['--flag', 'a b'] rnnattn\n"), done.stderr


def test_what_a_script_raises_is_shown_with_its_line(tmp_path):
    (tmp_path / "script.py").write_text("value = 1\nraise RuntimeError('no')\n")
    done = run("-m", "hf_rnnattn", "script.py", folder=tmp_path)
    assert done.returncode == 1
    assert 'script.py", line 2' in done.stderr
    assert done.stderr.endswith("RuntimeError: no\n")


@pytest.mark.parametrize(
    ("arguments", "message"), [([], "give a Python script"), (["none.py"], "no script 'none.py'")]
)
def test_a_missing_script_is_one_line(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
