"""`manage.py rights`: who may do what, by routes and verbs of the API; generated from what its views declare."""

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.urls import URLPattern, URLResolver, get_resolver

from shop.api.permissions import ANYBODY, Needed, Own, is_right
from shop.api.rights import GROUPS, SCOPES

TABLE = Path("docs/rights.md")
HEAD = """# Rights

Written by `manage.py rights --write` from the code; a test fails when it is stale, and calls every route as every role.

A right is a Django permission. It counts for staff, in the API, the admin and the console alike; `is_staff` alone
grants nothing. What a user may not see does not exist for them (404).

## What a right grants

| right | grants |
|---|---|
"""
ROUTES = """
## Which routes require it

“Own” is a signed-in person, for their own rows; a program owns no rows. With the right it is all rows. Superusers have
every right.

| route | right |{names}
|---|---|{lines}
"""


class Route(NamedTuple):
    """A verb of a route of the API, and what its view declares."""

    verb: str
    path: str
    needs: Needed


class Command(BaseCommand):
    help = "Print which roles may use which routes of the API, and what rights grant."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--write", action="store_true", help=f"write the tables to {TABLE}")
        parser.add_argument("--check", action="store_true", help=f"exit with 1 when {TABLE} is not what --write writes")

    def handle(self, *, write: bool, check: bool, **options: Any) -> None:
        path = settings.BASE_DIR / TABLE
        if check and (not path.exists() or path.read_text() != as_markdown()):
            raise CommandError(f"{TABLE} is stale: run `manage.py rights --write` and commit it.")
        if write:
            path.write_text(as_markdown())
        self.stdout.write(f"{TABLE} is up to date." if check or write else as_markdown())


def as_markdown() -> str:
    """The whole page."""
    opened = "".join(f"| `{right}` | {what} |\n" for right, what in SCOPES.items())
    head = ROUTES.format(names="".join(f" {name} |" for name in GROUPS), lines="---|" * len(GROUPS))
    return HEAD + opened + head + "".join(_row(route) for route in routes())


def routes() -> Iterator[Route]:
    """Yield every verb of every route whose view is one of the API's."""
    for path, callback in addresses():
        view = getattr(callback, "view_class", None)
        for verb in getattr(view, "rights", {}):
            yield Route(verb, path, view.rights[verb])  # type: ignore[union-attr]


def addresses(patterns: Any = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every path of the URLconf, as it is written there, and its view."""
    for one in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(one, URLResolver):
            yield from addresses(one.url_patterns, f"{prefix}{one.pattern}")
        elif isinstance(one, URLPattern):
            yield f"/{prefix}{one.pattern}", one.callback


def _row(route: Route) -> str:
    own, needs = isinstance(route.needs, Own), route.needs
    right = needs.others if isinstance(needs, Own) else needs
    cells = ["yes" if needs == ANYBODY or right in rights else "own" if own else "–" for rights in GROUPS.values()]
    needed = f"`{right}`" if right and (own or is_right(needs)) else right or "any signed-in user"
    shown = route.path.removeprefix("/api/v1").replace("<", "{").replace(">", "}").replace("id:", "")
    return f"| `{route.verb} {shown.replace('slug:', '')}` | {needed} |{''.join(f' {cell} |' for cell in cells)}\n"
