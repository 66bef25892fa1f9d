"""Deferred delivery: small batches reach deferrable steps up to 0.2 s later, merged into larger messages.

Nobody waits for a deferrable step, so the message that a single event costs is saved, and prompt steps find the workers
free. A row whose delivery is deferred has a `deferred_until`: an inbox row for what its step emitted, a row of the
unsent list for an event of the outbox. The relay claims due rows by moving that time to the end of a lease, publishes
their events to the deferrable steps only, and clears them. `manage.py check` refuses a deferrable step whose follow-up
events a prompt step hears.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sagas.conf import choreography, conf
from sagas.crash_points import crash_point
from sagas.db.clock import database_time
from sagas.db.prepared import query
from sagas.dead_letters import readable
from sagas.events import Event
from sagas.publisher import StepsOf, publish

SMALL = 20  # events: below this the message costs more than the events in it
PORTION = 2400  # rows in one claim
EVERY = 0.2  # seconds between publications of what is deferred

# A claimed row belongs to whoever has set its lease, until the lease ends. Rows are claimed by ctid, because event_id
# is not unique in the inbox (one row per step); the row lock keeps the ctid valid.
CLAIM = """
    UPDATE {service}_{table} SET deferred_until = %s
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {service}_{table} WHERE deferred_until <= statement_timestamp()
        ORDER BY deferred_until LIMIT %s FOR UPDATE SKIP LOCKED
    ))
    RETURNING {key}, {events}
"""
PUT_BACK = """
    UPDATE {service}_{table} SET deferred_until = clock_timestamp() WHERE {key} = ANY(%s) AND deferred_until = %s
"""
SETTLE = "{settle} WHERE {key} = ANY(%s) AND deferred_until = %s"


class Table(NamedTuple):
    """A table whose rows may be deferred: its key, SQL for a row's events, SQL that clears a row."""

    table: str
    key: str
    events: str
    settle: str


TABLES = (
    Table(
        table="unsent",
        key="outbox_id",
        events="(SELECT '[' || payload || ']' FROM {service}_outbox WHERE id = outbox_id)",
        settle="DELETE FROM {service}_unsent",
    ),
    Table(
        table="inbox",
        key="event_id",
        events="emitted::text",
        settle="UPDATE {service}_inbox SET deferred_until = NULL",
    ),
)


def is_small(events: Sequence[Event]) -> bool:
    """Whether the delivery of these events to deferrable steps is deferred."""
    return 0 < len(events) < SMALL


def is_deferred(events: Sequence[Event]) -> bool:
    """Whether a deferrable step hears one of these events."""
    return any(choreography().deferrable_steps(type(event)) for event in events)


def prompt_if(small: bool) -> StepsOf:
    """The steps to publish to at once: all, or for a small batch those that are not deferrable."""
    return choreography().prompt_steps if small else choreography().steps_hearing


def publish_deferred(service: str) -> int:
    """Publish one portion of what is due to the deferrable steps; how many events that was."""
    return sum(_publish(service, table) for table in TABLES)


def _publish(service: str, table: Table) -> int:
    names = {name: text.format(service=service) for name, text in table._asdict().items()} | {"service": service}
    lease = database_time(service) + timedelta(seconds=conf().outbox_lease)
    claimed = query(service, CLAIM.format(**names), [lease, PORTION])
    if not claimed:
        return 0
    crash_point("deferred.claimed")
    events = [event for _, some in claimed for event in readable(service, some) if event]
    ids = [key for key, _ in claimed]
    try:
        publish(events, choreography().deferrable_steps)
        crash_point("deferred.published")
    except Exception:
        query(service, PUT_BACK.format(**names), [ids, lease])
        raise
    query(service, SETTLE.format(**names), [ids, lease])
    crash_point("deferred.settled")
    return len(events)
