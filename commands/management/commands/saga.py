"""`manage.py saga`: the map of the choreography, or the story of one order and its returns."""

import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q
from rich.console import Console
from rich.text import Text

from commands.arguments import an_id
from commands.saga_map import as_markdown, as_table
from shop.contracts import events, return_events
from shop.operations.timeline import Entry, timeline
from shop.return_saga import RETURN
from shop.saga import ORDER, SAGAS

MAP = Path("docs/saga.md")
LAST_EVENTS = {event.__name__ for event in (*events.ENDS, *return_events.ENDS)}
HEARD_BY = {event.__name__: steps for saga in (ORDER, RETURN) for event, steps in saga.heard_by.items()}
POLL_SECONDS = 0.2
GIVEN_FOR = "exchange_for", "exchange_for__order"


class Command(BaseCommand):
    help = (
        "Without arguments, print which event is heard by which step. With the id of an order or a return, print what "
        "happened to it, joined across the services' databases."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("order_id", nargs="?", type=an_id, help="the order, or the return, whose timeline to show")
        parser.add_argument("--follow", action="store_true", help="keep printing what happens until the saga has ended")
        parser.add_argument("--mermaid", action="store_true", help=f"write the map as a diagram to {MAP}")
        parser.add_argument("--check", action="store_true", help=f"exit with 1 when {MAP} is not what --mermaid writes")

    def handle(self, *, order_id: int | None, follow: bool, mermaid: bool, check: bool, **options: Any) -> None:
        console = Console(file=cast(IO[str], self.stdout), soft_wrap=True)
        path = settings.BASE_DIR / MAP
        if check:
            if not path.exists() or path.read_text() != as_markdown():
                raise CommandError(f"{MAP} is stale: run `manage.py saga --mermaid` and commit it.")
            console.print(f"{MAP} is up to date.")
            return
        if mermaid:
            path.write_text(as_markdown())
            console.print(f"Wrote {MAP}.")
            return
        if order_id is None:
            if follow:
                raise CommandError("--follow needs an order's id: manage.py saga ORDER_ID --follow")
            for saga in SAGAS:
                console.print(as_table(saga))
            return
        entries = timeline(order_id)
        if not entries:
            raise CommandError(f"Nothing is known of order {order_id}.")
        if follow:
            _follow(console, order_id)
        else:
            for entry in entries:
                console.print(line(entry, entries[0].at))
            for said in exchanges(order_id):
                console.print(said)


def exchanges(number: int) -> Iterator[str]:
    """Sentences about the orders that an order or a return was exchanged for, and about what an order is given for."""
    orders = apps.get_model("orders", "Order").objects
    given = orders.filter(Q(exchange_for=number) | Q(exchange_for__order=number))
    for pk, status, of in given.order_by("pk").values_list("pk", "status", "exchange_for"):
        yield f"Return {of} was exchanged for order {pk}: {status}."
    for of, paid in orders.filter(pk=number, exchange_for__isnull=False).values_list(*GIVEN_FOR):
        yield f"Order {number} is given in exchange for return {of} of order {paid}."


def line(entry: Entry, start: datetime) -> Text:
    """Format an entry, to fit most terminals; the way back is red, ↻ counts redeliveries of the event."""
    since = f"{(entry.at - start).total_seconds() * 1000:,.0f} ms"
    words = [f"{since:>10}  {entry.event:<18}", f"{entry.step or f'(outbox of {entry.service})':<23}"]
    if entry.emitted:
        words.append(f"→ {', '.join(entry.emitted)}")
    if entry.repeats:
        words.append(f"↻ {entry.repeats}")
    text = " ".join(words).rstrip()
    return Text(text, style="red" if entry.backward else "")


def _is_over(entries: Sequence[Entry]) -> bool:
    """Whether the saga has ended: listeners, whose messages are deferred, may come after the last event."""
    names = {name for entry in entries for name in (entry.event, *entry.emitted)}
    handled = {(entry.event, entry.step) for entry in entries if entry.step}
    expected = {(name, step) for name in names for step in HEARD_BY.get(name, ())}
    return not names.isdisjoint(LAST_EVENTS) and expected <= handled


def _follow(console: Console, order_id: int) -> None:
    """Print entries as they appear, until every step has handled its events; Ctrl-C ends it before."""
    shown: set[Any] = set()
    start: datetime | None = None
    console.print(f"Following order {order_id}; Ctrl-C to stop.")
    try:
        while True:
            entries = timeline(order_id)
            for entry in entries:
                start = start or entry.at
                if entry.key not in shown:
                    shown.add(entry.key)
                    console.print(line(entry, start))
            if _is_over(entries):
                return
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        console.print("Stopped following; the saga goes on.")
