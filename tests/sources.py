"""The source tree as data: every Python file, its syntax tree, and what it imports. Read by the structural tests."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = "hf_rnnattn"
ISLAND = PROJECT / PACKAGE / "model"
FOLDERS = (PACKAGE, "scripts", "tests", "benchmarks")


def files(*folders: str) -> list[Path]:
    """Every Python file below these folders of the project."""
    return sorted(path for folder in folders or FOLDERS for path in (PROJECT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """A path as people write it: relative to the project, with slashes."""
    return path.relative_to(PROJECT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_files(path: Path) -> set[Path]:
    """The files of the package that this file imports, at any depth of its code except under ``if TYPE_CHECKING``."""
    return {target for node in import_nodes(tree_of(path)) for target in targets(node, path)}


def import_nodes(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements that run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from (found for other in child.orelse for found in import_nodes(other))
        elif isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        else:
            yield from import_nodes(child)


def targets(node: ast.Import | ast.ImportFrom, path: Path) -> Iterator[Path]:
    """The files of the package that one import statement loads."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        base = absolute_name(node, path)
        submodules = [f"{base}.{alias.name}" for alias in node.names if file_of(f"{base}.{alias.name}")]
        names = submodules if len(submodules) == len(node.names) else [base, *submodules]
    for name in names:
        target = file_of(name)
        if target is not None:
            yield target


def absolute_name(node: ast.ImportFrom, path: Path) -> str:
    """The dotted name that a ``from … import`` speaks of."""
    if not node.level:
        return node.module or ""
    folder = path.parent.relative_to(PROJECT).parts
    return ".".join([*folder[: len(folder) - node.level + 1], *([node.module] if node.module else [])])


def file_of(dotted: str) -> Path | None:
    """The file of a module of the package; None for anything else."""
    parts = dotted.split(".")
    if parts[0] != PACKAGE:
        return None
    found = [PROJECT.joinpath(*parts).with_suffix(".py"), PROJECT.joinpath(*parts, "__init__.py")]
    return next((path for path in found if path.exists()), None)
