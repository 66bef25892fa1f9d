"""The boundaries at which a process may die, read from the code: each `crash_point("…")`."""

import ast
from collections.abc import Iterator
from functools import cache

from django.conf import settings

from tests.support.processes import ROOT


def sources() -> Iterator[tuple[str, ast.Module]]:
    """The modules of the shop, without tests."""
    for package in ("sagas", "shop", "lab", *settings.SERVICES):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if "/tests/" not in name and "/migrations/" not in name:
                yield name, ast.parse(path.read_text())


def points_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names of the crash points below a node, and their lines; of one that is no literal, what stands there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "crash_point":
            (name,) = node.args
            yield str(name.value) if isinstance(name, ast.Constant) else ast.unparse(name), node.lineno


@cache
def all_points() -> set[str]:
    """The names of all boundaries."""
    return {point for _, tree in sources() for point, _ in points_in(tree)}
