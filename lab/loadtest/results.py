"""The results of a load test as plain data: for the table, the page, the file, and a later comparison."""

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from lab import charts
from lab.loadtest.follow import TIMELINES
from lab.loadtest.measure import (
    Order,
    answer_times,
    counted,
    in_flight,
    latencies,
    paid_times,
    summary,
)
from lab.loadtest.profiles import Limits
from lab.loadtest.run import Played, Run, not_held, throttled_because
from lab.measures import percentiles
from shop.contracts.orders import FINAL
from shop.contracts.reasons import INSUFFICIENT_STOCK

VERSION = 1  # of the file
Findings = list[dict[str, Any]]


def results(
    run: Run,
    *,
    where: str,
    audit: dict[str, Any] | None,
    locks: list[str] | None,
    faults: Mapping[str, float],
) -> dict[str, Any]:
    """Return all results. `where` says where the shop ran; `audit` and `locks` are None if they are unknown."""
    orders = run.orders
    seconds = run.played[-1].ended - run.played[0].began if run.played else 0.0
    limits = run.profile.limits
    whole = [one for one in run.played if one.last - one.first == one.step.count]
    steps = [_step(one, orders, limits) for one in whole] if limits else []
    return {
        "version": VERSION,
        "profile": run.profile.name,
        "title": run.profile.title,
        "options": dict(run.profile.options),
        "where": where,
        "began": datetime.fromtimestamp(run.clock.began, UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "faults": dict(faults),  # the switches that were on
        "interrupted": run.interrupted,
        "seconds": round(seconds, 2),
        "orders": len(orders),
        "rates": _rates(orders, seconds),
        "latency": latencies(orders),
        "sampled": sum(one.accepted for one in orders) > TIMELINES,  # the time of payment is known for a sample only
        "answers": dict(run.answers.most_common()),
        "endings": counted(one.ending for one in orders if one.accepted),
        "cancellations": counted(run.cancellations),
        "steps": steps,
        "knee": _knee(steps),
        "findings": _findings(run, audit, locks),
        "audit": audit,
        "client": run.client.figures(orders, run.load_before),
        "clockAhead": round(run.clock.ahead, 4),
        "drift": _drift(run) if run.profile.name == "soak" else {},
        "series": _series(run),
    }


def _rates(orders: Sequence[Order], seconds: float) -> dict[str, float]:
    """Return the orders sent, accepted and ended per second, from the load's beginning until the last of each."""
    answers = [one.answered for one in orders if one.accepted and one.answered is not None]
    ends = [one.ended for one in orders if one.ended is not None]
    per = {
        "sent": (len(orders), seconds),
        "accepted": (len(answers), max([seconds, *answers])),
        "ended": (len(ends), max([seconds, *ends])),
    }
    return {what: round(count / over, 1) if over else 0.0 for what, (count, over) in per.items()}


# --- A ramp's steps ---------------------------------------------------------------------------------------------------
def _step(played: Played, orders: Sequence[Order], limits: Limits) -> dict[str, Any]:
    of_it = orders[played.first : played.last]
    seconds = max(played.ended - played.began, 1e-9)
    return {
        "rate": played.step.rate,
        "sent": round(len(of_it) / seconds, 1),
        "answered": summary(answer_times(of_it)),
        "paid": summary(paid_times(of_it)),
        "whyNot": not_held(of_it, limits),
    }


def _knee(steps: Sequence[dict[str, Any]]) -> float | None:
    """Return the highest rate of a ramp that was held, as were all before it; None if there is none."""
    held = list(takewhile(lambda one: not one["whyNot"], steps))
    return held[-1]["rate"] if held else None


# --- What must hold ---------------------------------------------------------------------------------------------------
def _findings(run: Run, audit: dict[str, Any] | None, locks: list[str] | None) -> Findings:
    """Return what was checked. `good` is None for what could not be examined."""
    accepted = [one for one in run.orders if one.accepted]
    found: Findings = []

    def say(what: str, good: bool | None, detail: str) -> None:
        found.append({"what": what, "good": good, "detail": detail})

    lost = [one.order_id for one in accepted if not one.status]
    still_open = [one.order_id for one in accepted if one.status and one.status not in FINAL]
    if run.trouble:
        say("every accepted order has ended", None, run.trouble)
    else:
        wrong = [f"{len(lost)} are not in the list of orders"] if lost else []
        wrong += [f"{len(still_open)} are still open, {still_open[0]} for one"] if still_open else []
        good = not lost and (not still_open or (None if run.interrupted else False))
        told = "; ".join(wrong) or f"{len(accepted):,} of {len(accepted):,}"
        told += " (not waited for: interrupted)" if run.interrupted and still_open else ""
        say("every accepted order has ended", good, told)
    if broken := sum(one.said.startswith("500") for one in run.orders):
        say("no answer is an internal error", False, f"{broken} were")
    if run.unanswered_but_placed:
        say("orders whose answer was lost", None, f"{run.unanswered_but_placed} were placed all the same")
    if advice := throttled_because(list(run.answers)):
        say("nobody was throttled", False, f"{_count(run, '429')} of {len(run.orders)} orders were.{advice}")
    if run.profile.name == "flash-sale" and not run.interrupted:
        found += _flash_sale(run, locks)
    if audit is None:
        say("audit", None, "not made: this process has not the databases of that shop. `manage.py audit` there does it")
    else:
        say("audit", audit["good"], audit["detail"])
    return found


def _flash_sale(run: Run, locks: list[str] | None) -> Findings:
    """Check that exactly as many buyers got an item as there were items."""
    buyers, items = run.profile.options["buyers"], run.profile.options["items"]
    bought = sum(one.status == "COMPLETED" for one in run.orders)
    refused = sum(one.ending == f"CANCELLED {INSUFFICIENT_STOCK}" for one in run.orders)
    sold = min(buyers, items)
    left = items - sold
    checks: list[tuple[str, bool | None, str]] = [
        (f"{_s(sold, 'buyer')} got one", bought == sold, f"{bought} did"),
        (f"{_s(buyers - sold, 'buyer')} refused for insufficient stock", refused == buyers - sold, f"{refused} were"),
        (f"the stock is {left}", run.stock_left == left, f"it is {run.stock_left}")
        if run.stock_left is not None
        else (f"the stock is {left}", None, "it could not be read"),
    ]
    if locks is None:
        checks.append(("no lock is left", None, "not looked at: this process has not the Redis of that shop"))
    else:
        checks.append(("no lock is left", not locks, ", ".join(locks) or "none is"))
    return [{"what": what, "good": good, "detail": detail} for what, good, detail in checks]


def _count(run: Run, status: str) -> int:
    return sum(count for said, count in run.answers.items() if said.startswith(status))


def _s(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


# --- Over time --------------------------------------------------------------------------------------------------------
def _drift(run: Run) -> dict[str, dict[str, float]]:
    """Return what must not grow, in the run's first and last fifth: times at p95 in seconds, memory in MiB."""
    part = max(1, len(run.orders) // 5)
    found = {}
    for what, of in (("answered p95, s", answer_times), ("paid p95, s", paid_times)):
        first, last = of(run.orders[:part]), of(run.orders[-part:])
        if first and last:
            found[what] = {"first": percentiles(first)["p95"], "last": percentiles(last)["p95"]}
    part = max(1, len(run.memory) // 5)
    for who in _remembered(run):
        first, last = ([one[who] for _, one in some] for some in (run.memory[:part], run.memory[-part:]))
        found[f"memory of {who}, MiB"] = {"first": statistics.median(first), "last": statistics.median(last)}
    return found


def _remembered(run: Run) -> Iterable[str]:
    return run.memory[0][1] if run.memory else ()


def _series(run: Run) -> dict[str, dict[str, list[charts.Point]]]:
    """Return the lines of the plots, by title and name: (seconds since the load began, value)."""
    orders = run.orders
    moments = [at for one in orders for at in (one.due, one.answered, one.ended) if at is not None]
    end = max(moments, default=1.0) or 1.0
    width = charts.bucket_width(end)
    places = [(number + 0.5) * width for number in range(int(end / width) + 1)]

    def over(samples: Sequence[charts.Point], *names: str) -> dict[str, list[charts.Point]]:
        return {
            name: charts.bucketed(samples, width, lambda values, name=name: percentiles(values)[name])  # type: ignore[misc]
            for name in names
        }

    if run.profile.name == "flash-sale":
        return {"buyers, after so many seconds": _buyers(orders)}
    answered = [(one.due, one.answered - one.due) for one in orders if one.accepted and one.answered is not None]
    paid = [(one.due, one.paid - one.due) for one in orders if one.paid is not None]
    ended = [(one.due, one.ended - one.due) for one in orders if one.ended is not None]
    return {
        "orders per second": {
            "sent": charts.per_second([one.due for one in orders], width, end),
            "accepted": charts.per_second(
                [one.answered for one in orders if one.accepted and one.answered is not None], width, end
            ),
            "ended": charts.per_second([one.ended for one in orders if one.ended is not None], width, end),
        },
        "seconds until the answer": over(answered, "p50", "p95", "p99"),
        "seconds until it was paid": over(paid, "p50", "p95"),
        "seconds until it had ended": over(ended, "p50", "p95"),
        "in flight": {
            "requests": in_flight(orders, places, "answered"),
            "orders": in_flight(orders, places, "ended"),
        },
        "memory, MiB": {who: [(at, one[who]) for at, one in run.memory] for who in _remembered(run)},
    }


def _buyers(orders: Sequence[Order]) -> dict[str, list[charts.Point]]:
    """Return how many buyers of a flash sale had a response, and how many knew whether they get an item, by time."""
    known = [one.paid if one.status == "COMPLETED" else one.ended for one in orders]
    return {
        "have an answer": _added_up(one.answered for one in orders),
        "know whether they get one": _added_up(known),
    }


def _added_up(times: Iterable[float | None]) -> list[charts.Point]:
    came = sorted(one for one in times if one is not None)
    return [(0.0, 0.0), *((at, float(number)) for number, at in enumerate(came, 1))]
