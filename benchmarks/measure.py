"""Throughput, latency and processor time of a running system."""

import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg2

from benchmarks.surroundings import Unfit
from benchmarks.systems import Orders, System

STALLED = 60.0  # seconds without a completed saga that mean something is broken
FIRST = 100  # orders, to get going
PORTION = 1000  # orders per query

Show = Callable[[str, int, int], None]  # what, done, of how many


@dataclass
class Throughput:
    """A backlog, from when all of it was placed until its last saga completed. `cpu` is ms per order, by process."""

    orders: int
    seconds: float
    per_second: float
    cpu: dict[str, float]


@dataclass
class Latency:
    """Milliseconds from an order's commit until it was paid, or completed, at a rate of orders per second."""

    rate: float
    milliseconds: dict[str, list[float]]
    cpu: dict[str, float]  # in cores


def warm_up(system: System, show: Show) -> float:
    """Warm up imports, connections and caches; return the rough number of sagas per second."""
    backlog(system, FIRST, "starting", show)
    count = FIRST
    while (measured := backlog(system, count, "warming up", show)).seconds < 1:
        count *= 2
    return measured.per_second


def backlog(system: System, count: int, what: str, show: Show) -> Throughput:
    """Measure sagas per second for a backlog of `count` orders.

    Those that complete while orders are still being placed do not count, as placing takes its share of the machine
    then.
    """
    orders = system.place(count)
    before = cpu_seconds(system)
    finish(system, orders, what, show)
    used = since(before, cpu_seconds(system))
    last = max(system.times(orders).values(), key=lambda times: max(at for _, at in times))
    ends = [at for _, at in last if at > orders.committed_at]
    seconds = max(ends) - orders.committed_at
    return Throughput(count, seconds, len(ends) / seconds, {who: 1000 * one / len(ends) for who, one in used.items()})


def latency(system: System, rate: float, seconds: float, show: Show) -> Latency:
    """Place orders one by one at a steady rate, and measure their latencies."""
    total = max(1, int(rate * seconds))
    parts: list[Orders] = []
    placed, before, began = 0, cpu_seconds(system), time.monotonic()
    while placed < total:
        due = min(int((time.monotonic() - began) * rate) + 1, total)
        parts.append(system.place(due - placed))
        placed = due
        show(f"{rate:,.0f} orders/s", placed, total)
        time.sleep(max(0.0, began + placed / rate - time.monotonic()))
    used = since(before, cpu_seconds(system))
    took = time.monotonic() - began
    orders = Orders(parts[0].first, parts[-1].last, parts[-1].committed_at)
    finish(system, orders, f"{rate:,.0f} orders/s", show)
    times = {
        mark: [1000 * (reached - placed) for placed, reached in found] for mark, found in system.times(orders).items()
    }
    return Latency(rate, times, {who: one / took for who, one in used.items()})


def finish(system: System, orders: Orders, what: str, show: Show) -> None:
    """Wait for these sagas. Raises `Unfit` if they stall.

    They complete roughly in the order of their ids, so a batch in which all have completed is not counted again.
    Counting all of them each time cost two per cent of the shop's throughput, and less of the other systems'.
    """
    done, moved_at, began = 0, time.monotonic(), time.monotonic()
    left, through = deque(orders.portions(PORTION)), 0
    while True:
        while left and (reached := system.done(left[0])) == len(left[0]):
            through += len(left.popleft())
        count = through + (reached if left else 0)
        show(what, count, len(orders))
        if count == len(orders):
            return
        now = time.monotonic()
        if now - moved_at > STALLED:
            count = system.done(orders)  # perhaps only the first ones are stalled
            if count <= done:
                system.verify()
                log = system.processes.log() if system.processes else ""
                raise Unfit(f"{system.title}: {done} of {len(orders)} sagas are done and no more come.\n{log}")
        if count > done:
            done, moved_at = count, now
        # Polling costs the database something, so the pause grows with the remaining work.
        rest = (len(orders) - count) * (now - began) / count if count else 0.2
        time.sleep(min(1.0, max(0.05, rest / 4)))


def audit(system: System, show: Show) -> None:
    """Let all of a system's orders end, and audit them. Raises `Unfit`."""
    if not system.audited:
        return
    with system.commands() as system.processes:
        finish(system, Orders(*system.generator.ask("finish")), "finishing", show)
        show("audit", 0, 1)
        if wrong := system.generator.ask("audit"):
            raise Unfit(f"{system.title}: {wrong}")


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99."""
    if len(values) < 2:
        return dict.fromkeys(("p50", "p95", "p99"), values[0])
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}


# --- Processor time ---------------------------------------------------------------------------------------------------
def cpu_seconds(system: System) -> dict[str, float]:
    """Return the CPU time used so far, by who used it. The servers count as a whole: nobody else may use them
    meanwhile.

    A server that runs on another machine, or in a container, is not in the result.
    """
    groups = {**system.named_pids(), "PostgreSQL": _postmaster(), "RabbitMQ": _broker()}
    return {who: _with_children(pids, children=who != "load") for who, pids in groups.items() if pids}


@cache
def _postmaster() -> list[int]:
    """Return the process whose child serves our connection."""
    with psycopg2.connect(os.environ["DATABASE_URL"].rstrip("/") + "/postgres") as server, server.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        try:
            backend = psutil.Process(pid)
            parent = backend.parent() if backend.name().startswith("postgres") else None
        except psutil.Error:
            parent = None
    server.close()
    return [parent.pid] if parent else []


@cache
def _broker() -> list[int]:
    """Return the process that listens on BROKER_URL. Only root sees the owner of a socket: for other users, return
    every RabbitMQ node of this machine."""
    port = urlsplit(os.environ["BROKER_URL"]).port or 5672
    sockets = psutil.net_connections("tcp")
    if found := {one.pid for one in sockets if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid}:
        return list(found)
    machines = (one for one in psutil.process_iter(["name", "cmdline"]) if one.info["name"] == "beam.smp")
    return [one.pid for one in machines if "-s rabbit " in " ".join(one.info["cmdline"] or ()) + " "]


def _with_children(pids: Iterable[int], *, children: bool) -> float:
    """Return the CPU time of these processes and of their children, living and dead."""
    total = 0.0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            for one in [process, *(process.children(recursive=True) if children else ())]:
                used = one.cpu_times()
                total += used.user + used.system + (used.children_user + used.children_system if children else 0)
        except psutil.NoSuchProcess:
            continue
    return total


def since(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {who: after[who] - used for who, used in before.items() if who in after}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, lowest and highest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "rounds": list(values)}
