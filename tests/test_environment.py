"""The virtual environment that quickstart, tests and CI share: when it is made, and from which versions."""

import datetime
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from sources import PROJECT


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """scripts/environment.py of a copy of the project, as a module; installing is recorded, not done."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/environment.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, tmp_path / name)
    spec = importlib.util.spec_from_file_location("environment", tmp_path / "scripts" / "environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.commands = []
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    monkeypatch.setattr(module, "run", lambda command: module.commands.append((command, constraints_of(command))))
    monkeypatch.setattr(module, "works", lambda python: python.parent.exists())
    monkeypatch.setattr(module, "create", lambda folder: (folder / "bin").mkdir(parents=True))
    monkeypatch.setattr(module, "shared_torch", lambda python: tmp_path / "shared_torch.pth")
    return module


def constraints_of(command):
    with open(command[command.index("--constraint") + 1], encoding="utf-8") as file:
        return dict(line.strip().split("==") for line in file if "==" in line)


def everything_installed_for(extra):
    """The names of all packages that the project wants with this extra, and that they want."""
    found, open_ends = set(), [Requirement(f"hf-rnnattn[{extra}]")]
    while open_ends:
        wanted = open_ends.pop()
        name = wanted.name.lower().replace("_", "-")
        if name == "torch" or (name in found and not wanted.extras):  # torch's own differ from build to build
            continue
        found.add(name)
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            extras = ["", *wanted.extras]
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras):
                open_ends.append(requirement)
    return found - {"hf-rnnattn"}


def test_everything_that_is_installed_is_pinned(environment):
    lines = (environment.PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    extra = "dev" if importlib.util.find_spec("ruff") else "test"  # whichever the environment was made for
    assert everything_installed_for(extra) - {environment.pinned_name(line) for line in lines} == set()


def without_torch(monkeypatch, environment):
    monkeypatch.setattr(environment, "usable_torch", lambda: None)


def test_a_second_call_installs_nothing(environment, capsys):
    environment.main("test")
    installed = len(environment.commands)
    environment.main("test")
    assert len(environment.commands) == installed > 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_new_pins_are_installed(environment):
    environment.main("test")
    before = len(environment.commands)
    constraints = environment.PROJECT / "constraints.txt"
    constraints.write_text(constraints.read_text(encoding="utf-8") + "surely==1.0\n", encoding="utf-8")
    environment.main("test")
    assert len(environment.commands) > before
    assert environment.commands[-1][1]["surely"] == "1.0"


def test_torch_is_pinned_and_comes_first_where_there_is_none(environment, monkeypatch):
    without_torch(monkeypatch, environment)
    environment.main("test")
    (first, constraints), *_ = environment.commands
    assert first[-1] == "torch"
    assert constraints["torch"].startswith("2.")


def test_a_torch_that_is_there_is_left_alone(environment):
    environment.main("test")
    ((command, constraints),) = environment.commands
    assert "torch" not in command
    assert not {"torch", "triton"} & constraints.keys()
    assert "transformers" in constraints
    assert "site.addsitedir(" in (environment.PROJECT / "shared_torch.pth").read_text(encoding="utf-8")


def test_a_torch_that_is_too_old_is_not_used(environment, monkeypatch):
    class Old:
        version = "2.9.1+cu128"

    monkeypatch.setattr(environment.importlib.metadata, "distribution", lambda name: Old)
    assert environment.usable_torch() is None
    monkeypatch.setattr(Old, "version", "2.11.0")
    assert environment.usable_torch() is Old


def test_the_users_own_pins_stand_above_ours(environment, monkeypatch, tmp_path):
    without_torch(monkeypatch, environment)
    pins = tmp_path / "pins.txt"
    pins.write_text("# mine\nTorch==2.12.0\nRouge-Score<1\n", encoding="utf-8")
    monkeypatch.setenv("PIP_CONSTRAINT", str(pins))
    environment.main("test")
    for _, constraints in environment.commands:
        assert not {"torch", "rouge_score"} & set(constraints)
        assert "transformers" in constraints


def test_the_newest_versions_have_an_environment_of_their_own_and_no_pins_but_torchs(environment, monkeypatch, capsys):
    without_torch(monkeypatch, environment)
    environment.main("test", "newest")
    (_, first), (command, constraints) = environment.commands
    assert first == constraints
    assert set(constraints) == {"torch", "triton"}
    assert command[command.index("--upgrade-strategy") + 1] == "eager"
    assert capsys.readouterr().out.strip() == str(environment.PROJECT / ".venv" / "newest" / "bin" / "python")
    environment.main("test", "newest")  # what is newest may have changed
    assert len(environment.commands) == 3
    with pytest.raises(SystemExit, match="must be tested or newest, got 'latest'"):
        environment.main("test", "latest")


@pytest.fixture
def exceptions(tmp_path):
    """scripts/newest_exceptions.py as a module, and a file for it."""
    spec = importlib.util.spec_from_file_location("newest_exceptions", PROJECT / "scripts" / "newest_exceptions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, tmp_path / "newest_exceptions.txt"


def test_without_a_file_nothing_is_left_out_of_the_newest_run(exceptions, capsys):
    module, file = exceptions
    assert module.main(file) == 0
    assert capsys.readouterr().out == ""


def test_exceptions_are_said_aloud_and_expire(exceptions, capsys):
    module, file = exceptions
    file.write_text("2026-12-24 tests/test_hub.py::test_x it is broken there\n", encoding="utf-8")
    assert module.main(file, datetime.date(2027, 1, 23)) == 0
    out, err = capsys.readouterr()
    assert out == "tests/test_hub.py::test_x\n"
    assert err == "LEFT OUT since 2026-12-24: tests/test_hub.py::test_x: it is broken there\n"
    assert module.main(file, datetime.date(2027, 1, 24)) == 1
    assert "more than 30 days" in capsys.readouterr().err


def test_an_exception_without_a_reason_is_refused(exceptions):
    module, file = exceptions
    file.write_text("2026-12-24 tests/test_hub.py::test_x\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected DATE tests/FILE::TEST REASON"):
        module.main(file)


def test_readme_names_every_exception(exceptions):
    module, _ = exceptions
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    found = [test for _, test, _ in module.exceptions(module.FILE)]
    assert all(test in readme for test in found)
    assert ("of which nothing is excepted today" in readme) == (not found)


def test_extras_that_pip_cannot_resolve_in_time_are_named(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("check_extras", PROJECT / "scripts" / "check_extras.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.venv, "create", lambda *args, **kwargs: None)

    def run(command, timeout, **kwargs):
        if command[-1].endswith("[peft]"):
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, int(command[-1].endswith("[viz]")), "", "no such version")

    monkeypatch.setattr(module.subprocess, "run", run)
    assert module.main() == 1
    out, err = capsys.readouterr()
    assert err == "error: extras that pip does not resolve in 180 s: viz, peft\n"
    assert len(out.splitlines()) == 9
    monkeypatch.setattr(module.subprocess, "run", lambda command, **kwargs: subprocess.CompletedProcess(command, 0))
    assert module.main() == 0


def test_a_python_without_venv_is_told_what_to_install(environment):
    code = "import runpy, sys; sys.modules['ensurepip'] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    script = str(environment.PROJECT / "scripts" / "environment.py")
    run = subprocess.run([sys.executable, "-c", code, script, "test"], capture_output=True, text=True)
    assert run.returncode == 1
    assert "apt-get install python3" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_python_that_is_too_old_or_missing_is_named(tmp_path):
    for python in ("false", str(tmp_path / "none")):
        command = ["bash", str(PROJECT / "scripts" / "test.sh")]
        run = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "PYTHON": python})
        assert run.returncode == 1
        assert run.stderr == f"error: PYTHON={python} is not a Python 3.11 or newer\n"
