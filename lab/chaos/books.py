"""The providers' own books, compared with our ledger: `manage.py reconcile`, for every day of a run.

Where a provider has no list of payments, its settlement file is written from its books first.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from django.apps import apps
from django.core.management import call_command

from lab.providers.books import AUTHORIZE, CAPTURE, REFUND, VOID, Entry
from lab.providers.server import StandIn
from payments.gateways import gateway

MOVES = (CAPTURE, REFUND)


class Compared(NamedTuple):
    """A provider's books of a run, in the currency's minor unit, and what differs from our ledger."""

    gateway: str
    movements: int
    captured: int
    refunded: int
    held: int  # authorized, and neither captured nor let go of
    kept_here: int  # by our ledger: captured, and not refunded
    differences: list[str]

    @property
    def kept(self) -> int:
        return self.captured - self.refunded


def compare(serving: Mapping[str, StandIn], directory: Path) -> list[Compared]:
    """Compare the books of these stand-ins with our ledger; settlement files are written into a directory."""
    return [_compare(name, one.books.entries(), directory) for name, one in serving.items()]


def _compare(name: str, entries: list[Entry], directory: Path) -> Compared:
    payments = apps.get_model("payments.Payment").objects.filter(gateway=name)
    orders = dict(payments.values_list("idempotency_key", "order_id"))
    differences = [line for day in _days(entries, name) for line in _reconcile(name, day, entries, directory)]
    differences += _kept_for_cancelled(entries, orders)
    held = list(_held(entries))
    differences += [f"{one.amount} is held for {one.payment}" for one in held]
    return Compared(
        gateway=name,
        movements=sum(one.kind in MOVES for one in entries),
        captured=sum(one.amount for one in entries if one.kind == CAPTURE),
        refunded=sum(one.amount for one in entries if one.kind == REFUND),
        held=sum(one.amount for one in held),
        kept_here=sum(captured - refunded for captured, refunded in payments.values_list("captured", "refunded")),
        differences=differences,
    )


def _days(entries: Iterable[Entry], name: str) -> Iterator[date]:
    """The provider's days on which anything can have happened."""
    zone = gateway(name).zone
    operations = apps.get_model("payments.PaymentOperation").objects.filter(payment__gateway=name)
    began = [datetime.fromtimestamp(one.at, UTC) for one in entries] + list(operations.values_list("at", flat=True))
    today = datetime.now(zone).date()
    day = min(began, default=datetime.now(UTC)).astimezone(zone).date()
    while day <= today:
        yield day
        day += timedelta(days=1)


def _reconcile(name: str, day: date, entries: Iterable[Entry], directory: Path) -> Iterator[str]:
    options: dict[str, Any] = {"gateway": name, "day": day, "json": True}
    try:
        gateway(name).statement(day)
    except NotImplementedError:
        options["file"] = str(directory / f"{name}.csv")
        _write_settlement_file(Path(options["file"]), entries)
    printed = StringIO()
    with suppress(SystemExit):  # of differences
        call_command("reconcile", **options, stdout=printed)
    for one in json.loads(printed.getvalue())["differences"]:
        whose = f"order {one['orderId']}" if one["orderId"] else one["reference"]
        yield f"{one['kind'].lower()}: {one['movement'].lower()} of {whose}: ours {one['ours']}, theirs {one['theirs']}"


def _write_settlement_file(path: Path, entries: Iterable[Entry]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["reference", "kind", "amount", "currency", "at", "payment"])
        for one in entries:
            if one.kind in MOVES:
                at = datetime.fromtimestamp(one.at, UTC).isoformat()
                rows.writerow([one.reference, one.kind, one.amount, one.currency, at, one.payment])


def _held(entries: Iterable[Entry]) -> Iterator[Entry]:
    ended = {one.reference for one in entries if one.kind in (CAPTURE, VOID)}
    return (one for one in entries if one.kind == AUTHORIZE and one.reference not in ended)


def _kept_for_cancelled(entries: Iterable[Entry], orders: Mapping[str, int]) -> list[str]:
    kept: dict[int, int] = {}
    for one in entries:
        if one.payment in orders and one.kind in MOVES:
            amount = one.amount if one.kind == CAPTURE else -one.amount
            kept[orders[one.payment]] = kept.get(orders[one.payment], 0) + amount
    cancelled = apps.get_model("orders.Order").objects.filter(pk__in=list(kept), status="CANCELLED")
    return [f"{kept[pk]} is kept for cancelled order {pk}" for pk in cancelled.values_list("pk", flat=True) if kept[pk]]
