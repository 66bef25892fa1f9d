"""Throughput by the number of worker nodes and their distance from the servers.

    sudo .venv/bin/python scripts/services.py exec -- .venv/bin/python -m benchmarks.scaleout
    … -m benchmarks.scaleout --nodes 1 2 --round-trips 0 5 --orders 300 --rounds 1

A node is a Celery worker in its own network namespace, from which only the three servers can be reached, through a slow
link (`benchmarks/link.py`). Servers, relay and nodes share one machine, so nodes help only until its cores are busy:
the column `cores` says how close a point is. For several machines this shows the cost of distance, and whether an order
costs more if more nodes share the work.

Table, JSON and plots go to `benchmarks/results/`; docs/scaling.md says what follows from them.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks.measure import Show, Throughput, backlog
from benchmarks.nodes import Link, namespaces, refuse_without_namespaces, server_ports
from benchmarks.results import FOLDER, GROUPS, Rows, as_markdown, as_table, machine
from benchmarks.session import measuring
from benchmarks.surroundings import Processes, own_queues, shop_processes
from benchmarks.systems import Shop
from lab import charts

PARTS = (*GROUPS, "links")


@dataclass
class Point:
    """A number of nodes at a distance: the round trip in ms as configured, and as measured."""

    nodes: int
    round_trip: float
    measured: float
    rounds: list[Throughput]

    @property
    def per_second(self) -> float:
        return statistics.median(one.per_second for one in self.rounds)

    @property
    def cpu(self) -> dict[str, float]:
        """Return the milliseconds per order, by who used them."""
        return {who: statistics.median(one.cpu.get(who, 0.0) for one in self.rounds) for who in self.rounds[0].cpu}

    @property
    def cores(self) -> float:
        """Return the average number of busy cores, including those that place the load."""
        return sum(self.cpu.values()) * self.per_second / 1000

    def as_json(self) -> dict[str, Any]:
        return {
            "nodes": self.nodes,
            "round_trip_ms": self.round_trip,
            "round_trip_ms_measured": self.measured,
            "orders": self.rounds[0].orders,
            "sagas_per_second": [one.per_second for one in self.rounds],
            "cpu_ms_per_order": self.cpu,
            "cores": self.cores,
        }


class Nodes(Shop):
    """The shop with its workers on the nodes of a point."""

    name, title = "scaleout", "shop"
    children = 1
    nodes: Sequence[str] = ()

    def commands(self) -> Processes:
        return shop_processes(self.environment, concurrency=self.children, nodes=self.nodes)


def measure(options: argparse.Namespace, cleanup: ExitStack, show: Show) -> Iterator[Point]:
    ports = server_ports()
    names = cleanup.enter_context(namespaces(max(options.nodes)))
    links = [Link(name, ports) for name in names]
    for link in links:
        cleanup.callback(link.close)
    cleanup.enter_context(own_queues())
    shop = Nodes(cleanup)
    shop.children = options.children
    for round_trip in options.round_trips:
        for link in links:
            link.set(round_trip)
        for count in options.nodes:
            shop.nodes, shop.beside = names[:count], {"links": [link.pid for link in links[:count]]}
            what = named(round_trip, count)
            with shop.running():
                backlog(shop, options.orders, f"{what}, warming up", show)
                measured = links[0].round_trip()
                rounds = [backlog(shop, options.orders * count, what, show) for _ in range(options.rounds)]
            yield Point(count, round_trip, measured, rounds)


def named(round_trip: float, nodes: int) -> str:
    return f"{round_trip:g} ms, {nodes} node{'' if nodes == 1 else 's'}"


def rows(points: Sequence[Point]) -> Rows:
    """Return the heading and a row for each point: the round trip configured and measured, and ms per order."""
    found: Rows = [("ms away", "measured", "nodes", "sagas/s", *PARTS, "cores")]
    for one in points:
        found.append(
            (
                f"{one.round_trip:g}",
                f"{one.measured:.2f}",
                str(one.nodes),
                f"{one.per_second:,.0f}",
                *(f"{one.cpu.get(who, 0.0):.2f}" for who in PARTS),
                f"{one.cores:.1f}",
            )
        )
    return found


def plots(points: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return {file name: SVG} of points as in the JSON."""
    far = sorted({one["round_trip_ms"] for one in points})
    lines = {
        f"{round_trip:g} ms round trip": [
            (one["nodes"], statistics.median(one["sagas_per_second"]))
            for one in points
            if one["round_trip_ms"] == round_trip
        ]
        for round_trip in far
    }
    bars = [(named(one["round_trip_ms"], one["nodes"]), one["cpu_ms_per_order"]) for one in points]
    return {
        "scaleout.svg": charts.curves(
            "Sagas per second, by worker nodes", lines, zero=True, named=sorted({one["nodes"] for one in points})
        ),
        "scaleout-cpu.svg": charts.stacks("Processor time per order, ms, by distance and nodes", bars, PARTS),
    }


def keep(points: Sequence[Point], on: dict[str, Any], children: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {"machine": on, "children_per_node": children, "points": [one.as_json() for one in points]}
    (folder / "scaleout.json").write_text(json.dumps(record, indent=1) + "\n")
    about = (
        f"{on['date']}, {on['cores']} cores ({on['processor']}), PostgreSQL {on['postgresql']['server_version']}, "
        f"worker processes on each node: {children}; processor time in ms per order.\n"
    )
    (folder / "scaleout.md").write_text("\n".join([about, as_markdown(rows(points))]))
    for name, plot in plots(record["points"]).items():
        (folder / name).write_text(plot)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaleout", description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=positive, nargs="+", default=[1, 2, 4, 8], metavar="N", help="1 2 4 8")
    parser.add_argument(
        "--round-trips", type=float, nargs="+", default=[0, 1, 5], metavar="MS", help="between nodes and servers: 0 1 5"
    )
    parser.add_argument("--children", type=positive, default=1, help="worker processes on each node (%(default)s)")
    parser.add_argument("--orders", type=positive, default=1000, help="for each node in a backlog (%(default)s)")
    parser.add_argument("--rounds", type=positive, default=3, help="backlogs for each point (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where table, JSON and plots go (benchmarks/results)")
    options = parser.parse_args(arguments)
    if min(options.round_trips) < 0:
        parser.error("--round-trips: none is below 0")
    return options


def positive(value: str) -> int:
    if not value.isdigit() or not int(value):
        raise argparse.ArgumentTypeError(f"{value} is not a whole number above 0")
    return int(value)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    with measuring() as (progress, cleanup):
        refuse_without_namespaces()
        on, points = machine(), played(options, progress, cleanup)
    keep(points, on, options.children, options.out)
    Console().print(as_table("Nodes, and round trips to the servers; processor time in ms per order", rows(points)))
    return 0


def played(options: argparse.Namespace, progress: Progress, cleanup: ExitStack) -> list[Point]:
    """Measure all points, and print each one when it is done."""
    task = progress.add_task("making nodes and databases", total=None)
    points = []

    def show(what: str, done: int, of: int) -> None:
        progress.update(task, description=what, completed=done, total=of)

    for one in measure(options, cleanup, show):
        points.append(one)
        progress.console.print(
            f"{named(one.round_trip, one.nodes)}: {one.per_second:,.0f} sagas/s, {one.cores:.1f} cores"
        )
    progress.remove_task(task)
    return points


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
