"""From a service's outbox to the broker: claim, publish, delete from the list of unsent events.

No transaction is open while the broker is asked, so a broker that hangs holds no row lock. Rows are claimed by a lease
and with SKIP LOCKED, so several relays share the work, and a dead relay's rows are taken over when its lease ends. The
claim asks for what is unsent, not for "ids greater than the last": transactions commit out of order, and a published
event may have to be published again.
"""

import logging
import threading
import time
from contextlib import nullcontext
from select import select
from typing import Any

from django.db import connections

from sagas import dead_letter_queue
from sagas.conf import choreography, conf, hook
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from sagas.dead_letters import RELAY, readable
from sagas.deferred import EVERY, PORTION, is_small, prompt_if, publish_deferred
from sagas.events import Event
from sagas.outages import OUTAGES, drop_broken_connections
from sagas.outbox import channel
from sagas.publisher import backlog, publish

logger = logging.getLogger(__name__)

# Each subquery reads the beginning of an index. EXISTS (… WHERE deferred_until <= …) would do as well, except that
# PostgreSQL expects to find such a row early in the table, where as a rule there is none. statement_timestamp(), not
# clock_timestamp(): an index cannot be searched for a value that changes from row to row.
FREE = "deferred_until IS NULL AND (leased_until IS NULL OR leased_until < statement_timestamp()) AND outbox_id >= %s"
PENDING = """
    SELECT
        (SELECT outbox_id FROM {service}_unsent WHERE {free} ORDER BY outbox_id LIMIT 1),
        LEAST((SELECT min(deferred_until) FROM {service}_unsent WHERE deferred_until IS NOT NULL),
              (SELECT min(deferred_until) FROM {service}_inbox WHERE deferred_until IS NOT NULL))
            <= statement_timestamp()
"""
CLAIM = """
    WITH claimed AS (
        UPDATE {service}_unsent SET leased_until = clock_timestamp() + make_interval(secs => %s)
        WHERE outbox_id = ANY (ARRAY(
            SELECT outbox_id FROM {service}_unsent WHERE {free} ORDER BY outbox_id LIMIT %s FOR UPDATE SKIP LOCKED
        ))
        RETURNING outbox_id
    )
    SELECT id, payload::text FROM claimed JOIN {service}_outbox ON id = outbox_id
"""
RETURN = "UPDATE {service}_unsent SET leased_until = NULL WHERE outbox_id = ANY(%s::bigint[])"
SENT = """
    WITH deferred AS (
        UPDATE {service}_unsent SET deferred_until = clock_timestamp() WHERE outbox_id = ANY(%(deferred)s::bigint[])
    )
    DELETE FROM {service}_unsent WHERE outbox_id = ANY(%(done)s::bigint[])
"""

BUSY_PAUSE, IDLE_PAUSE = 0.005, 0.1  # seconds between looks: just after work, and at most
IDLENESS = 0.1  # the share of the time without work to wait before the next look
# Dead index entries remain until VACUUM, and a search from the index's beginning steps over all of them: 6 ms after
# 20,000 orders. So most searches start near the last hit, with a margin for transactions that commit out of order.
LOOK_BACK = 1000  # rows
LOOK_AT_ALL_EVERY = 1.0  # seconds
DRAIN_EVERY = 5.0  # seconds between looks at the dead-letter queue
# A batch cannot grow once sent, so events are held while queues are long. Never for long: the crowded queue may be
# another service's, whose worker is away.
CROWDED = 2  # messages in one queue
SECONDS_A_MESSAGE, HOLD_AT_MOST = 0.004, 0.1  # about as long as the message would wait in that queue
ASK_EVERY = 0.1  # seconds between questions to the broker about its queues


class Every:
    """What is done again and again, once in so many seconds at most."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._due_at = seconds, 0.0

    def is_due(self) -> bool:
        """Whether it is time; then it is due again after these seconds."""
        now = time.monotonic()
        due = now >= self._due_at
        if due:
            self._due_at = now + self._seconds
        return due


class Relay:
    """Publishes one service's outbox until told to stop."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._stopping = threading.Event()
        self._look_at_all, self._ask = Every(LOOK_AT_ALL_EVERY), Every(ASK_EVERY)
        self._deferred, self._drain = Every(EVERY), Every(DRAIN_EVERY)
        self._first, self._found_at = 0, 0.0  # the first row of the last hit, and when that was
        self._backlog = 0  # messages in the longest queue, when last asked
        self._listening: Any = None  # the session that has been told to wake this relay
        self.seen_at = time.monotonic()  # when the loop last came round

    def run(self) -> None:
        """Work until `stop()` is called. Outages of database and broker are waited out."""
        pause = BUSY_PAUSE
        while not self._stopping.is_set():
            self.seen_at = time.monotonic()
            try:
                self._pause(pause)
                first, deferred = self._look()
                pause = self._publish(first) if first else self._idle_pause()
                if deferred and self._deferred.is_due():
                    while publish_deferred(self.service) >= PORTION:
                        self.seen_at = time.monotonic()
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
        """Wait so long, or until somebody emits an event (`outbox.wake_relay`)."""
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

    def _look(self) -> tuple[int | None, bool]:
        """The first row of the outbox to publish, and whether something deferred is due."""
        first, deferred = pending(self.service, 0 if self._look_at_all.is_due() else self._first - LOOK_BACK)
        if first:
            self._first, self._found_at = first, time.monotonic()
        return first, deferred

    def _idle_pause(self) -> float:
        return min(max(BUSY_PAUSE, IDLENESS * (time.monotonic() - self._found_at)), IDLE_PAUSE)

    def _publish(self, first: int) -> float:
        """Publish one portion; returns in how many seconds to look again."""
        published = publish_outbox(self.service, first)
        logger.debug("Published %d events of %s", published, self.service)
        if published >= PORTION:
            return 0.0
        if published < conf().batch_limit and self._is_crowded():
            return min(self._backlog * SECONDS_A_MESSAGE, HOLD_AT_MOST)
        return BUSY_PAUSE

    def _is_crowded(self) -> bool:
        if self._ask.is_due():
            self._backlog = backlog()
        return self._backlog > CROWDED

    def _drain_dead_letters(self) -> None:
        try:
            if self._drain.is_due() and (taken := dead_letter_queue.drain(self.service)):
                logger.warning("%d messages of %s.dead became dead letters", taken, self.service)
        except OUTAGES:
            raise
        except Exception:
            logger.exception("What %s.dead holds cannot be recorded; the relay goes on", self.service)


def pending(service: str, since: int = 0) -> tuple[int | None, bool]:
    """The first row of the outbox, from `since` on, that `publish_outbox` would publish, and whether `publish_deferred`
    has something to do: all that an idle relay asks."""
    ((first, deferred),) = query(service, PENDING.format(service=service, free=FREE), [since])
    return first, bool(deferred)  # NULL when nothing is deferred


def publish_outbox(service: str, since: int = 0) -> int:
    """Publish one portion of a service's outbox, of rows from `since` on; how many rows that was.

    Of a small portion, delivery to deferrable steps is deferred. A row that this release cannot read is set aside as a
    dead letter.
    """
    claimed = _claim(service, since)
    if not claimed:
        return 0
    crash_point("relay.claimed")
    ids, events = [pk for pk, _ in claimed], [event for _, event in claimed if event]
    small = is_small(events)
    deferrable_steps = choreography().deferrable_steps
    deferred = [pk for pk, event in claimed if small and event and deferrable_steps(type(event))]
    try:
        with hook().relaying(service, events) if events else nullcontext():
            publish(events, prompt_if(small))
        crash_point("relay.published")
    except Exception:
        query(service, RETURN.format(service=service), [ids])
        raise
    done = [pk for pk in ids if pk not in deferred]
    query(service, SENT.format(service=service), {"done": done, "deferred": deferred})
    crash_point("relay.marked")
    return len(claimed)


def _claim(service: str, since: int) -> list[tuple[int, Event | None]]:
    claim = CLAIM.format(service=service, free=FREE)
    rows = sorted(query(service, claim, [conf().outbox_lease, since, PORTION]))
    payloads = f"[{','.join(payload for _, payload in rows)}]"
    events = readable(service, RELAY, payloads, choreography().events)
    return [(pk, event) for (pk, _), event in zip(rows, events, strict=True)]
