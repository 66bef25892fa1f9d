"""The boundaries at which a process of the shop may die."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from django.conf import settings

from sagas.testing import boundaries, crashes
from tests.support.processes import ROOT


def sources() -> Iterator[tuple[str, ast.Module]]:
    """The modules of the shop and of its kernel, without tests."""
    packages = (
        "sagas",
        "fastdb",
        "supervision",
        "shop",
        "audit",
        "desk",
        "commands",
        "providers",
        "console",
        "embedded",
        "lab",
        *settings.SERVICES,
    )
    yield from boundaries.sources(ROOT, packages)
    yield "sagas/testing/crashes.py", ast.parse(Path(crashes.__file__).read_text())  # those of Celery's own code


@cache
def all_points() -> set[str]:
    """The names of all boundaries."""
    return {point for _, tree in sources() for point, _ in boundaries.points_in(tree)}
