"""Which file may import which, how long files may be, and what none of them may contain."""

import ast
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

from sources import ISLAND, PACKAGE, PROJECT, files, imported_files, name_of, tree_of

# From the bottom up. A file imports from lower ranks, and within its own rank where that makes no circle.
# The longest pattern that fits decides.
RANKS = (
    (
        "model/__init__.py",
        "model/notation.py",
        "model/plain_linear.py",
        "model/exported_loop.py",
        "model/transformers_*.py",
    ),
    ("model/fused_kernel.py", "model/norms.py"),
    ("model/mixer_base.py", "model/attention*.py", "model/addressing.py", "model/scan*.py"),
    ("model/mixer_*.py",),
    ("model/mixers.py",),
    ("model/cache_*.py", "model/embeddings.py", "model/config*.py", "model/*.py"),
    ("model/modeling_*.py",),
    ("model/heads_*.py",),
    ("model/pipeline_*.py", "model/tokeniz*.py"),
    ("hf_rnnattn/__init__.py", "hf_rnnattn/pipelines.py"),
    ("hf_rnnattn/checkpoint.py", "hf_rnnattn/data.py"),
    ("hf_rnnattn/*.py", "hf_rnnattn/convert/*.py"),
    ("scripts/*.py", "benchmarks/*.py", "benchmarks/*/*.py", "tests/*.py", "tests/*/*.py"),
)

# The config says of every field what it means, so it grows with the family.
LONGEST = (
    ("model/modeling_*.py", 800),
    ("model/transformers_versions.py", 450),  # one file, so that what moves with transformers is in one place
    ("model/configuration_*.py", 400),
    ("tests/*.py", 400),
    ("tests/*/*.py", 400),
    ("*.py", 300),
)
UNCLEAR_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py"}
RECURRENT_MODULES = {"LSTM", "GRU", "RNN", "pack_padded_sequence", "pad_packed_sequence"}
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
UNSAFE_ARGUMENTS = {("shell", True), ("allow_pickle", True), ("weights_only", False)}
# generate() of transformers changes its behaviour when a class's name contains one of these
RESERVED_IN_CLASS_NAMES = ("mamba", "rwkv", "xlstm", "xlnet", "reformer", "minimax")


def rank(path: Path) -> int:
    """The place of a file in the order of imports."""
    fitting = [(len(pattern), i) for i, patterns in enumerate(RANKS) for pattern in patterns if path.match(pattern)]
    assert fitting, f"{name_of(path)} has no place in RANKS"
    return max(fitting)[1]


def each(*folders: str) -> pytest.MarkDecorator:
    """One test for every file of these folders."""
    found = files(*folders)
    return pytest.mark.parametrize("path", found, ids=[name_of(path) for path in found])


@each()
def test_imports_point_downwards(path):
    upwards = [name_of(target) for target in imported_files(path) if rank(target) > rank(path)]
    assert not upwards, f"{name_of(path)} may not import {upwards}"


def test_imports_make_no_circle():
    graph = {path: imported_files(path) - {path} for path in files(PACKAGE)}
    TopologicalSorter(graph).prepare()


@each(PACKAGE)
def test_the_library_imports_no_script_test_or_benchmark(path):
    names = {name.split(".")[0] for node in ast.walk(tree_of(path)) for name in imported_names(node)}
    assert not names & {"scripts", "tests", "benchmarks", "reference", "sources"}


@each()
def test_files_are_short(path):
    longest = next(limit for pattern, limit in LONGEST if path.match(pattern))
    assert len(path.read_text(encoding="utf-8").splitlines()) <= longest
    assert path.name not in UNCLEAR_NAMES


@each(PACKAGE)
def test_the_library_uses_no_recurrent_modules_of_torch(path):
    """Their flat weights are out of reach of adapters, quantisation and export; packing knows right padding only."""
    used = {dotted(node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
    used |= {name for node in ast.walk(tree_of(path)) for name in imported_names(node)}
    found = {name for name in used if name.split(".")[-1] in RECURRENT_MODULES and not name.startswith("torch._VF")}
    assert not found


@each()
def test_nothing_can_run_code_hidden_in_data(path):
    """Tests may import pickle: some write files that must be refused, or send objects to another process."""
    for node in ast.walk(tree_of(path)):
        imported = {name.split(".")[0] for name in imported_names(node)}
        assert not imported & UNSAFE_MODULES or path.is_relative_to(PROJECT / "tests")
        if isinstance(node, ast.Call):
            where = f"{name_of(path)}:{node.lineno}"
            assert dotted(node.func) not in UNSAFE_CALLS, where
            given = {(k.arg, k.value.value) for k in node.keywords if isinstance(k.value, ast.Constant)}
            assert not given & UNSAFE_ARGUMENTS, where
            if dotted(node.func) == "torch.load":
                assert ("weights_only", True) in given, where


@each(PACKAGE)
def test_class_names_do_not_change_how_transformers_generates(path):
    names = [node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]
    assert not [name for name in names if any(word in name.lower() for word in RESERVED_IN_CLASS_NAMES)]


@each(PACKAGE)
def test_only_the_package_itself_registers_with_transformers(path):
    """Elsewhere registration would be repeated by every copy of the code that travels with a checkpoint."""
    entrances = ("hf_rnnattn/__init__.py", "hf_rnnattn/pipelines.py", "hf_rnnattn/model/transformers_versions.py")
    if name_of(path) in entrances:  # the last defines what the second calls
        return
    touched = {dotted(node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute | ast.Name)}
    registers = {name for name in touched if name.startswith("Auto") and name.endswith(".register")}
    registry = {name for name in touched if name.split(".")[-1] in ("PIPELINE_REGISTRY", "REMOVED_TASKS")}
    assert not registers | registry
    assert not {name for name in touched if name.endswith(".register_for_auto_class")}


def test_the_rules_see_what_they_forbid():
    """The checks above read syntax trees: they must find their targets in every likely spelling."""
    code = "import torch.nn as nn\nfrom torch.nn.utils.rnn import pack_padded_sequence\nx = nn.LSTM(1, 1)\n"
    tree = ast.parse(code)
    assert {name for node in ast.walk(tree) for name in imported_names(node)} == {
        "torch.nn",
        "torch.nn.utils.rnn.pack_padded_sequence",
    }
    assert "nn.LSTM" in {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert rank(ISLAND / "mixer_base.py") < rank(ISLAND / "mixer_gru.py") < rank(ISLAND / "mixers.py")
    assert rank(PROJECT / PACKAGE / "__init__.py") < rank(PROJECT / PACKAGE / "data.py") < rank(Path(__file__))
    assert imported_files(ISLAND / "mixer_base.py") == {ISLAND / "notation.py"}
    assert all(lower != upper for lower, upper in pairwise(RANKS))


def imported_names(node: ast.AST) -> list[str]:
    """The dotted names that a statement imports; empty for any other node."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return []


def dotted(node: ast.AST) -> str:
    """``a.b.c`` for a chain of attributes of a name, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        prefix = dotted(node.value)
        return f"{prefix}.{node.attr}" if prefix else ""
    return ""
