"""What the databases know, asked when Prometheus does: open orders, what waits in outboxes, dead letters.

Orders and outboxes are read by their partial indexes, which hold what is open and nothing else; none is counted further
than `MOST`. The answer is kept for `FRESH_FOR` seconds, whoever asks. A database that is away costs its own part only.
"""

import time
from collections.abc import Iterable
from threading import Lock

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sagas.db.prepared import query
from sagas.registry import local_services
from shop.contracts.orders import FINAL

FRESH_FOR = 5.0  # seconds
MOST = 100_000  # rows that are counted

MESSAGES = """
    SELECT
        COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - (
            SELECT created_at FROM {service}_outbox
            WHERE id = (SELECT min(outbox_id) FROM {service}_unsent WHERE deferred_until IS NULL)
        )), 0),
        (SELECT count(*) FROM (SELECT FROM {service}_unsent WHERE deferred_until IS NULL LIMIT {most}) AS unsent),
        (SELECT count(*) FROM (SELECT FROM {service}_deadletter WHERE resolved_at IS NULL LIMIT {most}) AS dead)
"""
ORDERS = """
    SELECT status, count(*), count(*) FILTER (
        WHERE progress_at < clock_timestamp() - make_interval(secs => %s) AND NOT status = ANY(%s::text[])
    )
    FROM (SELECT status, progress_at FROM orders_order WHERE look_at IS NOT NULL LIMIT %s) AS open GROUP BY status
"""


class Databases(Collector):
    """The gauges of this process's services."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: list[Metric] = []
        self._fresh_until = 0.0

    def describe(self) -> Iterable[Metric]:
        return _families().values()

    def collect(self) -> Iterable[Metric]:
        with self._lock:  # who comes while somebody asks waits for the same answer
            if time.monotonic() >= self._fresh_until:
                self._known = list(_ask().values())
                self._fresh_until = time.monotonic() + FRESH_FOR
            return self._known


databases = Databases()


def _families() -> dict[str, GaugeMetricFamily]:
    return {
        name: GaugeMetricFamily(f"shop_{name}", text, labels=labels)
        for name, text, labels in (
            ("database_up", "Whether a service's database answers.", ["service"]),
            ("outbox_lag_seconds", "How long the oldest unpublished event waits.", ["service"]),
            ("outbox_unsent", "Events that are not published yet.", ["service"]),
            ("dead_letters", "Dead letters that nobody has resolved.", ["service"]),
            ("orders_open", "Orders that have not ended, or of which messages are still on their way.", ["status"]),
            ("orders_stalled", "Orders that have not moved for STALLED_AFTER, and have not ended.", []),
        )
    }


def _ask() -> dict[str, GaugeMetricFamily]:
    found = _families()
    for service in settings.LOCAL_SERVICES:
        try:
            _ask_database(service, found)
            found["database_up"].add_metric([service], 1)
        except (DatabaseError, InterfaceError):
            connections[service].close()
            found["database_up"].add_metric([service], 0)
    return found


def _ask_database(service: str, found: dict[str, GaugeMetricFamily]) -> None:
    if service not in local_services():
        query(service, "SELECT 1")
        return
    ((lag, unsent, dead),) = query(service, MESSAGES.format(service=service, most=MOST))
    found["outbox_lag_seconds"].add_metric([service], float(lag))
    found["outbox_unsent"].add_metric([service], unsent)
    found["dead_letters"].add_metric([service], dead)
    if service == "orders":
        orders = query(service, ORDERS, [settings.STALLED_AFTER, list(FINAL), MOST])
        for status, number, _ in orders:
            found["orders_open"].add_metric([status], number)
        found["orders_stalled"].add_metric([], sum(stalled for _, _, stalled in orders))
