"""The inbox: which events a step has handled, and what it emitted for each."""

from collections.abc import Sequence
from uuid import UUID

from sagas.conf import choreography
from sagas.db.prepared import json_lines, query
from sagas.events import Event, decode_all
from sagas.publisher import is_deferred
from sagas.registry import AnyStep

# Run for every message, so written by hand: through the ORM each takes four times as long.
HANDLED = "SELECT event_id, emitted::text FROM {service}_inbox WHERE event_id = ANY(%s::uuid[]) AND step = %s"
# A dead letter is resolved when its step succeeds with the event after all. There is rarely one: the first condition
# asks once per statement instead of once per event.
RESOLVE = """
    UPDATE {service}_deadletter SET resolved_at = clock_timestamp(), resolution = 'HANDLED'
    WHERE (SELECT true FROM {service}_deadletter WHERE resolved_at IS NULL LIMIT 1)
        AND event_id = ANY(%(events)s::uuid[]) AND step = %(step)s AND resolved_at IS NULL
"""
RECORD = """
    WITH resolved AS ({resolve})
    INSERT INTO {service}_inbox (step, event_id, event_type, correlation_id, emitted, deferred_until)
    SELECT %(step)s, event_id, event_type, correlation_id, emitted, CASE WHEN deferred THEN clock_timestamp() END
    FROM (
        SELECT unnest(%(events)s::uuid[]) AS event_id, unnest(%(types)s::text[]) AS event_type,
            unnest(%(keys)s::bigint[]) AS correlation_id, string_to_table(%(emitted)s, chr(10))::json AS emitted,
            unnest(%(deferred)s::bool[]) AS deferred
    ) AS handled ORDER BY event_id
"""
REDELIVERED = """
    WITH resolved AS ({resolve})
    UPDATE {service}_inbox SET
        repeats = LEAST(repeats + 1, 9999),
        deferred_until = CASE WHEN %(defer)s AND emitted::text <> '[]' THEN clock_timestamp() ELSE deferred_until END
    WHERE event_id = ANY(%(events)s::uuid[]) AND step = %(step)s
"""


def handled(step: AnyStep, batch: Sequence[Event]) -> dict[UUID, list[Event]]:
    """The events of the batch that the step has handled: what it emitted for each, by event id."""
    found = query(step.service, HANDLED.format(service=step.service), [_ids(batch), step.name])
    return {event_id: decode_all(emitted, choreography().events) for event_id, emitted in found}


def record(step: AnyStep, events: Sequence[Event], emitted: Sequence[Sequence[Event]], *, defer: bool) -> None:
    """Record that the step has handled these events, and what it emitted for each; in the effect's transaction.

    `defer` leaves the delivery to deferrable steps to the relay.

    Raises `IntegrityError` when the step has handled one of them; if another worker is handling one, waits for its
    commit first.
    """
    query(
        step.service,
        RECORD.format(service=step.service, resolve=RESOLVE.format(service=step.service)),
        {
            "step": step.name,
            "events": _ids(events),
            "types": [type(event).__name__ for event in events],
            "keys": choreography().keys_of(events),
            "emitted": json_lines(emitted),
            "deferred": [defer and is_deferred(followers) for followers in emitted],
        },
    )


def record_redelivery(step: AnyStep, event_ids: Sequence[UUID], *, defer: bool) -> None:
    """Record that handled events came again, and with `defer` schedule their follow-up events again."""
    values = {"step": step.name, "events": list(event_ids), "defer": defer}
    query(step.service, REDELIVERED.format(service=step.service, resolve=RESOLVE.format(service=step.service)), values)


def _ids(events: Sequence[Event]) -> list[UUID]:
    return [event.event_id for event in events]
