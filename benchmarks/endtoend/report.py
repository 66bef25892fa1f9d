"""The results of the end-to-end benchmark: tables, targets, JSON, plots."""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.endtoend.doors import Door
from benchmarks.measure import percentiles
from benchmarks.results import Rows, as_markdown
from lab import charts

SUSTAINED = 32  # clients, at which systems are compared
MANY = 256
TIMES_PLAIN, OF_FLOOR = 10.0, 0.5  # the targets for paid orders per second


@dataclass
class Closed:
    """A closed loop's window: orders a second, milliseconds of a POST, refusals by status.

    No processor time per order: a system that takes more orders than it carries out spends it on those of later, too.
    """

    posts: float
    marks: dict[str, float]
    post: dict[str, float]
    refused: Counter[str]


@dataclass
class Steady:
    """A steady rate: milliseconds since a request was due until answered, paid, through; processor ms by process."""

    rate: float
    milliseconds: dict[str, list[float]]
    refused: Counter[str]
    cpu: dict[str, float]
    kept_up: bool


@dataclass
class Outcome:
    """The results of one system's rounds."""

    door: Door
    closed: dict[int, list[Closed]] = field(default_factory=dict)  # by clients
    steady: dict[float, list[Steady]] = field(default_factory=dict)  # by rate

    def paid(self, clients: int, mark: str = "paid") -> float:
        """Orders a second, paid, or through."""
        return statistics.median(one.marks[mark] for one in self.closed[clients])

    def beyond_knee(self, rate: float) -> bool:
        """Whether a lower rate was already too high."""
        return any(lower < rate and not all(one.kept_up for one in of) for lower, of in self.steady.items())

    def milliseconds(self, rate: float, what: str) -> dict[str, float]:
        return percentiles([value for one in self.steady[rate] for value in one.milliseconds[what]])

    def kept_up(self, rate: float) -> bool:
        return rate in self.steady and all(one.kept_up for one in self.steady[rate])

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.door.title,
            "durability": self.door.durability,
            "closed": {
                str(clients): {
                    "posts_per_second": [one.posts for one in rounds],
                    "per_second": {mark: [one.marks[mark] for one in rounds] for mark in rounds[0].marks},
                    "post_ms": [one.post for one in rounds],
                    "refused": dict(sum((one.refused for one in rounds), Counter())),
                }
                for clients, rounds in self.closed.items()
            },
            "steady": {
                f"{rate:g}": {
                    "milliseconds": {what: self.milliseconds(rate, what) for what in rounds[0].milliseconds},
                    "refused": dict(sum((one.refused for one in rounds), Counter())),
                    "cpu_ms_per_order": together([one.cpu for one in rounds]),
                    "kept_up": self.kept_up(rate),
                }
                for rate, rounds in self.steady.items()
            },
        }


def together(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the medians, by process."""
    return {who: statistics.median(one.get(who, 0.0) for one in rounds) for who in rounds[0]}


def total(cpu: dict[str, float]) -> float:
    """Return the time of everything except the customers' process."""
    return sum(used for who, used in cpu.items() if who != "load")


def closed_rows(outcomes: Sequence[Outcome]) -> Rows:
    rows: Rows = [("system", "clients", "POST/s", "paid/s", "through/s", "POST p50 / p99 ms", "refused")]
    for clients in outcomes[0].closed:
        for one in outcomes:
            rounds = one.closed[clients]
            p50, p99 = (statistics.median(each.post[name] for each in rounds) for name in ("p50", "p99"))
            refused = sum((each.refused for each in rounds), Counter[str]())
            rows.append(
                (
                    one.door.title,
                    str(clients),
                    f"{statistics.median(each.posts for each in rounds):,.0f}",
                    f"{one.paid(clients):,.0f}",
                    f"{one.paid(clients, 'through'):,.0f}",
                    f"{p50:,.0f} / {p99:,.0f}",
                    ", ".join(f"{count} × {status}" for status, count in refused.items()) or "–",
                )
            )
    return rows


def steady_rows(outcomes: Sequence[Outcome]) -> Rows:
    rows: Rows = [("system", "rate", "answered", "paid", "through", "ms an order")]
    for rate in dict.fromkeys(rate for one in outcomes for rate in one.steady):
        for one in outcomes:
            if not one.kept_up(rate):
                rows.append((one.door.title, f"{rate:g}/s", "too many", "", "", ""))
                continue
            shown = [one.milliseconds(rate, what) for what in ("answered", "paid", "through")]
            rows.append(
                (
                    one.door.title,
                    f"{rate:g}/s",
                    *(f"{each['p50']:,.0f} / {each['p99']:,.0f}" for each in shown),
                    f"{total(together([each.cpu for each in one.steady[rate]])):.1f}",
                )
            )
    return rows


def target_rows(outcomes: Sequence[Outcome]) -> Rows:
    """Return each target, the measurement, and whether it is met; empty if a system is missing."""
    by_name = {one.door.name: one for one in outcomes}
    plain = [one for name, one in by_name.items() if name.startswith("celery")]
    if not plain or not {"shop", "floor"} <= by_name.keys():
        return []
    shop, floor = by_name["shop"], by_name["floor"]
    rows: Rows = [("target", "measured", "")]

    def row(target: str, measured: str, reached: bool) -> None:
        rows.append((target, measured, "reached" if reached else "not reached"))

    if SUSTAINED in shop.closed:
        for mark in ("paid", "through"):
            what, sustained = f"{mark}/s at {SUSTAINED} clients", shop.paid(SUSTAINED, mark)
            plainly = max(one.paid(SUSTAINED, mark) for one in plain)
            times = f"{sustained / plainly:.1f} ×" if plainly else "none of plain Celery's"
            row(f"{what}: {TIMES_PLAIN:g} × plain Celery", times, sustained >= TIMES_PLAIN * plainly)
            of_floor = sustained / floor.paid(SUSTAINED, mark)
            row(f"{what}: {OF_FLOOR:g} of the floor", f"{of_floor:.2f}", of_floor >= OF_FLOOR)
    for rate in shop.steady:
        able = [one for one in plain if one.kept_up(rate)]
        for best in sorted(able, key=lambda one: one.milliseconds(rate, "paid")["p50"])[:1]:
            ours, theirs = shop.milliseconds(rate, "paid"), best.milliseconds(rate, "paid")
            for name in ("p50", "p99"):
                row(
                    f"{rate:g}/s: paid no later than plain Celery, {name}",
                    f"{ours[name]:,.0f} ms, {theirs[name]:,.0f} ms",
                    shop.kept_up(rate) and ours[name] <= theirs[name],
                )
            used, beside = (total(together([each.cpu for each in one.steady[rate]])) for one in (shop, best))
            row(f"{rate:g}/s: no more processor time", f"{used:.1f} ms, {beside:.1f} ms", used <= beside)
    if MANY in shop.closed:
        refused = sum(one.refused.total() for one in shop.closed[MANY])
        row(f"{MANY} clients: nobody is refused", f"{refused} refused", not refused)
    return rows


def keep(outcomes: Sequence[Outcome], record: dict[str, Any], folder: Path) -> None:
    """Write tables, JSON and plots."""
    folder.mkdir(parents=True, exist_ok=True)
    record = record | {"systems": {one.door.name: one.as_json() for one in outcomes}}
    (folder / "endtoend.json").write_text(json.dumps(record, indent=1) + "\n")
    on = record["machine"]
    about = f"{on['date']}, {on['cores']} cores ({on['processor']}), {record['options']['rounds']} rounds.\n"
    tables = [closed_rows(outcomes), steady_rows(outcomes), target_rows(outcomes)]
    (folder / "endtoend.md").write_text("\n".join([about, *(as_markdown(rows) for rows in tables if len(rows) > 1)]))
    if outcomes[0].closed:
        lines = {one.door.title: [(float(n), one.paid(n)) for n in one.closed] for one in outcomes}
        (folder / "endtoend-clients.svg").write_text(charts.curves("Paid orders a second, by clients", lines))
    if outcomes[0].steady:
        lines = {
            f"{one.door.title}, {name}": [(r, one.milliseconds(r, "paid")[name]) for r in one.steady if one.kept_up(r)]
            for one in outcomes
            for name in ("p50", "p99")
        }
        (folder / "endtoend-latency.svg").write_text(
            charts.curves("Milliseconds until paid, by orders a second", {who: of for who, of in lines.items() if of})
        )
    if carried := [rate for rate in outcomes[0].steady if all(one.kept_up(rate) for one in outcomes)]:
        rate = max(carried)
        spent = [(one.door.title, together([each.cpu for each in one.steady[rate]])) for one in outcomes]
        groups = [who for who in dict.fromkeys(who for _, cpu in spent for who in cpu) if who != "load"]
        (folder / "endtoend-cpu.svg").write_text(
            charts.stacks(f"Processor time per order at {rate:g} orders a second, ms", spent, groups)
        )
