"""From the HTTP request until paid, shipped and notified: the shop compared with plain Django and Celery, and the
floor.

    make bench-door                                     all of it, in half an hour or so
    make bench-door ARGS="--quick"                      in four: to see that it works
    make bench-door ARGS="--clients 32 --rates 10"
    make bench-guard                                    fails when plain Celery has come too close, among others

Each system runs with all its processes and a mail server. In each round they take turns at every load, so that other
work on the machine affects all of them. With a number of *clients*, each sends its next request after the response (a
closed loop); at a *rate*, requests are sent whether or not earlier ones are answered (an open loop). Orders count if
they are through within the window. All orders must complete, and the audit must be clean, before a figure counts.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks.endtoend.doors import DOORS, Door
from benchmarks.endtoend.report import (
    SUSTAINED,
    Closed,
    Outcome,
    Steady,
    closed_rows,
    keep,
    steady_rows,
    target_rows,
)
from benchmarks.measure import STALLED, Show, audit, cpu_seconds, percentiles, since
from benchmarks.results import FOLDER, as_table, machine
from benchmarks.session import measuring
from benchmarks.surroundings import Unfit, own_queues
from benchmarks.systems import Orders

RAMP = 2.0  # seconds of a closed loop before its window
AT_LEAST = 30  # requests at a steady rate
KEPT_UP = 0.9  # the share of a rate's orders that must be paid during the load; otherwise it is beyond the knee


def closed(door: Door, clients: int, seconds: float, show: Show) -> Closed:
    """Run a number of clients for RAMP + `seconds`; only the last `seconds` count."""
    with ThreadPoolExecutor(1) as pool:
        show(f"{clients} clients", 0, 1)
        asking = pool.submit(door.ask, f"closed {clients} {RAMP + seconds}")
        time.sleep(RAMP)
        began = time.time()
        time.sleep(seconds)
        ended = time.time()
        answers = asking.result()
    orders = range_of([one.order for one in answers])
    times = times_when_through(door, orders, f"{clients} clients", show)
    within = {mark: sum(began <= at <= ended for _, at in found) for mark, found in times.items()}
    asked = [one for one in answers if began <= one.answered <= ended]
    took = [1000 * (one.answered - one.due) for one in asked if one.order]
    return Closed(
        posts=len(took) / seconds,
        marks={mark: count / seconds for mark, count in within.items()},
        post=percentiles(took),
        refused=Counter(str(one.status) for one in asked if not one.order),
    )


def steady(door: Door, rate: float, seconds: float, show: Show) -> Steady:
    """Send requests at a rate, for `seconds` or until there have been AT_LEAST."""
    show(f"{rate:g}/s", 0, 1)
    before = cpu_seconds(door)
    answers = door.ask(f"steady {rate} {max(seconds, AT_LEAST / rate)}")
    ended = time.time()
    taken = {one.order: one for one in answers if one.order}
    orders = range_of(list(taken))
    times_when_through(door, orders, f"{rate:g}/s", show)
    used = since(before, cpu_seconds(door))
    reached = {
        mark: [1000 * (at - taken[order].due) for order, at in door.reached(mark, orders).items() if order in taken]
        for mark in door.marks
    }
    early = sum(at <= ended for at in door.reached("paid", orders).values())
    return Steady(
        rate=rate,
        milliseconds={"answered": [1000 * (one.answered - one.due) for one in taken.values()], **reached},
        refused=Counter(str(one.status) for one in answers if not one.order),
        cpu={who: 1000 * one / len(taken) for who, one in used.items()},
        kept_up=early >= KEPT_UP * len(answers),
    )


def range_of(orders: Sequence[int]) -> Orders:
    taken = [order for order in orders if order]
    if not taken:
        raise Unfit("Not one order was taken.")
    return Orders(min(taken), max(taken), time.time())


def times_when_through(door: Door, orders: Orders, what: str, show: Show) -> dict[str, list[tuple[float, float]]]:
    """Wait for these orders; return when each was placed and reached each mark. Raises `Unfit` if they stall."""
    placed = door.placed_between(orders)  # skipped ids are missing
    done, moved_at = 0, time.monotonic()
    while (now_done := door.done(orders)) < placed:
        show(what, now_done, placed)
        if now_done > done:
            done, moved_at = now_done, time.monotonic()
        elif time.monotonic() - moved_at > STALLED:
            door.verify()
            log = door.processes.log() if door.processes else ""
            raise Unfit(f"{door.title}: {done} of {placed} orders are through and no more come.\n{log}")
        time.sleep(0.2)
    return door.times(orders)


def measure(options: argparse.Namespace, progress: Progress, cleanup: ExitStack) -> list[Outcome]:
    task = progress.add_task("making databases", total=None)
    where = ""

    def show(what: str, done: int, of: int) -> None:
        progress.update(task, description=f"{where}: {what}", completed=done, total=of)

    cleanup.enter_context(own_queues())
    outcomes = []
    for name in options.systems:
        progress.update(task, description=f"{DOORS[name].title}: making databases")
        outcomes.append(Outcome(DOORS[name](cleanup)))
    cleanup.enter_context(own_queues(*(queue for one in outcomes for queue in one.door.queues)))
    for number in range(options.rounds):
        for one in outcomes:
            where = f"{number + 1} of {options.rounds}  {one.door.title}"
            with one.door.running():
                warm_up(one.door, show)
                for clients in options.clients:
                    measured = closed(one.door, clients, options.seconds, show)
                    one.closed.setdefault(clients, []).append(measured)
                    progress.console.print(f"{where}: {clients} clients, {measured.marks['paid']:,.0f} paid/s")
                for rate in options.rates:
                    if one.beyond_knee(rate):
                        continue
                    at_rate = steady(one.door, rate, options.seconds, show)
                    one.steady.setdefault(rate, []).append(at_rate)
                    paid = percentiles(at_rate.milliseconds["paid"])
                    progress.console.print(f"{where}: {rate:g}/s, paid after {paid['p50']:,.0f} ms (p50)")
    for one in outcomes:
        where = one.door.title
        audit(one.door, show)
    progress.remove_task(task)
    return outcomes


def warm_up(door: Door, show: Show) -> None:
    """Warm up imports, connections and caches."""
    for clients in (1, 8):
        orders = range_of([one.order for one in door.ask(f"closed {clients} 1")])
        times_when_through(door, orders, "warming up", show)


def guard(outcomes: Sequence[Outcome], at_least: float) -> bool:
    """Say how many times plain Celery's orders the shop has paid; whether that is enough."""
    shop, plain = (one.paid(SUSTAINED) for one in outcomes)
    print(f"shop over HTTP at {shop / plain:.1f} times plain Celery; at least {at_least:g} is asked")
    return shop >= at_least * plain


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endtoend", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--systems", nargs="+", choices=DOORS, default=list(DOORS), metavar="NAME", help=", ".join(DOORS)
    )
    parser.add_argument("--rounds", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 32, 64, 256], help="closed loops")
    parser.add_argument("--rates", type=float, nargs="*", default=[1, 10, 50, 100, 200], help="orders per second")
    parser.add_argument("--quick", action="store_true", help="one round, 8 and 32 clients, 10/s and 50/s, of 4 seconds")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where JSON and plots go (benchmarks/results)")
    parser.add_argument("--guard", type=float, metavar="TIMES", help="fail below so many times plain Celery's paid/s")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.clients, options.rates = 1, 4.0, [8, 32], [10.0, 50.0]
    if options.guard is not None:
        options.systems, options.clients, options.rates = ["shop", "celery-threads"], [SUSTAINED], []
    return options


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    with measuring() as (progress, cleanup):
        record: dict[str, Any] = {
            "machine": machine(),
            "options": {name: value for name, value in vars(options).items() if name != "out"},
        }
        outcomes = measure(options, progress, cleanup)
    if options.guard is not None:
        return 0 if guard(outcomes, options.guard) else 1
    keep(outcomes, record, options.out)
    console = Console()
    if options.clients:
        console.print(as_table("Closed loops over HTTP", closed_rows(outcomes)))
    if options.rates:
        console.print(as_table("Steady rates: p50 / p99 in ms; processor time in ms per order", steady_rows(outcomes)))
    if targets := target_rows(outcomes):
        console.print(as_table("Targets", targets))
    print(f"Kept in {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
