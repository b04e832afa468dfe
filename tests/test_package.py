"""What an installation contains, and what importing it loads."""

import importlib.metadata
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hf_rnnattn
from sources import PACKAGE, PROJECT, files

HEAVY = {"datasets", "evaluate", "jiwer", "matplotlib", "rouge_score", "sacrebleu", "tensorboard", "pandas", "pyarrow"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    sources = {path.relative_to(PROJECT).as_posix() for path in files(PACKAGE)}
    assert held == sources | {"hf_rnnattn/py.typed"}


def test_the_wheel_names_its_version_licence_and_readme(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = wheel.read(name).decode()
    assert f"Version: {hf_rnnattn.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert metadata.rstrip().endswith((PROJECT / "README.md").read_text(encoding="utf-8").rstrip())


def test_importing_the_package_loads_only_what_the_core_needs():
    code = f"import sys, hf_rnnattn; print(sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def requirement_names(lines):
    return {re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", line).group()).lower() for line in lines}


def test_every_dependency_has_a_tested_version_within_its_bounds():
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    needed = requirement_names(importlib.metadata.requires("hf-rnnattn")) - {"hf-rnnattn"}
    assert needed <= requirement_names(pins)


def test_the_changelog_and_the_citation_speak_of_this_version():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == hf_rnnattn.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert f"## [{hf_rnnattn.__version__}]" in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_shell_scripts_are_executable_and_parse():
    scripts = [PROJECT / ".ci" / "run", *sorted(Path(PROJECT, "scripts").glob("*.sh"))]
    for script in scripts:
        subprocess.run(["bash", "-n", str(script)], check=True)
        if script.name != "environment.sh":  # sourced, never run
            assert script.stat().st_mode & 0o111, script
