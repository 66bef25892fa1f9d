"""From a service's outbox to the broker: claim, publish, mark.

No transaction is open while the broker is asked, so a broker that hangs holds no row lock. Rows are claimed by a lease
and with SKIP LOCKED, so several relays share the work, and a dead relay's rows are taken over when its lease ends.
The claim asks for what is unpublished, never for "ids greater than the last": transactions commit out of order.
"""

import logging
import threading
import time

import msgspec
from django.apps import apps
from django.conf import settings
from django.db import connections

from shop.contracts.events import Event, decode
from shop.messaging import deadqueue
from shop.messaging.crashpoints import crash_point
from shop.messaging.errors import OUTAGES, drop_broken_connections
from shop.messaging.publisher import backlog, publish

logger = logging.getLogger(__name__)

CLAIM = """
    UPDATE {table} SET leased_until = clock_timestamp() + make_interval(secs => %s)
    WHERE id IN (
        SELECT id FROM {table}
        WHERE published_at IS NULL AND (leased_until IS NULL OR leased_until < clock_timestamp())
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    )
    RETURNING id, payload
"""
PORTION = 1000  # rows in one claim
DRAIN_EVERY = 5.0  # seconds between looks at the dead-letter queue
BUSY_PAUSE, IDLE_PAUSE = 0.005, 0.05  # seconds between looks: just after work, and after a while without
# A message stays as small as it was sent, so when consumers are behind, events had better wait here and be sent as one.
# Never for long: the crowded queue may be another service's, whose worker is away.
CROWDED, GATHERING_PAUSE = 20, 0.5  # messages in one queue, and seconds


class Relay:
    """Publishes one service's outbox until told to stop."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._stopping = threading.Event()
        self._next_drain = 0.0

    def run(self) -> None:
        """Work until `stop()` is called. Outages of database and broker are waited out."""
        pause = BUSY_PAUSE
        while not self._stopping.wait(pause):
            try:
                drop_broken_connections()
                while relayed := relay_once(self.service):
                    logger.debug("Relayed %d events of %s", relayed, self.service)
                    pause = BUSY_PAUSE / 2
                    if relayed < settings.BATCH_LIMIT and backlog() > CROWDED:
                        self._stopping.wait(GATHERING_PAUSE)
                pause = min(pause * 2, IDLE_PAUSE)
                self._see_to_dead_letters()
            except OUTAGES as outage:
                logger.warning("The relay of %s waits: %s", self.service, outage)
                pause = 1.0
        connections.close_all()

    def _see_to_dead_letters(self) -> None:
        """Every few seconds: whoever talks to the broker for a service anyway brings home what it has set aside."""
        if time.monotonic() < self._next_drain:
            return
        self._next_drain = time.monotonic() + DRAIN_EVERY
        try:
            if taken := deadqueue.drain(self.service):
                logger.warning("%d messages of %s.dead are kept as dead letters", taken, self.service)
        except OUTAGES:
            raise
        except Exception:
            logger.exception("What %s.dead holds cannot be kept; the relay goes on", self.service)

    def stop(self) -> None:
        """Finish the portion in hand and end."""
        self._stopping.set()


def relay_once(service: str) -> int:
    """Publish what is waiting in a service's outbox, one portion of it; how many events that was."""
    outbox = apps.get_model(service, "Outbox")
    claimed = _claim(service)
    if not claimed:
        return 0
    crash_point("relay.claimed")
    try:
        publish(event for _, event in claimed)
        crash_point("relay.published")
    except Exception:
        outbox.objects.filter(pk__in=[pk for pk, _ in claimed], published_at=None).update(leased_until=None)
        raise
    with connections[service].cursor() as cursor:
        cursor.execute(
            f"UPDATE {outbox._meta.db_table} SET published_at = clock_timestamp() WHERE id = ANY(%s)",  # noqa: S608
            [[pk for pk, _ in claimed]],
        )
    crash_point("relay.marked")
    return len(claimed)


def _claim(service: str) -> list[tuple[int, Event]]:
    table = apps.get_model(service, "Outbox")._meta.db_table
    with connections[service].cursor() as cursor:
        cursor.execute(CLAIM.format(table=table), [settings.OUTBOX_LEASE, PORTION])
        return sorted((pk, decode(msgspec.json.decode(payload))) for pk, payload in cursor.fetchall())
