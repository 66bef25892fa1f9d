"""Compares the shop with the floor, plain Celery and DBOS: the same four steps, in one run on one machine.

    make bench                                          all of it, in ten minutes or so
    make bench ARGS="--quick"                           in two, roughly
    make bench ARGS="--systems floor shop4 --rounds 5"
    make bench-guard                                    fails when shop has fallen too far behind the floor

In each round every system runs, one after the other, so that other work on the machine affects all of them. Figures are
medians of the rounds; results are checked before a figure counts. `benchmarks/results/` has the measurements;
docs/performance.md says how to read them.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks.measure import Throughput, audit, backlog, latency, warm_up
from benchmarks.results import FOLDER, Result, as_table, keep, latency_rows, machine, throughput_rows
from benchmarks.session import measuring
from benchmarks.surroundings import own_queues
from benchmarks.systems import SYSTEMS

SATURATION = 0.9  # the share of a round's throughput: at full throughput, latency only measures the queue
MODERATE = 0.8  # the share of the throughput above which a rate is skipped


def measure(options: argparse.Namespace, progress: Progress, cleanup: ExitStack) -> list[Result]:
    task = progress.add_task("making databases", total=None)

    def show(what: str, done: int, of: int) -> None:
        progress.update(task, description=f"{where}: {what}", completed=done, total=of)

    cleanup.enter_context(own_queues())
    results = []
    for name in options.systems:
        progress.update(task, description=f"{SYSTEMS[name].title}: making databases")
        results.append(Result(SYSTEMS[name](cleanup)))
    cleanup.enter_context(own_queues(*(queue for one in results for queue in one.system.queues)))
    for number in range(options.rounds):
        for result in results:
            where = f"{number + 1} of {options.rounds}  {result.system.title}"
            with result.system.running():
                one = play(result, options, show)
            progress.console.print(f"{where}: {one.per_second:,.0f} sagas/s ({one.orders:,} in {one.seconds:.1f} s)")
    for result in results:
        where = result.system.title
        audit(result.system, show)
    progress.remove_task(task)
    return results


def play(result: Result, options: argparse.Namespace, show: Any) -> Throughput:
    """Play one round of a running system."""
    system = result.system
    rough = warm_up(system, show)
    measured = backlog(system, max(50, int(rough * options.seconds)), "throughput", show)
    result.throughputs.append(measured)
    loads = {f"{rate:g}/s": float(rate) for rate in options.rates if rate <= MODERATE * measured.per_second}
    if options.rates:
        loads["saturation"] = SATURATION * measured.per_second
    for load, rate in loads.items():
        result.latencies.setdefault(load, []).append(latency(system, rate, options.seconds, show))
    return measured


def guard(results: Sequence[Result], at_least: float) -> str:
    """Return a message if the shop's four steps have fallen too far behind the floor, else an empty string."""
    by_name = {one.system.name: one for one in results}
    pairs = zip(by_name["shop4"].throughputs, by_name["floor"].throughputs, strict=True)
    ratio = statistics.median(shop.per_second / floor.per_second for shop, floor in pairs)
    verdict = f"shop's four steps at {ratio:.2f} of the floor; at least {at_least:.2f} is asked"
    print(verdict)
    return "" if ratio >= at_least else verdict


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="NAME", help=", ".join(SYSTEMS)
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement, about (default: %(default)s)")
    parser.add_argument(
        "--rates", type=int, nargs="*", default=[10, 50, 200], help="orders per second, for the latency"
    )
    parser.add_argument("--quick", action="store_true", help="one round of two seconds: to see that it works")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where JSON and plots go (benchmarks/results)")
    parser.add_argument("--guard", type=float, metavar="RATIO", help="fail when shop4 is below this part of the floor")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 2.0
    if options.guard is not None:
        options.systems, options.rates = ["floor", "shop4"], []
    return options


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    with measuring() as (progress, cleanup):
        record = {"machine": machine(), "options": {k: v for k, v in vars(options).items() if k != "out"}}
        results = measure(options, progress, cleanup)
    if options.guard is not None:
        return 1 if guard(results, options.guard) else 0
    keep(results, record, options.out)
    Console().print(as_table("Four steps, durably; processor time in ms per order", throughput_rows(results)))
    if options.rates:
        Console().print(as_table("Latency: p50 / p95 / p99 in ms", latency_rows(results)))
    print(f"Kept in {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
