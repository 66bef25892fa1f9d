"""`manage.py audit`: checks the invariants that span all services."""

import json
import sys
from argparse import ArgumentParser
from datetime import timedelta
from typing import IO, Any, cast

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from audit import Violation, audit, count_orders, invariant_names
from commands.arguments import seconds
from shop.operations import last_audit

SHOWN = 50


class Command(BaseCommand):
    help = (
        "Check the invariants that span the services: stock and money conserved, nothing orphaned, no order overdue, "
        "every emitted event handled. Exit code 1 when one is broken."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--strict", action="store_true", help="check everything, and expect every order to have ended"
        )
        parser.add_argument(
            "--age",
            type=seconds,
            default=60.0,
            help="without --strict: check only what has not changed for so many seconds (60)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")

    def handle(self, *, strict: bool, age: float, json: bool, **options: Any) -> None:
        violations: list[Violation] = []
        orders, total = 0, count_orders()
        console = Console(file=cast(IO[str], self.stdout), soft_wrap=True)
        progress = Progress(
            TextColumn("Auditing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), disable=json or not sys.stderr.isatty(), transient=True,
        )  # fmt: skip
        with progress:
            task = progress.add_task("", total=total)
            for found in audit(strict=strict, age=timedelta(seconds=age)):
                if isinstance(found, Violation):
                    violations.append(found)
                else:
                    orders += found
                    progress.update(task, completed=orders)
        last_audit.keep(len(violations))
        if json:
            self.stdout.write(_as_json(orders, violations))
        else:
            _show(console, orders, violations)
        if violations:
            raise SystemExit(1)


def _as_json(orders: int, violations: list[Violation]) -> str:
    return json.dumps(
        {
            "orders": orders,
            "invariants": invariant_names(),
            "violations": [violation._asdict() for violation in violations],
        },
        ensure_ascii=False,
    )


def _show(console: Console, orders: int, violations: list[Violation]) -> None:
    if not violations:
        console.print(f"[green]Audit clean:[/] {orders} orders, {len(invariant_names())} invariants, nothing broken.")
        return
    table = Table("invariant", "what", "found", title="Broken invariants")
    for violation in violations[:SHOWN]:
        table.add_row(*map(escape, violation))
    console.print(table)
    more = f" ({len(violations) - SHOWN} more not shown; --json has all)" if len(violations) > SHOWN else ""
    console.print(f"[red]Audit failed:[/] {orders} orders, {len(violations)} violations{more}.")
