"""A load test's progress: a live table on a terminal, otherwise a line now and then."""

import time
from collections.abc import Sequence
from itertools import takewhile
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lab.loadtest.measure import Order, answer_times, end_times, paid_times, summary
from lab.loadtest.run import Run

WINDOW = 10.0  # seconds that the live figures look back
LEAST = 0.5  # seconds over which a rate is worth showing
SAID_EVERY = 5.0  # seconds between lines, where there is no terminal
PERCENTILES = ("p50", "p95", "p99")


class Watch:
    """A context manager; called with the run whenever there may be something new to show."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._said_at, self._phase = 0.0, ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, run: Run) -> None:
        if self._live:
            self._live.update(picture(run) if run.orders else Text(f"{run.phase} …"), refresh=True)
            return
        if run.phase != self._phase or time.monotonic() - self._said_at > SAID_EVERY:
            self._phase, self._said_at = run.phase, time.monotonic()
            self._console.print(line(run), soft_wrap=True)


def recent(run: Run) -> Sequence[Order]:
    """Return the orders that were due in the last seconds of the load."""
    since = run.orders[-1].due - WINDOW
    return list(takewhile(lambda one: one.due >= since, reversed(run.orders)))[::-1]


def rates(orders: Sequence[Order]) -> str:
    """Format the orders sent and accepted per second; empty if all were sent at once."""
    seconds = orders[-1].due - orders[0].due
    if seconds < LEAST:
        return ""
    sent, accepted = len(orders) / seconds, sum(one.accepted for one in orders) / seconds
    return f", {sent:.0f}/s, {accepted:.0f}/s accepted"


def line(run: Run) -> str:
    """Return the same as the table, in one line."""
    if not run.orders:
        return f"          {run.phase} …"
    orders = recent(run)
    parts = [f"{len(run.orders):,} sent{rates(orders)}, {_in_flight(run)}"]
    parts += [f"{what} {_brief(values)}" for what, values in _latencies(run, orders) if values]
    return f"{run.now:7.0f} s  {run.phase}: {'; '.join(parts)}"


def picture(run: Run) -> Group:
    """Return the table of what is going on."""
    orders = recent(run)
    head = Text.assemble(
        (f"{run.now:.0f} s  ", "dim"), (f"{run.profile.title}  ", "bold"), (run.phase, "cyan"), "\n",
        f"{len(run.orders):,} of {run.profile.count:,} orders sent{rates(orders)}; "
        f"{_in_flight(run)}",
    )  # fmt: skip
    table = Table("seconds until", "orders", *PERCENTILES)
    for column in table.columns[1:]:
        column.justify = "right"
    for what, values in _latencies(run, orders):
        found = summary(values)
        table.add_row(what, f"{len(values)}", *(f"{found[one]:.3f}" if values else "–" for one in PERCENTILES))
    said = ", ".join(f"{count:,} × {what}" for what, count in run.answers.most_common())
    return Group(head, table, Text(f"answers: {said or 'none yet'}"))


def _in_flight(run: Run) -> str:
    """Describe the requests in flight while orders are sent, and the open orders afterwards."""
    waiting = len(run.orders) - run.answers.total()
    return f"{waiting} in flight" if run.still_open is None else f"{run.still_open:,} orders open"


def _latencies(run: Run, orders: Sequence[Order]) -> list[tuple[str, list[float]]]:
    """Return the latencies of the latest orders; paid and completed only for those that are followed."""
    followed = list(run.follower.taken_up)
    return [
        ("answered", answer_times(orders)),
        ("paid (a sample)", paid_times(followed)),
        ("completed (a sample)", end_times(followed, "COMPLETED")),
    ]


def _brief(values: list[float]) -> str:
    found = summary(values)
    return "/".join(f"{1000 * found[one]:.0f}" for one in PERCENTILES) + " ms"
