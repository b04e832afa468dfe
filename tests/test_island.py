"""The island: the files of hf_rnnattn/model travel, flat, with a checkpoint, and need no installed package.

transformers finds the files to copy with regular expressions over their text, so the rules here are about text, too.
"""

import ast
import importlib
import inspect
import re
import sys

import pytest
from sources import ISLAND, PACKAGE, import_nodes, tree_of
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

FILES = sorted(ISLAND.glob("*.py"))
MODULES = [path.stem for path in FILES]
THIRD_PARTY = {"torch", "transformers", "tokenizers", "safetensors", "huggingface_hub"}  # the core's dependencies
each_file = pytest.mark.parametrize("path", FILES, ids=MODULES)


def test_the_island_is_one_flat_folder_of_python_files():
    entries = {path.name for path in ISLAND.iterdir() if path.name != "__pycache__"}
    assert entries == {path.name for path in FILES}


@each_file
def test_siblings_are_imported_by_name(path):
    for node in import_nodes(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"line {node.lineno}: siblings only"
            assert node.module in MODULES, f"line {node.lineno}: from .sibling import Name"
        else:
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not [name for name in names if name.split(".")[0] == PACKAGE], f"line {node.lineno}"


@each_file
def test_transformers_finds_the_siblings_that_the_code_imports_and_no_others(path):
    """A line of a docstring that looks like a relative import would be followed, too."""
    imported = {node.module for node in import_nodes(tree_of(path)) if isinstance(node, ast.ImportFrom) and node.level}
    text = path.read_text(encoding="utf-8")
    found = set(re.findall(r"^\s*(?:import\s+\.(\S+)\s*$|from\s+\.(\S+)\s+import)", text, flags=re.MULTILINE))
    assert {one or other for one, other in found} == imported
    get_relative_import_files(path)  # raises FileNotFoundError for what is not there


@each_file
def test_third_party_imports_are_the_dependencies_of_the_core(path):
    """Loading remote code demands everything that is imported outside try/except."""
    assert {name.split(".")[0] for name in get_imports(path)} <= THIRD_PARTY | set(sys.stdlib_module_names)


@each_file
def test_importing_a_file_of_the_island_defines_and_does_nothing_else(path):
    """Every copy of the code would do it again. Only a logger and constants may be made at the top of a file."""
    for node in tree_of(path).body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"line {node.lineno} does something at import"
        assert not isinstance(node, ast.For | ast.While | ast.With | ast.Delete), f"line {node.lineno}"


@each_file
def test_every_public_name_of_the_island_is_documented(path):
    module = importlib.import_module(f"{PACKAGE}.model.{path.stem}" if path.stem != "__init__" else f"{PACKAGE}.model")
    assert module.__doc__
    missing = [name for name, member in public_members(module) if not inspect.getdoc(member)]
    assert not missing


def public_members(module):
    """The public functions and classes that a module defines, and the public methods that these classes define."""
    for name, member in vars(module).items():
        if name.startswith("_") or getattr(member, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(member) or inspect.isclass(member):
            yield name, member
        if inspect.isclass(member):
            for method, value in vars(member).items():
                documented = inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
                if documented and not method.startswith("_"):
                    yield f"{name}.{method}", getattr(member, method)
