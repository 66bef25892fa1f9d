"""`manage.py errors`: every error code of the API, when it occurs, and in which operations."""

from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from drf_spectacular.generators import SchemaGenerator
from rich.console import Console
from rich.table import Table

from shop.api.error_codes import CODE_OF_STATUS, CODES
from shop.api.schema import MEDIA_TYPE

TABLE = Path("docs/errors.md")
MANY = 8  # from so many operations, a row says how many instead of which
METHODS = ("get", "post", "put", "patch", "delete")

HEAD = """# Errors

Written by `manage.py errors --write` from the code; a test fails when it is stale.

Every error is an `application/problem+json` document with a stable `code`: the status says what kind of error it is,
the code which one. `errors` names the fields, `traceId` is what to search for in logs and traces. A running shop shows
at `/docs/` which errors each operation may respond with, with an example of each.

| code | status | title | when | answered by |
|---|---|---|---|---|
"""


class Row(NamedTuple):
    code: str
    status: int
    when: str


class Command(BaseCommand):
    help = "Print every error code of the API, when it occurs, and in which operations."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--write", action="store_true", help=f"write the table to {TABLE}")
        parser.add_argument("--check", action="store_true", help=f"exit with 1 when {TABLE} is not what --write writes")

    def handle(self, *, write: bool, check: bool, **options: Any) -> None:
        path = settings.BASE_DIR / TABLE
        if check and (not path.exists() or path.read_text() != as_markdown()):
            raise CommandError(f"{TABLE} is stale: run `manage.py errors --write` and commit it.")
        if write:
            path.write_text(as_markdown())
        if check or write:
            self.stdout.write(f"{TABLE} is up to date.")
            return
        table = Table("code", "status", "title", "when", "answered by")
        for cells in rows():
            table.add_row(*(cell.replace("`", "") for cell in cells))
        Console(file=cast(IO[str], self.stdout), width=None if self.stdout.isatty() else 160).print(table)


def as_markdown() -> str:
    """The whole page."""
    return HEAD + "\n".join(f"| {' | '.join(cells)} |" for cells in rows()) + "\n"


def rows() -> list[tuple[str, ...]]:
    """The rows of the table, as Markdown."""
    answered: dict[Row, list[str]] = defaultdict(list)
    total = 0
    for operation, of_it in operations():
        total += 1
        for row in of_it:
            answered[row].append(operation)
    for code in CODES.keys() - {row.code for row in answered}:
        anywhere = code in CODE_OF_STATUS.values()
        when = "The address does not support the method." if anywhere else "Reserved: nothing responds with it yet."
        answered[Row(code, CODES[code].status, when)] = []
    order = list(CODES)
    return [
        (f"`{row.code}`", str(row.status), CODES[row.code].title, row.when, _operations(answered[row], total))
        for row in sorted(answered, key=lambda row: (order.index(row.code), row.status, row.when))
    ]


def operations() -> Iterator[tuple[str, list[Row]]]:
    """Yield every operation of the API with the problems that it may respond with."""
    schema: Any = SchemaGenerator().get_schema(request=None, public=True)
    for path, methods in schema["paths"].items():
        for method in METHODS:
            if method in methods:
                responses = methods[method]["responses"].values()
                contents = [one.get("content", {}).get(MEDIA_TYPE, {}) for one in responses]
                examples = [one["value"] for content in contents for one in content.get("examples", {}).values()]
                found = [Row(one["code"], one["status"], one["detail"].replace("\n", " ")) for one in examples]
                yield f"`{method.upper()} {path.removeprefix('/api/v1')}`", found


def _operations(names: list[str], total: int) -> str:
    if len(names) == total:
        return "all"
    return ", ".join(names) if len(names) < MANY else f"{len(names)} of {total} operations"
