"""`manage.py reconcile`: compares a payment provider's books of a day with our ledger."""

import csv
import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo
from itertools import islice
from typing import IO, Any, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from payments.gateways import Kind, PaymentGateway, StatementLine, gateway
from payments.gateways.http import NoAnswer, TooMany
from payments.models import Reconciliation, ReconciliationDifference
from payments.reconciliation.runs import Superseded, by_key, reconcile
from sagas import Unavailable
from shop.money import money

SHOWN = 50
WIDTH = 160  # of tables that go to a file or a pipe
COLUMNS = ("reference", "kind", "amount", "currency", "at")
MOST = 2**63 - 1


def a_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a day: give it as YYYY-MM-DD") from None


class Command(BaseCommand):
    help = (
        "Compare a payment provider's books of a day with our ledger: what is missing here, missing there, or of "
        "another amount. The result is stored, shown in the admin, and a metric. Exit code 1 if there are differences."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        names = ", ".join(settings.PAYMENT_GATEWAYS)
        parser.add_argument("--gateway", metavar="NAME", required=True, help=names)
        parser.add_argument(
            "--day", type=a_day, metavar="YYYY-MM-DD", help="in the provider's time zone; yesterday if left out"
        )
        parser.add_argument(
            "--file",
            metavar="CSV",
            help="read the provider's settlement file instead of asking its API. Columns: reference (the provider's, "
            "of the payment), kind (CAPTURE or REFUND), amount (in the minor unit), currency, at (ISO 8601; without "
            "an offset, in the provider's time zone); optionally payment (our name for it) and key (the operation's). "
            "Lines of other days are left out.",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")

    def handle(self, *, gateway: str, day: date | None, file: str | None, json: bool, **options: Any) -> None:
        provider = _gateway(gateway)
        today = timezone.now().astimezone(provider.zone).date()
        day = day or today - timedelta(days=1)
        if day > today:
            raise CommandError(f"{day} has not begun at {gateway}, where it is {today}.")
        try:
            lines = _read(file, day, provider.zone) if file else provider.statement(day)
            run = reconcile(gateway, day, provider.zone, lines, file or "")
        except NotImplementedError as error:
            raise CommandError(f"{error}. Give it with --file.") from error
        except (NoAnswer, TooMany, Unavailable) as error:
            raise CommandError(f"{gateway} has not given its books of {day}: {error}. Nothing was compared.") from error
        except Superseded as error:
            raise CommandError(
                f"Another run for {gateway} and {day} has ended meanwhile; its result is stored."
            ) from error
        if json:
            _write_json(self.stdout, run)
        else:
            self._show(run)
        if _differences(run):
            raise SystemExit(1)

    def _show(self, run: Reconciliation) -> None:
        width = None if self.stdout.isatty() else WIDTH
        console = Console(file=cast(IO[str], self.stdout), soft_wrap=True, width=width)
        number = _differences(run)
        if number:
            table = Table("difference", "movement", "order", "reference", "ours", "theirs", "at", "detail")
            for one in islice(by_key(run.differences.all()), SHOWN):
                amounts = ("–" if amount is None else money(amount, one.currency) for amount in (one.ours, one.theirs))
                at = f"{timezone.localtime(one.at):%Y-%m-%d %H:%M:%S %Z}"
                row = (one.kind, one.movement, one.order_id or "–", one.reference, *amounts, at, one.detail)
                table.add_row(*(escape(str(value)) for value in row))
            console.print(table)
            if number > SHOWN:
                console.print(f"{number - SHOWN} more not shown; --json has all.")
        found = f"[red]{number} differences[/]" if number else "[green]no differences[/]"
        console.print(
            f"{escape(run.gateway)} on {run.day}: {run.movements} movements there, {run.entries} entries here, {found}."
        )
        if run.on_another_day:
            console.print(
                f"{run.on_another_day} entries from around midnight are on another day there, as it confirms."
            )


def _gateway(name: str) -> PaymentGateway:
    if name not in settings.PAYMENT_GATEWAYS:
        known = ", ".join(settings.PAYMENT_GATEWAYS)
        raise CommandError(f"There is no payment gateway {name!r}; there are {known}.")
    return gateway(name)


def _read(path: str, day: date, zone: tzinfo) -> Iterator[StatementLine]:
    """The lines of a settlement file that are of that day. Raises `CommandError` for what cannot be read."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
                raise CommandError(f"{path} has no column {', '.join(missing)}. It needs {', '.join(COLUMNS)}.")
            for row in rows:
                try:
                    line = _line(row, zone)
                except (ValueError, OverflowError) as error:
                    raise CommandError(f"{path}, line {rows.line_num}: {error}.") from error
                if line.at.astimezone(zone).date() == day:
                    yield line
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error


def _line(row: dict[str, str], zone: tzinfo) -> StatementLine:
    """Raises ValueError for what is no line."""
    if any(row[name] is None for name in COLUMNS):
        raise ValueError("it has too few values")
    values = {name: row[name].strip() for name in COLUMNS}
    payment, key = ((row.get(name) or "").strip() for name in ("payment", "key"))
    amount, at = int(values["amount"]), datetime.fromisoformat(values["at"])
    if not 0 < amount <= MOST:
        raise ValueError(f"an amount of {amount} is not possible")
    if "\0" in "".join([*values.values(), payment, key]):
        raise ValueError("there is a NUL character in it")
    if len(values["currency"]) != 3 or not (values["reference"] or payment):
        raise ValueError("a line names a currency of three letters, and a reference")
    return StatementLine(
        reference=values["reference"],
        payment=payment,
        kind=Kind(values["kind"].upper()),
        amount=amount,
        currency=values["currency"].upper(),
        at=at if at.tzinfo else at.replace(tzinfo=zone),
        key=key,
    )


def _differences(run: Reconciliation) -> int:
    return run.missing_here + run.missing_there + run.other_amount


def _write_json(to: Any, run: Reconciliation) -> None:
    """One object, difference by difference: there may be many."""
    head = {
        "gateway": run.gateway,
        "day": run.day.isoformat(),
        "movements": run.movements,
        "entries": run.entries,
        "onAnotherDay": run.on_another_day,
        "missingHere": run.missing_here,
        "missingThere": run.missing_there,
        "otherAmount": run.other_amount,
    }
    to.write(json.dumps(head)[:-1] + ', "differences": [', ending="")
    for number, one in enumerate(by_key(run.differences.all())):
        to.write(", " * bool(number) + json.dumps(_as_dict(one), ensure_ascii=False), ending="")
    to.write("]}")


def _as_dict(one: ReconciliationDifference) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "movement": one.movement,
        "orderId": one.order_id,
        "reference": one.reference,
        "ours": one.ours,
        "theirs": one.theirs,
        "currency": one.currency,
        "at": one.at.isoformat(),
        "detail": one.detail,
    }
