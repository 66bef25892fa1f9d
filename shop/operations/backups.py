"""When each database server was last backed up according to pgBackRest, as metrics of the back office.

The back office has no access to the backup repository. So the machine that makes backups hands over the output of
`pgbackrest info`, which is kept in the cache.
"""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.core.cache import caches
from django_redis.exceptions import ConnectionInterrupted
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

KEY = "backups"
AWAY = (ConnectionInterrupted, RedisError, OSError)
NONE = "none"  # the stanza's label as long as no backup was reported


class Backup(NamedTuple):
    """The newest backup of a stanza, as pgBackRest calls a server. `at` is its end in Unix time; 0 if there is none."""

    stanza: str
    at: float
    problem: str  # the error that pgBackRest reports for the repository; empty if there is none


def read(info: str) -> list[Backup]:
    """Parse the output of `pgbackrest info --output=json`. Raises ValueError for anything else."""
    try:
        return [_newest(stanza) for stanza in json.loads(info)]
    except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"This is not what pgbackrest info --output=json writes: {error!r}") from error


def _newest(stanza: dict[str, Any]) -> Backup:
    ended = [float(backup["timestamp"]["stop"]) for backup in stanza["backup"] if not backup.get("error")]
    status = stanza["status"]
    return Backup(stanza["name"], max(ended, default=0.0), str(status["message"]) if status["code"] else "")


def keep(backups: Iterable[Backup]) -> bool:
    """Store these backups in place of the ones known before; return False if the cache is down."""
    try:
        caches["default"].set(KEY, {one.stanza: one.at for one in backups}, timeout=None)
    except AWAY:
        return False
    return True


class LastBackups(Collector):
    """A gauge for each stanza."""

    def describe(self) -> Iterable[Metric]:
        return self._families({})

    def collect(self) -> Iterable[Metric]:
        try:
            known = caches["default"].get(KEY) or {NONE: 0}
        except AWAY:
            return []
        return self._families(known)

    def _families(self, known: dict[str, float]) -> list[Metric]:
        text = "When the newest backup of a database server ended, in Unix time; 0: there is none, or none is known."
        family = GaugeMetricFamily("shop_backup_timestamp_seconds", text, labels=["stanza"])
        for stanza, at in known.items():
            family.add_metric([stanza], at)
        return [family]


last_backups = LastBackups()
