"""Everything that README.md and docs/*.md tell a reader to type works."""

import re
import shutil
import tomllib

import pytest

from documents import DOCUMENTS, Block, as_script, blocks_of, make_workplace, run_in
from hf_rnnattn.training_arguments import parse_arguments
from sources import PROJECT

BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]
MAIN_COMMANDS = ("bash scripts/quickstart.sh", "bash scripts/test.sh")


def treatment(block: Block) -> str:
    """What the tests below do with a block.

    python, bash: run. slow: a bash block that runs for minutes, so only with ``-m slow``. main: one of the two main
    commands, each with a test of its own. install: needs the network, so its extras are checked. arguments: a YAML
    file for train_seq2seq.py, parsed. shown: no code.
    """
    assert block.mark in (None, "slow", "install"), f"{block}: nobody knows the mark {block.mark!r}"
    if block.language == "bash":
        if all(line.startswith(MAIN_COMMANDS) for line in block.text.splitlines()):
            return "main"
        return block.mark or "bash"
    assert block.mark is None, f"{block}: only bash blocks are marked"
    known = {"python": "python", "yaml": "arguments", "text": "shown"}
    assert block.language in known, f"{block}: nobody knows what to do with {block.language!r}"
    return known[block.language]


def each(kind: str) -> pytest.MarkDecorator:
    """One test for every block of this treatment."""
    found = [block for block in BLOCKS if treatment(block) == kind]
    return pytest.mark.parametrize("block", found, ids=str)


@pytest.fixture
def workplace(tmp_path):
    return make_workplace(tmp_path)


def test_every_fence_of_the_documents_is_a_block_with_a_known_treatment():
    for document in DOCUMENTS:
        fences = re.findall(r"^ *```", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert len(fences) == 2 * len(blocks_of(document)), document
    assert {treatment(block) for block in BLOCKS} >= {"main", "python", "bash", "shown"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run_in_order(document, workplace):
    blocks = [block for block in blocks_of(document) if treatment(block) == "python"]
    script = workplace / f"{document.stem}.py"
    script.write_text(as_script(blocks), encoding="utf-8")
    run_in(workplace, "python", script.name)


@each("bash")
def test_bash_blocks_run(block, workplace):
    run_in(workplace, "bash", "-euo", "pipefail", "-c", block.text)


@pytest.mark.slow
@each("slow")
def test_slow_bash_blocks_run(block, workplace):
    run_in(workplace, "bash", "-euo", "pipefail", "-c", block.text)


@each("arguments")
def test_argument_files_are_understood(block, tmp_path):
    path = tmp_path / "arguments.yaml"
    path.write_text(block.text, encoding="utf-8")
    parse_arguments([str(path), "--output_dir", str(tmp_path / "output")])


@each("install")
def test_install_commands_name_this_package_and_its_extras(block):
    with (PROJECT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    for line in block.text.splitlines():
        name, extras = re.fullmatch(r"pip install (?:-e )?[\"']?([\w.-]+?)(?:\[([\w,-]+)\])?[\"']?", line).groups()
        assert name in (project["name"], ".")
        assert set(extras.split(",") if extras else []) <= set(project["optional-dependencies"])


@each("main")
def test_main_commands_exist(block):
    for line in block.text.splitlines():
        assert (PROJECT / line.split()[1]).is_file()


def test_ci_runs_the_test_command():
    assert "bash scripts/test.sh" in (PROJECT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_readme_begins_with_the_two_commands():
    (first,) = (block.text.splitlines() for block in blocks_of(DOCUMENTS[0])[:1])
    assert tuple(line.partition("  ")[0] for line in first) == MAIN_COMMANDS


TINY_QUICKSTART = {
    "max_train_samples": 512,
    "max_eval_samples": 64,
    "max_predict_samples": 64,
    "max_train_minutes": 0.1,
    "output_dir": "output/tiny",
}


@pytest.mark.slow
def test_the_quickstart_works_in_a_fresh_clone_from_any_folder(tmp_path):
    """Needs a package index, like the command itself."""
    clone, elsewhere = tmp_path / "a clone", tmp_path / "elsewhere"
    run_in(tmp_path, "git", "clone", "--quiet", str(PROJECT), str(clone))
    elsewhere.mkdir()
    settings = (clone / "scripts" / "quickstart.yaml").read_text(encoding="utf-8")
    kept = [line for line in settings.splitlines() if line.partition(":")[0] not in TINY_QUICKSTART]
    tiny = "\n".join([*kept, *(f"{name}: {value}" for name, value in TINY_QUICKSTART.items())])
    (elsewhere / "tiny.yaml").write_text(tiny + "\n", encoding="utf-8")
    command = ["bash", str(clone / "scripts" / "quickstart.sh"), "--config", "tiny.yaml"]

    first = run_in(elsewhere, *command, "hello", "world")
    assert "word error rate" in first
    assert "phoneme error rate" in first
    picture = clone / "output" / "tiny" / "alignment.png"
    assert f"Alignment of 'hello': {picture}" in first
    assert picture.read_bytes().startswith(b"\x89PNG")
    written = (clone / "output" / "tiny" / "model.safetensors").stat().st_mtime_ns

    second = run_in(elsewhere, *command, "another")
    assert "Using the model trained before" in second
    assert re.search(r"^  another +\S", second, flags=re.MULTILINE)
    assert (clone / "output" / "tiny" / "model.safetensors").stat().st_mtime_ns == written
    shutil.rmtree(clone)
