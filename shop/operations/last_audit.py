"""The last audit's result, as metrics of the back office. It is only in the cache: if it is lost, audit again."""

import time
from collections.abc import Iterable

from django.core.cache import caches
from django_redis.exceptions import ConnectionInterrupted
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

KEY = "audit"
AWAY = (ConnectionInterrupted, RedisError, OSError)


def keep(violations: int) -> None:
    """Record that an audit has just ended, and how many violations it found. Does nothing if the cache is down."""
    try:
        caches["default"].set(KEY, {"at": time.time(), "violations": violations}, timeout=None)
    except AWAY:
        return


class LastAudit(Collector):
    """Gauges of the last audit; the time is 0 if no audit is known."""

    def describe(self) -> Iterable[Metric]:
        return self._families({})

    def collect(self) -> Iterable[Metric]:
        try:
            known = caches["default"].get(KEY) or {}
        except AWAY:
            return []
        return self._families(known)

    def _families(self, known: dict[str, float]) -> list[Metric]:
        at = GaugeMetricFamily("shop_audit_timestamp_seconds", "When the last audit ended, in Unix time; 0: unknown.")
        at.add_metric([], known.get("at", 0))
        found = GaugeMetricFamily("shop_audit_violations", "How many violations the last audit found.")
        found.add_metric([], known.get("violations", 0))
        return [at, found]


last_audit = LastAudit()
