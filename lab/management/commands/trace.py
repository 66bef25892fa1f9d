"""`manage.py trace`: an order's trace, drawn from the file that TRACE_FILE names."""

import json
import shutil
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from commands.arguments import an_id

WIDTH = 40  # characters of the time line


class Span(NamedTuple):
    """A span, which is a line of the file."""

    trace: str
    id: str
    parent: str
    name: str
    service: str
    begins: float  # seconds since 1970
    ends: float
    attributes: dict[str, Any]
    failed: bool

    @classmethod
    def read(cls, line: str) -> Self:
        span = json.loads(line)
        begins, ends = (datetime.fromisoformat(span[name]).timestamp() for name in ("start_time", "end_time"))
        return cls(
            trace=span["context"]["trace_id"].removeprefix("0x"),
            id=span["context"]["span_id"].removeprefix("0x"),
            parent=(span["parent_id"] or "").removeprefix("0x"),
            name=span["name"],
            service=span["resource"]["attributes"]["service.name"],
            begins=begins,
            ends=ends,
            attributes=span["attributes"],
            failed=span["status"]["status_code"] == "ERROR",
        )

    @property
    def detail(self) -> str:
        """What distinguishes a span from others of its name."""
        statement = " ".join(str(self.attributes.get("db.statement", "")).split())
        return str(self.attributes.get("shop.event", "")) or statement[:60]


class Command(BaseCommand):
    help = "Draw an order's trace: what each service did, from when to when. Needs TRACE_FILE, set for all processes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("order_id", type=an_id)
        parser.add_argument("--statements", action="store_true", help="also show queries to databases and Redis")

    def handle(self, *, order_id: int, statements: bool, **options: Any) -> None:
        if not settings.TRACE_FILE:
            raise CommandError("Set TRACE_FILE, for the shop and for this command, as in TRACE_FILE=var/traces make up")
        spans = list(_of_order(Path(settings.TRACE_FILE), order_id))
        if not spans:
            raise CommandError(f"{settings.TRACE_FILE} holds no trace of order {order_id}.")
        shown = [span for span in spans if statements or not span.attributes.get("db.system")]
        width = shutil.get_terminal_size((160, 0)).columns
        console = Console(file=cast(IO[str], self.stdout), width=max(width, 120))
        for trace in sorted({span.trace for span in shown}):
            console.print(f"order {order_id}, trace {trace}")
            console.print(drawn([span for span in shown if span.trace == trace]))


def drawn(spans: list[Span]) -> Table:
    """Draw the spans of a trace as a tree with a time line."""
    began, ended = min(span.begins for span in spans), max(span.ends for span in spans)
    scale = WIDTH / max(ended - began, 1e-6)
    table = Table(box=None, pad_edge=False)
    for title, right in (("since start", True), ("took", True), ("service", False), ("span", False), ("", False)):
        table.add_column(title, justify="right" if right else "left", no_wrap=True)
    for depth, span in _as_tree(spans):
        offset = min(int((span.begins - began) * scale), WIDTH - 1)
        bar = " " * offset + "█" * max(1, round((span.ends - span.begins) * scale))
        table.add_row(
            f"{(span.begins - began) * 1000:.1f} ms",
            f"{(span.ends - span.begins) * 1000:.1f} ms",
            span.service,
            Text(f"{'  ' * depth}{span.name} {span.detail}".rstrip(), style="red" if span.failed else ""),
            bar[:WIDTH],
        )
    return table


def _as_tree(spans: Iterable[Span]) -> Iterator[tuple[int, Span]]:
    """Yield each span with its depth, parents first. A span whose parent is missing is a root."""
    ordered = sorted(spans, key=lambda span: span.begins)
    known = {span.id for span in ordered}

    def below(parent: str, depth: int) -> Iterator[tuple[int, Span]]:
        for span in ordered:
            if (span.parent if span.parent in known else "") == parent:
                yield depth, span
                yield from below(span.id, depth + 1)

    return below("", 0)


def _spans(path: Path, lines: Sequence[str]) -> Iterator[Span]:
    """Parse the file's lines. The last one may be incomplete, as other processes are writing."""
    for number, line in enumerate(lines, start=1):
        try:
            yield Span.read(line)
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                raise CommandError(f"Line {number} of {path} is no span: is it the file of TRACE_FILE?") from None


def _of_order(path: Path, order_id: int) -> Iterator[Span]:
    """Return all spans of the traces in which the order occurs."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    spans = list(_spans(path, lines))
    traces = {span.trace for span in spans if span.attributes.get("shop.order_id") == order_id}
    return (span for span in spans if span.trace in traces)
