"""Counters and histograms, and how Prometheus scrapes them.

Each process counts for itself. With PROMETHEUS_MULTIPROC_DIR, processes that share the directory are added up, and any
of them answers for all. Web servers answer at /metrics and, like a worker's parent process, the relay and beat, on
METRICS_PORT, if set. Gauges read from the databases (`shop.operations.gauges`) are queried per scrape, by web servers
only.
"""

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from celery.exceptions import Reject
from django.conf import settings
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from shop.contracts.orders import FINAL

if TYPE_CHECKING:
    from sagas import Event

logger = logging.getLogger(__name__)

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
SLOW = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)

REQUEST = Histogram("shop_http_request_seconds", "Answering a request.", ["method", "route", "status"], buckets=QUICK)
STEP = Histogram("shop_step_seconds", "Handling a batch: locks, outside call, transaction.", ["step"], buckets=QUICK)
EVENTS = Counter(
    "shop_step_events_total",
    "Events by outcome: handled, failed (with their batch, whose halves are retried), dead, given back (requeued), "
    "interrupted (by a shutdown).",
    ["step", "outcome"],
)
REPEATED = Counter("shop_step_repeated_total", "Of the handled events, those that had been handled before.", ["step"])
BATCH = Histogram(
    "shop_batch_events", "Events in a batch.", ["step"], buckets=(1, 2, 5, 10, 20, 50, 100, 200, 400, 800)
)
DELAY = Histogram(
    "shop_step_delay_seconds", "From the creation of a batch's oldest event to the step's end.", ["step"], buckets=SLOW
)
RELAYED = Counter("shop_relayed_events_total", "Events that a relay has published.", ["service"])
OUTBOX = Histogram(
    "shop_outbox_seconds", "How long the oldest event of a batch had been in the outbox.", ["service"], buckets=SLOW
)
SAGA = Histogram("shop_saga_seconds", "From an order to its status.", ["status"], buckets=SLOW)
LAST_TICK = Gauge(
    "shop_beat_last_tick_timestamp_seconds",
    "When the broker last confirmed a tick of beat, in Unix time.",
    multiprocess_mode="max",
)
OBSERVED = ("PAYMENT_AUTHORIZED", "PAYMENT_COMPLETED", *FINAL)  # statuses whose times are observed


# --- Counting -------------------------------------------------------------------------------------------------------
@contextmanager
def counted(step: str, batch: Sequence["Event"]) -> Iterator[None]:
    """Count and time the handling of a batch within the block, by outcome."""
    outcome, began = "interrupted", time.perf_counter()
    try:
        yield
        outcome = "handled"
    except Reject:
        outcome = "given back"
        raise
    except Exception:
        outcome = "failed" if len(batch) > 1 else "dead"
        raise
    finally:
        EVENTS.labels(step, outcome).inc(len(batch))
        STEP.labels(step).observe(time.perf_counter() - began)
        BATCH.labels(step).observe(len(batch))
        if outcome == "handled":
            DELAY.labels(step).observe(age(batch))


@contextmanager
def relayed(service: str, events: Sequence["Event"]) -> Iterator[None]:
    """Count the events that a relay publishes within the block."""
    yield
    RELAYED.labels(service).inc(len(events))
    OUTBOX.labels(service).observe(age(events))


def moved(status: str, seconds: Iterable[float]) -> None:
    """Observe the age of orders, in seconds, when they reached a status."""
    if status in OBSERVED:
        times = SAGA.labels(status)
        for taken in seconds:
            times.observe(taken)


def age(events: Sequence["Event"]) -> float:
    """Seconds since the oldest of these events was created, read from their ids (UUID version 7)."""
    oldest = min([event.event_id.int for event in events])
    return max(0.0, time.time() - (oldest >> 80) / 1000)


# --- Scraping -------------------------------------------------------------------------------------------------------
class Counted(Collector):
    """Collects from this process, or from all that share its PROMETHEUS_MULTIPROC_DIR."""

    def collect(self) -> Iterable[Metric]:
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if not directory:
            return REGISTRY.collect()
        _forget_the_dead(Path(directory))
        return MultiProcessCollector(None, directory).collect()


def serve() -> None:
    """Serve metrics on METRICS_PORT, if set, in a thread. If the port is taken, log it and go on."""
    if not settings.METRICS_PORT:
        return
    registry = CollectorRegistry()
    registry.register(Counted())
    try:
        start_http_server(settings.METRICS_PORT, addr=settings.METRICS_ADDRESS, registry=registry)
    except OSError as error:
        logger.error("No metrics on port %d: %s", settings.METRICS_PORT, error)


def as_text(*collectors: Collector) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    for collector in (Counted(), *collectors):
        registry.register(collector)
    return generate_latest(registry)


def _forget_the_dead(directory: Path) -> None:
    """Remove `live` gauges of processes that have ended."""
    for path in directory.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid, str(directory))
