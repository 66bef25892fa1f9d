"""When each database was last backed up, for who scrapes the back office: as pgBackRest tells it, kept in the cache.

The back office sees no repository. So whoever makes the backups hands over what `pgbackrest info` says.
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
NONE = "none"  # in the place of a stanza's name, while nobody has told of any


class Backup(NamedTuple):
    """The newest backup of a stanza, as pgBackRest calls a server. `at` is its end in Unix time; 0 if there is none."""

    stanza: str
    at: float
    problem: str  # what pgBackRest says against the repository; empty if nothing


def read(info: str) -> list[Backup]:
    """What `pgbackrest info --output=json` tells. Raises ValueError for anything else."""
    try:
        return [_newest(stanza) for stanza in json.loads(info)]
    except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"This is not what pgbackrest info --output=json writes: {error!r}") from error


def _newest(stanza: dict[str, Any]) -> Backup:
    ended = [float(backup["timestamp"]["stop"]) for backup in stanza["backup"] if not backup.get("error")]
    status = stanza["status"]
    return Backup(stanza["name"], max(ended, default=0.0), str(status["message"]) if status["code"] else "")


def keep(backups: Iterable[Backup]) -> bool:
    """Remember them, in the place of those known before; False if the cache is away."""
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
