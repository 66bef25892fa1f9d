"""The inbox: which events a step has handled, and what it emitted for each."""

from collections.abc import Sequence
from uuid import UUID

from sagas.db.prepared import json_lines, query
from sagas.steps import Step
from shop.contracts.events import Event, decode_all
from shop.saga import patient_steps

# Per service and message, so by hand: through the ORM each takes four times as long.
HANDLED = "SELECT event_id, emitted::text FROM {service}_inbox WHERE event_id = ANY(%s::uuid[]) AND step = %s"
# A dead letter is resolved when the step succeeds with it after all. Nearly always there is none: asked first, that is
# one look instead of one for each event.
RESOLVE = """
    UPDATE {service}_deadletter SET resolved_at = clock_timestamp(), resolution = 'HANDLED'
    WHERE (SELECT true FROM {service}_deadletter WHERE resolved_at IS NULL LIMIT 1)
        AND event_id = ANY(%(events)s::uuid[]) AND step = %(step)s AND resolved_at IS NULL
"""
KEEP = """
    WITH resolved AS ({resolve})
    INSERT INTO {service}_inbox (step, event_id, event_type, order_id, emitted, tell_at)
    SELECT %(step)s, event_id, event_type, order_id, emitted, CASE WHEN owing THEN clock_timestamp() END
    FROM (
        SELECT unnest(%(events)s::uuid[]) AS event_id, unnest(%(types)s::text[]) AS event_type,
            unnest(%(orders)s::bigint[]) AS order_id, string_to_table(%(emitted)s, chr(10))::json AS emitted,
            unnest(%(owing)s::bool[]) AS owing
    ) AS handled
"""
AGAIN = """
    UPDATE {service}_inbox SET
        repeats = LEAST(repeats + 1, 9999),
        tell_at = CASE WHEN %s AND emitted::text <> '[]' THEN clock_timestamp() ELSE tell_at END
    WHERE event_id = ANY(%s::uuid[]) AND step = %s
"""


def handled(step: Step, batch: Sequence[Event]) -> dict[UUID, list[Event]]:
    """The events of the batch that the step has handled already: what it emitted for each, by its id."""
    found = query(step.service, HANDLED.format(service=step.service), [_ids(batch), step.name])
    return {event_id: decode_all(emitted) for event_id, emitted in found}


def keep(step: Step, events: Sequence[Event], emitted: Sequence[Sequence[Event]], *, owing: bool) -> None:
    """Write down that the step has handled these events, and what it emitted for each; in the effect's transaction.

    `owing` leaves it to the relay to tell the steps that can wait.

    Raises `IntegrityError` when the step has handled one of them already; if somebody does just now, when they have.
    """
    query(
        step.service,
        KEEP.format(service=step.service, resolve=RESOLVE.format(service=step.service)),
        {
            "step": step.name,
            "events": _ids(events),
            "types": [type(event).__name__ for event in events],
            "orders": [event.order_id for event in events],
            "emitted": json_lines(emitted),
            "owing": [owing and any(patient_steps(type(one)) for one in followers) for followers in emitted],
        },
    )


def find_again(step: Step, event_ids: Sequence[UUID], *, owing: bool) -> None:
    """The step was told once more of events that it has handled: what they led to is to be told once more, too."""
    query(step.service, RESOLVE.format(service=step.service), {"events": list(event_ids), "step": step.name})
    query(step.service, AGAIN.format(service=step.service), [owing, list(event_ids), step.name])


def _ids(events: Sequence[Event]) -> list[UUID]:
    return [event.event_id for event in events]
