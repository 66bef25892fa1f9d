"""Shows the demo: headings, the saga of an order while it happens, and whether everything ended as it must."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.rule import Rule
from rich.table import Column, Table
from rich.text import Text

from lab.demo.client import PATIENCE, NotAsExpected
from shop.contracts.events import ENDS
from shop.contracts.return_events import ReturnCompleted
from shop.operations.timeline import Entry, timeline

LAST = {*(event.__name__ for event in ENDS), ReturnCompleted.__name__}


class Stage:
    """Shows one flow after the other. `failures` names what did not end as it must."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.failures: list[str] = []
        self._flow = ""

    def begin(self, flow: str) -> None:
        self._flow = flow
        self.console.print()
        self.console.print(Rule(Text(flow, style="bold"), align="left"))

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def saga(self, number: int, *, what: str = "order") -> None:
        """Show an order's or a return's saga as it happens, until its last event is handled. Raises NotAsExpected."""
        give_up_at = time.monotonic() + PATIENCE
        live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        with live or nullcontext():
            while True:
                entries = timeline(number)
                if live and entries:
                    live.update(as_table(f"{what} {number}", entries), refresh=True)
                if any(entry.step and entry.event in LAST for entry in entries):
                    break
                if time.monotonic() > give_up_at:
                    raise NotAsExpected(f"{what} {number} did not end within {PATIENCE:.0f} s")
                time.sleep(0.1)
        if not live:
            self.console.print(as_table(f"{what} {number}", entries))

    def check(self, what: str, actual: Any, expected: Any) -> None:
        """Print whether a value is as expected."""
        if actual == expected:
            self.console.print(Text.assemble("  ", ("✓", "green"), f" {what}"))
        else:
            self.fail(f"{what}: expected {expected}, found {actual}")

    def fail(self, what: str) -> None:
        self.failures.append(f"{self._flow}: {what}")
        self.console.print(Text(f"  ✗ {what}", style="bold red"))

    def counts(self, title: str, counts: Mapping[str, int]) -> None:
        """Print a small table of counts."""
        table = Table(title, "orders")
        for name, count in counts.items():
            table.add_row(Text(name, style="red" if name.startswith("CANCELLED") else ""), str(count))
        self.console.print(table)


def as_table(title: str, entries: list[Entry]) -> Table:
    """Return a saga as a table; compensation is red."""
    table = Table(Column(title, justify="right"), "event", "heard by", "which emitted")
    for entry in entries:
        table.add_row(*_cells(entry, entries[0].at), style="red" if entry.backward else "")
    return table


def _cells(entry: Entry, start: datetime) -> tuple[str, str, str, str]:
    since = f"{(entry.at - start).total_seconds() * 1000:,.0f} ms"
    step = entry.step or f"(outbox of {entry.service})"
    return since, entry.event, step, ", ".join(entry.emitted) or "–"
