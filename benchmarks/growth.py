"""The cost of an order as things grow: finished orders in the tables, events in a message, workers, products, lines of
an order, and the share of orders for one product.

    .venv/bin/python scripts/services.py exec -- .venv/bin/python -m benchmarks.growth
    … -m benchmarks.growth --only products hot --rounds 1
    … -m benchmarks.growth --only history --sizes 10000 100000

Each point is the median of several backlogs of the same size through the full saga. The measure is CPU time per order,
which depends less than throughput on other work on the machine. Plots and `growth.json` go to `benchmarks/results/`
after each part, and replace only that part's earlier results; docs/performance.md says which curves are flat, and why
the others are not.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.load import PRODUCTS
from benchmarks.measure import Show, Throughput, backlog, finish
from benchmarks.results import FOLDER, GROUPS, Rows, as_table, machine
from benchmarks.session import measuring
from benchmarks.surroundings import LIMIT, Processes, own_queues, shop_processes
from benchmarks.systems import Orders, Shop
from lab import charts

Point = tuple[str, list[Throughput]]  # label and rounds
FEWEST = 100  # orders in a backlog: each sample once
LONG = 3  # times as many orders show a difference of less than a tenth


class Sized(Shop):
    """The shop with the workers and the message size of a point."""

    name, title = "growth", "shop"
    limit, concurrency = LIMIT, 4

    def __init__(self, cleanup: ExitStack, name: str = name) -> None:
        self.name = name  # of its databases
        super().__init__(cleanup)

    def commands(self) -> Processes:
        return shop_processes(self.environment, limit=self.limit, concurrency=self.concurrency)


class Growth:
    """Measures point after point."""

    def __init__(self, cleanup: ExitStack, options: argparse.Namespace, show: Show) -> None:
        self._cleanup, self._options, self._show = cleanup, options, show

    @cached_property
    def _shop(self) -> Sized:
        return Sized(self._cleanup)

    def _point(
        self,
        name: object,
        *,
        limit: int = Sized.limit,
        concurrency: int = Sized.concurrency,
        products: int = PRODUCTS,
        lines: int = 1,
        hot: float = 0.0,
    ) -> Point:
        shop = self._shop
        shop.limit, shop.concurrency = limit, concurrency
        shop.generator.ask(f"samples {products} {lines} {hot}")
        orders = max(FEWEST, self._options.orders * limit // Sized.limit)  # as many messages, whatever their size
        return str(name), self._measured(shop, name, orders, self._options.rounds)

    def _measured(self, shop: Sized, name: object, orders: int, rounds: int) -> list[Throughput]:
        """Measure backlogs of so many orders each, after a warm-up."""
        with shop.running():
            backlog(shop, min(orders, self._options.orders), f"{name}, warming up", self._show)
            return [backlog(shop, orders, str(name), self._show) for _ in range(rounds)]

    def batch(self) -> Iterator[Point]:
        """events in a message, at most"""
        for limit in (1, 5, 20, 50, 100, 200, 400, 800):
            yield self._point(limit, limit=limit)

    def workers(self) -> Iterator[Point]:
        """worker processes"""
        for concurrency in (1, 2, 4, 8):
            yield self._point(concurrency, concurrency=concurrency)

    def products(self) -> Iterator[Point]:
        """products"""
        for products in (1, 10, 100, 1000):
            yield self._point(products, products=products)

    def lines(self) -> Iterator[Point]:
        """lines of an order"""
        for lines in (1, 2, 5, 10):
            yield self._point(lines, lines=lines)

    def hot(self) -> Iterator[Point]:
        """share of orders for one product, the rest uniform over a hundred"""
        for share in (0.0, 0.1, 0.5, 1.0):
            yield self._point(f"{share:.0%}", hot=share)

    def history(self) -> Iterator[Point]:
        """finished orders in the tables"""
        shops = {size: self._with_history(size) for size in sorted(self._options.sizes)}
        rounds: dict[int, list[Throughput]] = {size: [] for size in shops}
        for _ in range(self._options.rounds):  # alternating, as the machine's load changes meanwhile
            for size, shop in shops.items():
                rounds[size] += self._measured(shop, f"{size:,}", LONG * self._options.orders, 1)
        yield from ((f"{size:,}", found) for size, found in rounds.items())

    def _with_history(self, size: int) -> Sized:
        """Create a separate shop with so many finished orders."""
        shop = Sized(self._cleanup, f"history{size}")
        shop.environment |= {"HANDOVER_AFTER": "0", "DELIVERED_AFTER": "0"}
        with shop.running():
            finish(shop, Orders(*shop.generator.ask("finish")), "the first orders", self._show)
            originals = shop.generator.ask("end")
        self._show(f"making {size:,} finished orders", 0, 1)
        shop.generator.ask(f"history {size // originals}")
        return shop


def medians(rounds: Sequence[Throughput]) -> dict[str, float]:
    """Return the median CPU time per order in ms, by who used it."""
    return {who: statistics.median(one.cpu.get(who, 0.0) for one in rounds) for who in GROUPS}


def total(rounds: Sequence[Throughput]) -> float:
    return sum(medians(rounds).values())


def rows(about: str, points: Sequence[Point]) -> Rows:
    """Return the heading and a row for each point; times in ms per order."""
    found: Rows = [(about, "sagas/s", *GROUPS, "together", "of the first")]
    for at, rounds in points:
        found.append(
            (
                at,
                f"{statistics.median(one.per_second for one in rounds):,.0f}",
                *(f"{used:.2f}" for used in medians(rounds).values()),
                f"{total(rounds):.2f}",
                f"{total(rounds) / total(points[0][1]):.2f}",
            )
        )
    return found


def main(arguments: Sequence[str]) -> int:
    assert __doc__
    every = ("batch", "workers", "products", "lines", "hot", "history")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="NAME", help=", ".join(every))
    parser.add_argument("--orders", type=int, default=8000, help="in a backlog, with full messages (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="backlogs for each point (default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="of the history")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where JSON and plots go (benchmarks/results)")
    options = parser.parse_args(arguments)
    with measuring() as (progress, cleanup):
        measure(options, progress, cleanup)
    return 0


def measure(options: argparse.Namespace, progress: Progress, cleanup: ExitStack) -> None:
    """Measure one part after the other; show and store each when it is done."""
    task = progress.add_task("making databases", total=None)

    def show(what: str, done: int, of: int) -> None:
        progress.update(task, description=f"{about}: {what}", completed=done, total=of)

    on = machine()
    cleanup.enter_context(own_queues())
    growth = Growth(cleanup, options, show)
    for name in options.only:
        part: Callable[[], Iterator[Point]] = getattr(growth, name)
        about, points = part.__doc__ or name, []
        for at, rounds in part():
            points.append((at, rounds))
            progress.console.print(f"{about}: {at}: {total(rounds):.2f} ms per order")
        keep(name, about, points, on, options.out)
        progress.console.print(as_table("Processor time per order, ms", rows(about, points)))
    progress.remove_task(task)


def keep(name: str, about: str, points: Sequence[Point], on: Mapping[str, Any], folder: Path) -> None:
    """Write a part's plot, and its results into the JSON, which has the latest results of every part."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "growth.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    record[name] = {
        "about": about,
        "machine": on,
        "orders": [one.orders for one in points[0][1]],
        "points": {
            at: {
                "sagas_per_second": [one.per_second for one in rounds],
                "cpu_ms_per_order": medians(rounds),
                "cpu_ms_per_order_rounds": [one.cpu for one in rounds],
            }
            for at, rounds in points
        },
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
    (folder / f"growth-{name}.svg").write_text(plot(about, {at: medians(rounds) for at, rounds in points}))


def plot(about: str, cpu: Mapping[str, Mapping[str, float]]) -> str:
    """Plot the milliseconds per order at each point, by who used them."""
    return charts.stacks(f"Processor time per order, ms, by {about}", list(cpu.items()), GROUPS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
