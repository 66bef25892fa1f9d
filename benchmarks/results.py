"""The results of the rounds as tables, JSON and plots."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.measure import Latency, Throughput, percentiles, spread
from benchmarks.surroundings import ROOT, administration
from benchmarks.systems import System
from lab import charts

FOLDER = Path(ROOT, "benchmarks", "results")
GROUPS = ("workers", "PostgreSQL", "RabbitMQ")


@dataclass
class Result:
    """The results of one system's rounds."""

    system: System
    throughputs: list[Throughput] = field(default_factory=list)
    latencies: dict[str, list[Latency]] = field(default_factory=dict)  # by load

    @property
    def per_second(self) -> float:
        return statistics.median(one.per_second for one in self.throughputs)

    def cpu(self) -> dict[str, float]:
        """Milliseconds per order, by who used them."""
        groups = self.throughputs[0].cpu
        return {who: statistics.median(one.cpu.get(who, 0) for one in self.throughputs) for who in groups}

    def milliseconds(self, load: str) -> dict[str, dict[str, float]]:
        """Return percentiles at a load, for each mark, over the orders of all rounds."""
        rounds = self.latencies[load]
        return {
            mark: percentiles([value for one in rounds for value in one.milliseconds[mark]])
            for mark in rounds[0].milliseconds
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.system.title,
            "durability": self.system.durability,
            "sagas_per_second": spread([one.per_second for one in self.throughputs]),
            "orders": [one.orders for one in self.throughputs],
            "cpu_ms_per_order": self.cpu(),
            "latency_ms": {
                load: {
                    "rate": statistics.median(one.rate for one in rounds),
                    "orders": sum(len(one.milliseconds["completed"]) for one in rounds),
                    **self.milliseconds(load),
                    "cores": {who: statistics.median(one.cpu.get(who, 0) for one in rounds) for who in rounds[0].cpu},
                }
                for load, rounds in self.latencies.items()
            },
        }


# --- Tables -----------------------------------------------------------------------------------------------------------
Rows = list[tuple[str, ...]]


def throughput_rows(results: Sequence[Result]) -> Rows:
    """Return the heading and a row for each system."""
    floor = next((one.per_second for one in results if one.system.name == "floor"), None)
    rows: Rows = [("system", "sagas/s", "lowest–highest", "of the floor", *(f"{who}, ms" for who in GROUPS))]
    for one in results:
        cpu, every = one.cpu(), [each.per_second for each in one.throughputs]
        rows.append(
            (
                one.system.title,
                f"{one.per_second:,.0f}",
                f"{min(every):,.0f}–{max(every):,.0f}",
                f"{one.per_second / floor:.3g}" if floor else "–",
                *(f"{cpu[who]:.2f}" if who in cpu else "–" for who in GROUPS),
            )
        )
    return rows


def latency_rows(results: Sequence[Result]) -> Rows:
    """Return the heading and a row for each system and mark: p50 / p95 / p99 in milliseconds."""
    loads = list(dict.fromkeys(load for one in results for load in one.latencies))
    loads.sort(key=lambda load: float(load.partition("/")[0]) if load[0].isdigit() else float("inf"))
    rows: Rows = [("from commit until", *loads)]
    for one in results:
        for mark in one.system.marks:
            cells = (
                " / ".join(f"{value:,.0f}" for value in one.milliseconds(load)[mark].values())
                if load in one.latencies
                else "too many"
                for load in loads
            )
            rows.append((f"{one.system.title}: {mark}", *cells))
    return rows


def as_table(title: str, rows: Rows) -> Table:
    """Return the rows as a table for the terminal."""
    shown = Table(title=title)
    for number, heading in enumerate(rows[0]):
        shown.add_column(heading, justify="right" if number else "left")
    for row in rows[1:]:
        shown.add_row(*row)
    return shown


def as_markdown(rows: Rows) -> str:
    head = ["| " + " | ".join(rows[0]) + " |", "|---" + "|---:" * (len(rows[0]) - 1) + "|"]
    return "\n".join(head + ["| " + " | ".join(row) + " |" for row in rows[1:]]) + "\n"


# --- Files ------------------------------------------------------------------------------------------------------------
def machine() -> dict[str, Any]:
    """Describe the machine, and PostgreSQL's settings for durability."""
    with administration() as cursor:
        settings = {}
        for name in ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers"):
            cursor.execute(f"SHOW {name}")
            (settings[name],) = cursor.fetchone()
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": model.partition(":")[2].strip() or platform.machine(),
        "python": platform.python_version(),
        "load_before": [round(one, 2) for one in os.getloadavg()],
        "postgresql": settings,
    }


def busy() -> str:
    """Return a warning if the machine has other work, as the servers are measured as a whole."""
    load = os.getloadavg()[0]
    return f"The load of this machine is {load:.1f} already: take the figures for what they are." if load > 1 else ""


def keep(results: Sequence[Result], record: dict[str, Any], folder: Path) -> None:
    """Write tables, JSON and plots."""
    folder.mkdir(parents=True, exist_ok=True)
    record = record | {"systems": {one.system.name: one.as_json() for one in results}}
    (folder / "compare.json").write_text(json.dumps(record, indent=1) + "\n")
    on = record["machine"]
    tables = [as_markdown(throughput_rows(results))]
    if results[0].latencies:
        tables.append(as_markdown(latency_rows(results)))
    about = (
        f"{on['date']}, {on['cores']} cores ({on['processor']}), PostgreSQL {on['postgresql']['server_version']}, "
        f"{record['options']['rounds']} rounds of {record['options']['seconds']:g} s; p50 / p95 / p99 in ms.\n"
    )
    (folder / "compare.md").write_text("\n".join([about, *tables]))
    ranges = [(one.system.title, [each.per_second for each in one.throughputs]) for one in results]
    (folder / "throughput.svg").write_text(
        charts.bars("Sagas per second", [(name, statistics.median(of), min(of), max(of)) for name, of in ranges])
    )
    (folder / "cpu.svg").write_text(
        charts.stacks("Processor time per order, ms", [(one.system.title, one.cpu()) for one in results], GROUPS)
    )
    for percentile in ("p50", "p99"):
        lines = {
            one.system.title: [
                (statistics.median(at.rate for at in rounds), one.milliseconds(load)["completed"][percentile])
                for load, rounds in one.latencies.items()
                if load != "saturation"
            ]
            for one in results
        }
        if drawn := {name: line for name, line in lines.items() if line}:
            title = f"Milliseconds from commit to completion, {percentile}, by orders per second"
            (folder / f"latency-{percentile}.svg").write_text(charts.curves(title, drawn))
