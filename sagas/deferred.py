"""Deferred delivery: small batches reach deferrable steps up to 0.2 s later, merged into larger messages.

Nobody waits for a deferrable step, so the message that a single event costs is saved, and prompt steps find the workers
free. A row whose delivery is deferred has a `deferred_until`: an inbox row for what its step emitted, a row of the
unsent list for an event of the outbox. The relay claims due rows by moving that time to the end of a lease, publishes
their events to the deferrable steps only, and clears them. `manage.py check` refuses a deferrable step whose follow-up
events a prompt step hears.
"""

from collections.abc import Mapping, Sequence

from sagas.conf import choreography, conf
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from sagas.dead_letters import RELAY, readable
from sagas.events import Event
from sagas.publisher import StepsOf, publish

SMALL = 20  # events: below this the message costs more than the events in it
PORTION = 2400  # rows in one claim
EVERY = 0.2  # seconds between publications of what is deferred

# A claimed row belongs to whoever has set its lease, until the lease ends. Rows are claimed by ctid, because event_id
# is not unique in the inbox (one row per step); the row lock keeps the ctid valid.
CLAIM = """
    UPDATE {service}_{table} SET deferred_until = statement_timestamp() + make_interval(secs => %s)
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {service}_{table} WHERE deferred_until <= statement_timestamp()
        ORDER BY deferred_until LIMIT %s FOR UPDATE SKIP LOCKED
    ))
    RETURNING {key}, {events}, deferred_until
"""
HELD = "WHERE {key} = ANY(%s) AND deferred_until = %s"
PUT_BACK = "UPDATE {service}_{table} SET deferred_until = clock_timestamp() " + HELD  # noqa: S608  # our own names
SETTLE = "{settle} " + HELD

# The tables whose rows may be deferred: their key, SQL for a row's events, SQL that clears rows.
TABLES = (
    {
        "table": "unsent",
        "key": "outbox_id",
        "events": "(SELECT '[' || payload || ']' FROM {service}_outbox WHERE id = outbox_id)",
        "settle": "DELETE FROM {service}_unsent",
    },
    {
        "table": "inbox",
        "key": "event_id",
        "events": "emitted::text",
        "settle": "UPDATE {service}_inbox SET deferred_until = NULL",
    },
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


def _publish(service: str, table: Mapping[str, str]) -> int:
    names = {name: text.format(service=service) for name, text in table.items()} | {"service": service}
    claimed = query(service, CLAIM.format(**names), [conf().outbox_lease, PORTION])
    if not claimed:
        return 0
    crash_point("deferred.claimed")
    keys, emitted, (lease, *_) = zip(*claimed, strict=True)
    types = choreography().events
    events = [event for some in emitted for event in readable(service, RELAY, some, types) if event]
    held = [list(keys), lease]
    try:
        publish(events, choreography().deferrable_steps)
        crash_point("deferred.published")
    except Exception:
        query(service, PUT_BACK.format(**names), held)
        raise
    query(service, SETTLE.format(**names), held)
    crash_point("deferred.settled")
    return len(events)
