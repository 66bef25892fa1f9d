"""From a service's outbox to the broker: claim, publish, strike off the list of what is unsent.

No transaction is open while the broker is asked, so a broker that hangs holds no row lock. Rows are claimed by a lease
and with SKIP LOCKED, so several relays share the work, and a dead relay's rows are taken over when its lease ends.
The claim asks for what is unsent, not just for "ids greater than the last": transactions commit out of order, and
what was published before may be to be published again.
"""

import logging
import threading
import time
from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import connections
from django.utils import timezone

from sagas import dead_letter_queue
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from sagas.outages import OUTAGES, drop_broken_connections
from sagas.publisher import are_few, backlog, publish
from shop.contracts.events import Event, decode_all
from shop.observability.steps import relayed
from shop.saga import patient_steps, prompt_steps, steps_hearing

logger = logging.getLogger(__name__)

# Each is read off the beginning of an index. EXISTS (… WHERE tell_at <= …) would do as well, if PostgreSQL did not
# expect to find such a row early in the table, where as a rule there is none at all. And it is the statement's time,
# not clock_timestamp(): what may change from row to row is looked up in no index.
FREE = "tell_at IS NULL AND (leased_until IS NULL OR leased_until < statement_timestamp()) AND outbox_id >= %s"
WAITING = """
    SELECT
        (SELECT outbox_id FROM {service}_unsent WHERE {free} ORDER BY outbox_id LIMIT 1),
        LEAST((SELECT min(tell_at) FROM {service}_unsent WHERE tell_at IS NOT NULL),
              (SELECT min(tell_at) FROM {service}_inbox WHERE tell_at IS NOT NULL)) <= statement_timestamp()
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
    WITH owing AS (
        UPDATE {service}_unsent SET tell_at = clock_timestamp() WHERE outbox_id = ANY(%(owing)s::bigint[])
    )
    DELETE FROM {service}_unsent WHERE outbox_id = ANY(%(done)s::bigint[])
"""
# A row belongs to whoever has set its lease, and to nobody else once that has ended. It is found by its address: its
# lock keeps it there, and an event's id alone may stand for rows of several steps.
CLAIM_OWED = """
    UPDATE {service}_{table} SET tell_at = %s
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {service}_{table} WHERE tell_at <= statement_timestamp()
        ORDER BY tell_at LIMIT %s FOR UPDATE SKIP LOCKED
    ))
    RETURNING {key}, {events}
"""
PUT_BACK = "UPDATE {service}_{table} SET tell_at = clock_timestamp() WHERE {key} = ANY(%s) AND tell_at = %s"
SETTLE = "{settle} WHERE {key} = ANY(%s) AND tell_at = %s"


class Owing(NamedTuple):
    """A table whose rows say by their `tell_at` that the steps which can wait are to be told of events, and when."""

    table: str
    key: str
    events: str  # SQL: those of a row
    settle: str  # SQL: what becomes of a row when they have been told


OWING = (
    Owing(
        table="unsent",
        key="outbox_id",
        events="(SELECT '[' || payload || ']' FROM {service}_outbox WHERE id = outbox_id)",
        settle="DELETE FROM {service}_unsent",
    ),
    Owing(table="inbox", key="event_id", events="emitted::text", settle="UPDATE {service}_inbox SET tell_at = NULL"),
)
PORTION = 2400  # rows in one claim: three full messages
TELL_EVERY = 0.2  # seconds: how long the steps that can wait do wait, at most, and a look
DRAIN_EVERY = 5.0  # seconds between looks at the dead-letter queue
BUSY_PAUSE, IDLE_PAUSE = 0.005, 0.05  # seconds between looks: just after work, and at most
IDLENESS = 0.1  # the part of the time without work that is waited until the next look
# What was published is still in the index, until VACUUM, and a look from its beginning steps over all of it: 6 ms after
# 20,000 orders. So most begin a little before the row that was found last; "a little" for what commits out of order.
LOOK_BACK = 1000  # rows
LOOK_AT_ALL_EVERY = 1.0  # seconds
# A message stays as small as it was sent, so when consumers are behind, events had better wait here and be sent as one.
# Never for long: the crowded queue may be another service's, whose worker is away.
CROWDED = 2  # messages in one queue
A_MESSAGE_TAKES, GATHER_AT_MOST = 0.004, 0.1  # seconds, about: as long as it would wait in that queue
ASK_EVERY = 0.1  # seconds: the broker takes some time, too, to say how long its queues are


class Relay:
    """Publishes one service's outbox until told to stop."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._stopping = threading.Event()
        self._next_look_at_all = self._next_drain = self._next_telling = self._next_asking = 0.0
        self._first, self._found_at = 0, 0.0  # the row that waited first, when we last found one, and when that was
        self._crowd = 0  # messages in the longest queue, when we last asked

    def run(self) -> None:
        """Work until `stop()` is called. Outages of database and broker are waited out."""
        pause = BUSY_PAUSE
        while not self._stopping.wait(pause):
            try:
                first, owed = self._look()
                pause = self._relay(first) if first else self._idle_pause()
                if owed:
                    self._tell_those_who_can_wait()
                self._see_to_dead_letters()
            except OUTAGES as outage:
                logger.warning("The relay of %s waits: %s", self.service, outage)
                drop_broken_connections()
                pause = 1.0
        connections.close_all()

    def _look(self) -> tuple[int | None, bool]:
        """The row of the outbox that waits first, and whether somebody is owed something."""
        since = self._first - LOOK_BACK
        if time.monotonic() >= self._next_look_at_all:
            since, self._next_look_at_all = 0, time.monotonic() + LOOK_AT_ALL_EVERY
        first, owed = waiting(self.service, since)
        if first:
            self._first, self._found_at = first, time.monotonic()
        return first, owed

    def _idle_pause(self) -> float:
        return min(max(BUSY_PAUSE, IDLENESS * (time.monotonic() - self._found_at)), IDLE_PAUSE)

    def _relay(self, first: int) -> float:
        """Publish a portion of what waits; returns in how many seconds to look again."""
        relayed = relay_once(self.service, first)
        logger.debug("Relayed %d events of %s", relayed, self.service)
        if relayed >= PORTION:
            return 0.0
        if relayed < settings.BATCH_LIMIT and self._crowded():
            return min(self._crowd * A_MESSAGE_TAKES, GATHER_AT_MOST)
        return BUSY_PAUSE

    def _crowded(self) -> bool:
        if time.monotonic() >= self._next_asking:
            self._crowd = backlog()
            self._next_asking = time.monotonic() + ASK_EVERY
        return self._crowd > CROWDED

    def _tell_those_who_can_wait(self) -> None:
        if time.monotonic() >= self._next_telling:
            while tell_once(self.service) >= PORTION:
                pass
            self._next_telling = time.monotonic() + TELL_EVERY

    def _see_to_dead_letters(self) -> None:
        """Every few seconds: whoever talks to the broker for a service anyway brings home what it has set aside."""
        if time.monotonic() < self._next_drain:
            return
        self._next_drain = time.monotonic() + DRAIN_EVERY
        try:
            if taken := dead_letter_queue.drain(self.service):
                logger.warning("%d messages of %s.dead are kept as dead letters", taken, self.service)
        except OUTAGES:
            raise
        except Exception:
            logger.exception("What %s.dead holds cannot be kept; the relay goes on", self.service)

    def stop(self) -> None:
        """Finish the portion in hand and end."""
        self._stopping.set()


def waiting(service: str, since: int = 0) -> tuple[int | None, bool]:
    """The first row of the outbox, from `since` on, that waits for `relay_once`, and whether there is something for
    `tell_once`: all that an idle relay asks."""
    ((first, owed),) = query(service, WAITING.format(service=service, free=FREE), [since])
    return first, bool(owed)  # NULL when nobody is owed anything, ever


def relay_once(service: str, since: int = 0) -> int:
    """Publish what is waiting in a service's outbox, one portion of its rows from `since` on; how many events that was.

    Of few events the steps that can wait are told later, by `tell_once`.
    """
    claimed = _claim(service, since)
    if not claimed:
        return 0
    crash_point("relay.claimed")
    ids, events = [pk for pk, _ in claimed], [event for _, event in claimed]
    few = are_few(events)
    owing = [pk for pk, event in claimed if few and patient_steps(type(event))]
    try:
        with relayed(service, events):
            publish(events, prompt_steps if few else steps_hearing)
        crash_point("relay.published")
    except Exception:
        query(service, RETURN.format(service=service), [ids])
        raise
    done = [pk for pk in ids if pk not in owing]
    query(service, SENT.format(service=service), {"done": done, "owing": owing})
    crash_point("relay.marked")
    return len(claimed)


def tell_once(service: str) -> int:
    """Tell the steps that can wait what they have not been told of yet, a portion of it; how many events that was."""
    return sum(_tell(service, owing) for owing in OWING)


def _tell(service: str, owing: Owing) -> int:
    names = {name: text.format(service=service) for name, text in owing._asdict().items()} | {"service": service}
    lease = timezone.now() + timedelta(seconds=settings.OUTBOX_LEASE)
    claimed = query(service, CLAIM_OWED.format(**names), [lease, PORTION])
    if not claimed:
        return 0
    crash_point("relay.owed_claimed")
    events = [event for _, some in claimed for event in decode_all(some)]
    ids = [key for key, _ in claimed]
    try:
        publish(events, patient_steps)
        crash_point("relay.told")
    except Exception:
        query(service, PUT_BACK.format(**names), [ids, lease])
        raise
    query(service, SETTLE.format(**names), [ids, lease])
    crash_point("relay.owed_marked")
    return len(events)


def _claim(service: str, since: int) -> list[tuple[int, Event]]:
    claim = CLAIM.format(service=service, free=FREE)
    rows = sorted(query(service, claim, [settings.OUTBOX_LEASE, since, PORTION]))
    events = decode_all(f"[{','.join(payload for _, payload in rows)}]")
    return [(pk, event) for (pk, _), event in zip(rows, events, strict=True)]
