"""How many sagas a second, and how long one takes, for messages of 1, 10 and 100 events; on the real servers.

    make bench                                       all of it, in three minutes or so
    make bench ARGS="--limits 100 --seconds 30 --json"

Orders are written into the outbox of `orders` as `POST /orders` does, without the HTTP in front. A saga counts as done
when its delivery has started and every step that hears of that is through: stock shipped, customer told. What carriers
do from there is a matter of timers and not measured.

throughput   a backlog of orders, committed at once, until the last saga is done
latency      orders one by one at a steady rate, each from its commit until it reads DELIVERY_STARTED

The databases are made for the run and dropped after it, however it ends.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.load import Load, Orders
from benchmarks.surroundings import Processes, Unfit, own_databases, own_queues, refuse_unfit_surroundings

POLL = 0.2  # seconds between looks; what is measured is read from the database's clock
STALLED = 90.0  # seconds without a saga done, after which something must be broken
MODERATE = 0.8  # of the throughput: above it latency would only measure how long the queue has become


@dataclass
class Latency:
    """At so many orders per second; in milliseconds."""

    rate: int
    orders: int
    p50: float
    p95: float


@dataclass
class Measurement:
    """Of one batch limit. `ratio` is to the first one of the run."""

    limit: int
    orders: int
    seconds: float
    sagas_per_second: float
    ratio: float
    latencies: list[Latency]


class Pipeline:
    """The running shop with one batch limit, and how far it is on the screen."""

    def __init__(self, load: Load, processes: Processes, progress: Progress, limit: int) -> None:
        self._load, self._processes, self._progress, self._limit = load, processes, progress, limit

    def warm_up(self) -> float:
        """Sagas per second, roughly: enough to choose how many to measure with."""
        count = max(40, 10 * self._limit)
        self._finish(self._load.place(count), "starting")  # imports, connections
        return count / self._finish(self._load.place(count), "warming up")

    def throughput(self, count: int) -> float:
        """Seconds that a backlog of so many orders takes."""
        return self._finish(self._load.place(count), "throughput")

    def latency(self, rate: int, seconds: float) -> Latency:
        """Place orders one by one at a steady rate for so many seconds."""
        total = int(rate * seconds)
        with self._bar(f"latency at {rate} orders/s", total) as show:
            batches: list[Orders] = []
            placed, began = 0, time.monotonic()
            while placed < total:
                due = min(int((time.monotonic() - began) * rate) + 1, total)
                batches.append(self._load.place(due - placed))
                placed = due
                show(placed)
                time.sleep(max(0.0, began + placed / rate - time.monotonic()))
        orders = Orders(batches[0].first, batches[-1].last, batches[-1].committed_at)
        self._finish(orders, "letting them finish")
        return Latency(rate, total, *self._load.latency(orders))

    def _finish(self, orders: Orders, what: str) -> float:
        """Wait for these sagas; seconds from their commit until the last was done. Raises `Unfit` when they halt."""
        with self._bar(what, len(orders)) as show:
            done, moved_at = 0, time.monotonic()
            while True:
                count, latest = self._load.done(orders)
                show(count)
                if count == len(orders):
                    return latest - orders.committed_at
                if count > done:
                    done, moved_at = count, time.monotonic()
                if time.monotonic() - moved_at > STALLED:
                    self._load.must_be_clean()
                    raise Unfit(f"{done} of {len(orders)} sagas are done and no more come.\n{self._processes.log()}")
                self._processes.must_run()
                time.sleep(POLL)

    @contextmanager
    def _bar(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar for the block, which gets a function to say how far it is."""
        task = self._progress.add_task(f"batches of {self._limit}: {what}", total=total)
        try:
            yield lambda completed: self._progress.update(task, completed=completed)
        finally:
            self._progress.remove_task(task)


def measure(options: argparse.Namespace, progress: Progress, cleanup: ExitStack) -> list[Measurement]:
    """All measurements, limit after limit, each with processes of its own."""
    task = progress.add_task("making databases, products, stock and customers", total=None)
    cleanup.enter_context(own_queues())
    cleanup.enter_context(own_databases())
    load = Load()
    progress.remove_task(task)
    measurements: list[Measurement] = []
    for limit in options.limits:
        with Processes(limit, workers=options.workers, concurrency=options.concurrency, pool=options.pool) as processes:
            pipeline = Pipeline(load, processes, progress, limit)
            orders = max(20, int(pipeline.warm_up() * options.seconds))
            seconds = pipeline.throughput(orders)
            rates = [rate for rate in options.rates if rate <= MODERATE * orders / seconds]
            latencies = [pipeline.latency(rate, options.seconds) for rate in rates]
        load.must_be_clean()
        throughput = orders / seconds
        ratio = throughput / measurements[0].sagas_per_second if measurements else 1.0
        measurements.append(Measurement(limit, orders, seconds, throughput, ratio, latencies))
        progress.console.print(f"batches of {limit}: {throughput:,.0f} sagas/s ({orders:,} in {seconds:.1f} s)")
    return measurements


def table(measurements: Sequence[Measurement], rates: Sequence[int]) -> Table:
    """The figures as a person reads them."""
    shown = Table(title="Sagas from the outbox to a started delivery", caption="latency: p50 / p95 in ms")
    for heading in ("batches of", "orders", "sagas/s", "ratio", *(f"{rate} orders/s" for rate in rates)):
        shown.add_column(heading, justify="right")
    for one in measurements:
        latency = {at.rate: f"{at.p50:,.0f} / {at.p95:,.0f}" for at in one.latencies}
        shown.add_row(
            f"{one.limit}",
            f"{one.orders:,}",
            f"{one.sagas_per_second:,.0f}",
            f"{one.ratio:.1f}×",
            *(latency.get(rate, "too many") for rate in rates),
        )
    return shown


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__.partition("\n")[0])
    parser.add_argument("--limits", type=int, nargs="+", default=[1, 10, 100], help="events in a message, at most")
    parser.add_argument("--rates", type=int, nargs="*", default=[20, 200], help="orders per second, for the latency")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement, about (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes of Celery (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=2, help="children of each (default: %(default)s)")
    parser.add_argument("--pool", default="prefork", help="prefork or threads (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleans up as after Ctrl-C
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<36}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    try:
        refuse_unfit_surroundings()
        with ExitStack() as cleanup, Progress(*columns, console=console) as progress:
            measurements = measure(options, progress, cleanup)
    except Unfit as unfit:
        console.print(str(unfit), style="red", highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print("Interrupted; its databases, queues and processes are gone.")
        return 130
    if options.json:
        print(json.dumps([asdict(one) for one in measurements], indent=2))
    else:
        Console().print(table(measurements, options.rates))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
