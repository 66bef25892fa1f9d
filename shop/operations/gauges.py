"""Gauges read from the databases on each scrape: open orders, unpublished events, dead letters.

The queries use partial indexes, which contain only open rows, and stop counting at `MOST`. Answers are cached for
`FRESH_FOR` seconds. A database that is down only removes its own gauges.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from threading import Lock

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sagas.db.prepared import query
from sagas.registry import local_services
from shop.contracts.orders import AT_REST
from shop.operations.connections import budgets
from shop.operations.pending import backlog

FRESH_FOR = 5.0  # seconds
MOST = 100_000  # rows to count at most

ORDERS = """
    SELECT status, count(*), count(*) FILTER (
        WHERE progress_at < clock_timestamp() - make_interval(secs => %s) AND NOT status = ANY(%s::text[])
    )
    FROM (SELECT status, progress_at FROM orders_order WHERE look_at IS NOT NULL LIMIT %s) AS open GROUP BY status
"""
UNPAID = """
    SELECT count(*) FROM (
        SELECT FROM orders_order WHERE capture = 'FAILED' AND status <> 'CANCELLED' LIMIT %s
    ) AS unpaid
"""
WEBHOOKS = """
    SELECT (SELECT count(*) FROM notifications_webhook WHERE NOT enabled AND disabled_reason <> ''), (
        SELECT count(*) FROM notifications_webhook AS hook, LATERAL (
            SELECT FROM notifications_webhookmessage AS message
            WHERE message.webhook_id = hook.id AND message.status = 'PENDING' AND message.due_at <= now()
                AND (message.type = 'ping' OR message.type = ANY(hook.events))
            LIMIT %s
        ) AS due WHERE hook.enabled
    )
"""

RECONCILED = """
    SELECT DISTINCT ON (gateway) gateway, extract(epoch FROM ended_at), missing_here, missing_there, other_amount
    FROM payments_reconciliation WHERE ended_at IS NOT NULL ORDER BY gateway, ended_at DESC
"""


class Databases(Collector):
    """The gauges of the services in this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: list[Metric] = []
        self._fresh_until = 0.0

    def describe(self) -> Iterable[Metric]:
        return _families().values()

    def collect(self) -> Iterable[Metric]:
        with self._lock:  # concurrent scrapes wait for one answer
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
            ("database_connections", "PostgreSQL's: needed at most, allowed, used.", ["server", "kind"]),
            ("outbox_lag_seconds", "How long the oldest unpublished event waits.", ["service"]),
            ("outbox_unsent", "Events that are not published yet.", ["service"]),
            ("dead_letters", "Dead letters that nobody has resolved.", ["service"]),
            ("orders_open", "Orders that have not ended, or of which messages are still on their way.", ["status"]),
            ("reconciliation_differences", "What the newest reconciliation of a gateway found.", ["gateway", "kind"]),
            ("reconciliation_timestamp_seconds", "When it ended, in Unix time.", ["gateway"]),
            ("webhooks_dead", "Webhooks that were disabled because their receiver accepted nothing.", []),
            ("webhook_messages_due", "Messages for webhooks that wait to be sent now.", []),
            ("orders_unpaid", "Orders whose money was held, and could not be taken: for staff to see to.", []),
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
    with suppress(DatabaseError, InterfaceError):
        for budget in budgets():
            for kind in ("needed", "allowed", "used"):
                found["database_connections"].add_metric([budget.server, kind], getattr(budget, kind))
    return found


def _ask_database(service: str, found: dict[str, GaugeMetricFamily]) -> None:
    if service not in local_services():
        query(service, "SELECT 1")
        return
    waiting = backlog(service, most=MOST)
    lag = (timezone.now() - waiting.unsent_since).total_seconds() if waiting.unsent_since else 0.0
    found["outbox_lag_seconds"].add_metric([service], max(0.0, lag))
    found["outbox_unsent"].add_metric([service], waiting.unsent)
    found["dead_letters"].add_metric([service], waiting.dead_letters)
    if service == "notifications":
        ((dead, due),) = query(service, WEBHOOKS, [MOST])
        found["webhooks_dead"].add_metric([], dead)
        found["webhook_messages_due"].add_metric([], due)
    if service == "payments":
        for gateway, at, *numbers in query(service, RECONCILED):
            found["reconciliation_timestamp_seconds"].add_metric([gateway], float(at))
            for kind, number in zip(("missing_here", "missing_there", "other_amount"), numbers, strict=True):
                found["reconciliation_differences"].add_metric([gateway, kind], number)
    if service == "orders":
        ((unpaid,),) = query(service, UNPAID, [MOST])
        found["orders_unpaid"].add_metric([], unpaid)
        orders = query(service, ORDERS, [settings.STALLED_AFTER, list(AT_REST), MOST])
        for status, number, _ in orders:
            found["orders_open"].add_metric([status], number)
        found["orders_stalled"].add_metric([], sum(stalled for _, _, stalled in orders))
