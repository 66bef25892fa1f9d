"""The boundaries at which a process may die, read from code: each `crash_point("…")`."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path


def sources(root: Path, packages: Iterable[str]) -> Iterator[tuple[str, ast.Module]]:
    """The modules of packages below a folder, without tests and migrations: their paths and their syntax trees."""
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not {"tests", "testing", "migrations"} & set(path.relative_to(root).parts):
                yield name, ast.parse(path.read_text())


def points_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names of the crash points below a node, and their lines; of one that is no literal, its source."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "crash_point":
            (name,) = node.args
            yield str(name.value) if isinstance(name, ast.Constant) else ast.unparse(name), node.lineno
