"""The boundaries at which a process of the shop may die."""

import ast
from collections.abc import Iterator
from functools import cache

from django.conf import settings

from sagas.testing import boundaries
from tests.support.processes import ROOT


def sources() -> Iterator[tuple[str, ast.Module]]:
    """The modules of the shop and of its kernel, without tests."""
    return boundaries.sources(ROOT, ("sagas", "shop", "embedded", "lab", *settings.SERVICES))


@cache
def all_points() -> set[str]:
    """The names of all boundaries."""
    return {point for _, tree in sources() for point, _ in boundaries.points_in(tree)}
