"""What an order costs as things grow: finished orders in the tables, events in a message, workers, products, lines of
an order, and the share of orders for one product.

    .venv/bin/python scripts/services.py exec -- .venv/bin/python -m benchmarks.growth
    … -m benchmarks.growth --only products hot --seconds 2
    … -m benchmarks.growth --only history --sizes 10000 100000

The full saga, a backlog for each point. Plots and `growth.json` go to `benchmarks/results/`; docs/performance.md says
which curve is flat, and why the others are not. Throughput is what a person asks for, processor time per order what
tells more on a machine that has other things to do.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.load import PRODUCTS, SAMPLES
from benchmarks.measure import Show, Throughput, backlog, finish, warm_up
from benchmarks.results import FOLDER, GROUPS, Rows, as_table, busy, machine
from benchmarks.surroundings import Processes, Unfit, own_queues, refuse_unfit_surroundings, shop_processes
from benchmarks.systems import Orders, Shop
from shop import charts

Point = tuple[str, Throughput]


class Sized(Shop):
    """The shop with as many workers, and as large messages, as a point asks for."""

    name, title = "growth", "shop"
    limit, concurrency = 100, 2

    def commands(self) -> Processes:
        return shop_processes(self.environment, limit=self.limit, concurrency=self.concurrency)


class Growth:
    """Measures point after point."""

    def __init__(self, cleanup: ExitStack, options: argparse.Namespace, show: Show) -> None:
        self._cleanup, self._options, self._show = cleanup, options, show
        self._one: Sized | None = None

    def _shop(self) -> Sized:
        if self._one is None:
            self._one = Sized(self._cleanup)
        return self._one

    def _point(self, shop: Sized, name: object) -> Point:
        with shop.running():
            rough = warm_up(shop, self._show)
            return str(name), backlog(shop, int(rough * self._options.seconds), str(name), self._show)

    def batch(self) -> Iterator[Point]:
        """events in a message, at most"""
        for limit in (1, 5, 20, 50, 100, 300):
            self._shop().limit = limit
            yield self._point(self._shop(), limit)
        self._shop().limit = Sized.limit

    def workers(self) -> Iterator[Point]:
        """worker processes"""
        for concurrency in (1, 2, 4, 8):
            self._shop().concurrency = concurrency
            yield self._point(self._shop(), concurrency)
        self._shop().concurrency = Sized.concurrency

    def products(self) -> Iterator[Point]:
        """products"""
        for products in (1, 10, 100, 1000):
            self._shop().generator.ask(f"samples {products} 1 0")
            yield self._point(self._shop(), products)

    def lines(self) -> Iterator[Point]:
        """lines of an order"""
        for lines in (1, 2, 5, 10):
            self._shop().generator.ask(f"samples {PRODUCTS} {lines} 0")
            yield self._point(self._shop(), lines)

    def hot(self) -> Iterator[Point]:
        """share of orders for one product, the rest uniform over a hundred"""
        for share in (0.0, 0.1, 0.5, 1.0):
            self._shop().generator.ask(f"samples {PRODUCTS} 1 {share}")
            yield self._point(self._shop(), f"{share:.0%}")

    def history(self) -> Iterator[Point]:
        """finished orders in the tables"""
        shop = Sized(self._cleanup)  # with tables of its own, which nobody else has filled
        shop.environment |= {"HANDOVER_AFTER": "0", "DELIVERED_AFTER": "0"}
        with shop.running():
            finish(shop, Orders(*shop.generator.ask("finish")), "the first orders", self._show)
            if wrong := shop.generator.ask("end"):
                raise Unfit(wrong)
        copied = 0
        for size in sorted(self._options.sizes):
            self._show(f"making {size:,} finished orders", 0, 1)
            shop.generator.ask(f"history {copied} {size // SAMPLES}")
            copied = size // SAMPLES
            yield self._point(shop, f"{size:,}")


def rows(name: str, points: Sequence[Point]) -> Rows:
    found: Rows = [(name, "sagas/s", *(f"{who}, ms" for who in GROUPS))]
    for at, one in points:
        found.append((at, f"{one.per_second:,.0f}", *(f"{one.cpu.get(who, 0):.2f}" for who in GROUPS)))
    return found


def main(arguments: Sequence[str]) -> int:
    assert __doc__
    every = ("batch", "workers", "products", "lines", "hot", "history")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="NAME", help=", ".join(every))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each point, about (default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="of the history")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where JSON and plots go (benchmarks/results)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleans up as after Ctrl-C
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<48}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    try:
        refuse_unfit_surroundings()
        if note := busy():
            console.print(note, style="yellow", highlight=False)
        with ExitStack() as cleanup, Progress(*columns, console=console) as progress:
            found = measure(options, progress, cleanup)
    except Unfit as unfit:
        console.print(str(unfit), style="red", highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print("Interrupted; its databases, queues and processes are gone.")
        return 130
    keep(found, options.out)
    for about, points in found.values():
        Console().print(as_table("Processor time per order", rows(about, points)))
    return 0


def measure(options: argparse.Namespace, progress: Progress, cleanup: ExitStack) -> dict[str, tuple[str, list[Point]]]:
    """The points of each dimension, with its title."""
    task = progress.add_task("making databases", total=None)

    def show(what: str, done: int, of: int) -> None:
        progress.update(task, description=f"{about}: {what}", completed=done, total=of)

    cleanup.enter_context(own_queues())
    growth = Growth(cleanup, options, show)
    found: dict[str, tuple[str, list[Point]]] = {}
    for name in options.only:
        dimension: Callable[[], Iterator[Point]] = getattr(growth, name)
        about = dimension.__doc__ or name
        found[name] = (about, [])
        for at, one in dimension():
            found[name][1].append((at, one))
            progress.console.print(
                f"{about}: {at}: {one.per_second:,.0f} sagas/s ({one.orders:,} in {one.seconds:.1f} s)"
            )
    return found


def keep(found: dict[str, tuple[str, list[Point]]], folder: Path) -> None:
    """A plot of each dimension; the JSON holds the latest of every dimension that was ever measured here."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "growth.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    on = machine()
    for name, (about, points) in found.items():
        record[name] = {
            "about": about,
            "machine": on,
            "points": {at: {"sagas_per_second": one.per_second, "cpu_ms_per_order": one.cpu} for at, one in points},
        }
        title = f"Processor time per order, ms, by {about}"
        (folder / f"growth-{name}.svg").write_text(charts.stacks(title, [(at, one.cpu) for at, one in points], GROUPS))
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
