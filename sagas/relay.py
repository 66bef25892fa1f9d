"""From a service's tables to the broker: claim rows, publish their events, settle the rows.

First come the events of the outbox that are listed as unsent. Events whose delivery to deferrable steps is deferred
(`sagas.publisher`) follow from the same list, and from the inbox.

No transaction is open while a message is sent, so a broker that hangs holds up no row lock. Rows are claimed by a lease
and with SKIP LOCKED, so several relays share the work, and when a relay has died, its rows are free at the end of its
lease. A claim asks for what is unsent, not for "ids greater than the last": transactions commit out of order, and a
published event may have to be published again.
"""

import logging
import threading
import time
from contextlib import nullcontext
from select import select
from typing import Any, NamedTuple

from django.db import connections

from sagas import dead_letter_queue
from sagas.conf import choreography, conf, hook
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from sagas.dead_letters import RELAY, readable
from sagas.outages import OUTAGES, drop_broken_connections
from sagas.outbox import AWAKE, channel
from sagas.publisher import at_once, is_deferred, is_small, publish

logger = logging.getLogger(__name__)

PORTION = 2400  # rows in one claim


class Rows(NamedTuple):
    """Rows that a relay publishes, in SQL: of which table, which of them are due, and what becomes of them."""

    table: str
    key: str
    events: str  # a row's events: JSON, an array, as text
    due: str
    lease: str  # the column that a claim sets to the end of its lease
    settled: str


# Every search reads the beginning of an index. It compares with statement_timestamp(), not clock_timestamp(): an index
# cannot be searched for a value that changes from row to row.
UNSENT = Rows(
    table="unsent",
    key="outbox_id",
    events="(SELECT '[' || payload || ']' FROM {service}_outbox WHERE id = outbox_id)",
    due="deferred_until IS NULL AND (leased_until IS NULL OR leased_until < statement_timestamp())"
    " AND outbox_id >= %s ORDER BY outbox_id",
    lease="leased_until",
    settled="DELETE FROM {service}_unsent",
)
DEFERRED = UNSENT._replace(
    due="deferred_until <= statement_timestamp() ORDER BY deferred_until", lease="deferred_until"
)
DEFERRED_FROM_INBOX = DEFERRED._replace(
    table="inbox", key="event_id", events="emitted::text", settled="UPDATE {service}_inbox SET deferred_until = NULL"
)
# By ctid, because event_id is not unique in the inbox (one row per step); the row lock keeps the ctid valid.
CLAIM = """
    UPDATE {service}_{table} SET {lease} = statement_timestamp() + make_interval(secs => %s)
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM {service}_{table} WHERE {due} LIMIT %s FOR UPDATE SKIP LOCKED))
    RETURNING {key}, {events}, {lease}::text
"""
PUT_BACK = "UPDATE {service}_{table} SET {lease} = clock_timestamp()"
DEFER = "UPDATE {service}_unsent SET deferred_until = clock_timestamp()"
# A row belongs to whoever has set its lease. It is left alone when it has been claimed again since, after the lease's
# end, or is to be published again.
HELD = " WHERE {key} = ANY(%s) AND {lease} = %s::timestamptz"

BUSY_PAUSE, IDLE_PAUSE = 0.005, 0.2  # seconds between looks: for a while after work, and then
BUSY_FOR = 2 * AWAKE  # seconds after work for which to keep polling fast: emitters skip their notifications meanwhile
DEFERRED_EVERY = 0.2  # seconds between publications of what is deferred
# Dead index entries remain until VACUUM, and a search from the index's beginning steps over all of them: 6 ms after
# 20,000 orders. So most searches start near the last hit, with a margin for transactions that commit out of order.
LOOK_BACK = 1000  # rows
LOOK_AT_ALL_EVERY = 1.0  # seconds
DRAIN_EVERY = 5.0  # seconds between looks at the dead-letter queue
# A message of one event costs every step that follows as much as one of dozens. So what comes after a portion is held
# back and published together. The hold grows with the square of the events' rate, and is `Settings.relay_hold` from
# TOGETHER events a second on.
TOGETHER = 200.0
COUNT_FOR = 0.2  # seconds over which events are counted


class Every:
    """Says when something is due that is done at most once in `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._due_at = seconds, 0.0

    def is_due(self) -> bool:
        """Whether it is due now. If so, it is due again after these seconds."""
        if is_due := (now := time.monotonic()) >= self._due_at:
            self._due_at = now + self._seconds
        return is_due


class Relay:
    """Publishes one service's outbox until told to stop."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._stopping = threading.Event()
        self._look_at_all = Every(LOOK_AT_ALL_EVERY)
        self._deferred, self._drain = Every(DEFERRED_EVERY), Every(DRAIN_EVERY)
        self._first, self._found_at = 0, 0.0  # outbox id of the first row of the latest portion, and when it was found
        self._count, self._since, self._rate = 0, 0.0, 0.0  # events counted, since when; events a second until then
        self._listening: Any = None  # the database session that has executed LISTEN
        self.seen_at = time.monotonic()  # when the loop last came round

    def run(self) -> None:
        """Work until `stop()` is called. Outages of database and broker are waited out."""
        pause = BUSY_PAUSE
        while not self._stopping.is_set():
            self.seen_at = time.monotonic()
            try:
                self._pause(pause)
                pause = self._publish()
                if self._deferred.is_due():
                    publish_deferred(self.service)
                self._drain_dead_letters()
            except OUTAGES as outage:
                logger.warning("The relay of %s waits: %s", self.service, outage)
                drop_broken_connections()
                self._stopping.wait(1.0)
                pause = 0.0
        connections.close_all()

    def stop(self) -> None:
        """Finish the portion in hand and end."""
        self._stopping.set()

    def _pause(self, seconds: float) -> None:
        """Wait so long, or until `outbox.wake_relay` notifies this session."""
        connection = connections[self.service]
        with connection.wrap_database_errors:
            if connection.connection is None or connection.connection is not self._listening:
                with connection.cursor() as cursor:
                    cursor.execute(f"LISTEN {channel(self.service)}")
                self._listening = connection.connection
            session = self._listening
            if session.notifies or select([session], [], [], seconds)[0]:
                session.poll()
                session.notifies.clear()

    def _publish(self) -> float:
        """Publish one portion of the outbox; returns in how many seconds to look again."""
        found = _publish_rows(self.service, UNSENT, 0 if self._look_at_all.is_due() else self._first - LOOK_BACK)
        if not found:
            return BUSY_PAUSE if time.monotonic() - self._found_at < BUSY_FOR else IDLE_PAUSE
        self._first, self._found_at = found[0], time.monotonic()
        if len(found) >= PORTION:
            return 0.0
        self._count += len(found)
        if (seconds := self._found_at - self._since) >= COUNT_FOR:
            self._rate, self._count, self._since = self._count / seconds, 0, self._found_at
        self._stopping.wait(conf().relay_hold * min((self._rate / TOGETHER) ** 2, 1.0))  # no notification ends it
        return BUSY_PAUSE

    def _drain_dead_letters(self) -> None:
        try:
            if self._drain.is_due():
                dead_letter_queue.drain(self.service)
        except OUTAGES:
            raise
        except Exception:
            logger.exception("What %s.dead holds cannot be recorded; the relay goes on", self.service)


def publish_outbox(service: str, since: int = 0) -> int:
    """Publish one portion of a service's outbox, of rows from `since` on; how many rows that was.

    The delivery of a small portion to deferrable steps is deferred.
    """
    return len(_publish_rows(service, UNSENT, since))


def publish_deferred(service: str) -> int:
    """Publish one portion of what is due to the deferrable steps; how many rows that was."""
    return len(_publish_rows(service, DEFERRED)) + len(_publish_rows(service, DEFERRED_FROM_INBOX))


def _publish_rows(service: str, rows: Rows, *since: int) -> list[Any]:
    """Publish one portion of rows; returns their keys. An event that this release cannot read becomes a dead letter."""
    names = {name: sql.format(service=service) for name, sql in rows._asdict().items()} | {"service": service}
    claimed = sorted(query(service, CLAIM.format(**names), [conf().outbox_lease, *since, PORTION]))
    if not claimed:
        return []
    crash_point("relay.claimed")
    keys, texts, (lease, *_) = map(list, zip(*claimed, strict=True))
    payload = f"[{','.join(text[1:-1] for text in texts if text != '[]')}]"
    events = [event for event in readable(service, RELAY, payload, choreography().events) if event]
    is_first = rows is UNSENT
    try:
        with hook().relaying(service, events) if is_first and events else nullcontext():
            publish(events, at_once(events) if is_first else choreography().deferrable)
        crash_point("relay.published")
    except Exception:
        query(service, (PUT_BACK + HELD).format(**names), [keys, lease])
        raise
    settled = DEFER if is_first and is_small(events) and is_deferred(events) else rows.settled
    query(service, (settled + HELD).format(**names), [keys, lease])
    crash_point("relay.marked")
    return keys
