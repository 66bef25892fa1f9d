"""The inbox: which events a step has handled, and what it emitted for each."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from shop.contracts.events import Event, stored
from shop.messaging.steps import Step
from shop.saga import patient_steps
from shop.sql import query

# Per service and message, so by hand: through the ORM each takes four times as long.
HANDLED = "SELECT event_id, emitted FROM {service}_inbox WHERE event_id = ANY(%s::uuid[]) AND step = %s"
# A dead letter is resolved when the step succeeds with it after all.
KEEP = """
    WITH resolved AS (
        UPDATE {service}_deadletter SET resolved_at = clock_timestamp(), resolution = 'HANDLED'
        WHERE event_id = ANY(%(events)s::uuid[]) AND step = %(step)s AND resolved_at IS NULL
    )
    INSERT INTO {service}_inbox (step, event_id, event_type, order_id, emitted, tell_at)
    SELECT %(step)s, event_id, event_type, order_id, emitted, CASE WHEN owing THEN clock_timestamp() END
    FROM ROWS FROM (
        unnest(%(events)s::uuid[]), unnest(%(types)s::text[]), unnest(%(orders)s::bigint[]),
        jsonb_array_elements(%(emitted)s::jsonb), unnest(%(owing)s::bool[])
    ) AS handled (event_id, event_type, order_id, emitted, owing)
    ON CONFLICT DO NOTHING RETURNING 1
"""

RESOLVE = """
    UPDATE {service}_deadletter SET resolved_at = clock_timestamp(), resolution = 'HANDLED'
    WHERE event_id = ANY(%s::uuid[]) AND step = %s AND resolved_at IS NULL
"""
AGAIN = """
    UPDATE {service}_inbox SET
        repeats = LEAST(repeats + 1, 9999),
        tell_at = CASE WHEN %s AND emitted <> '[]' THEN clock_timestamp() ELSE tell_at END
    WHERE event_id = ANY(%s::uuid[]) AND step = %s
"""


class HandledMeanwhile(Exception):
    """The step has handled an event of the batch already, or somebody does right now: nothing of this may stay."""


def handled(step: Step, batch: Sequence[Event]) -> dict[UUID, list[Event]]:
    """The events of the batch that the step has handled already: what it emitted for each, by its id."""
    found = query(step.service, HANDLED.format(service=step.service), [_ids(batch), step.name])
    return {event_id: stored(emitted) for event_id, emitted in found}


def keep(step: Step, events: Sequence[Event], emitted: Sequence[Sequence[Event]], *, owing: bool) -> None:
    """Write down that the step has handled these events, and what it emitted for each; in the effect's transaction.

    `owing` leaves it to the relay to tell the steps that can wait. Raises `HandledMeanwhile`.
    """
    kept = query(
        step.service,
        KEEP.format(service=step.service),
        {
            "step": step.name,
            "events": _ids(events),
            "types": [type(event).__name__ for event in events],
            "orders": [event.order_id for event in events],
            "emitted": msgspec.json.encode(emitted).decode(),
            "owing": [owing and any(patient_steps(type(one)) for one in followers) for followers in emitted],
        },
    )
    if len(kept) < len(events):
        raise HandledMeanwhile


def find_again(step: Step, event_ids: Sequence[UUID], *, owing: bool) -> None:
    """The step was told once more of events that it has handled: what they led to is to be told once more, too."""
    query(step.service, RESOLVE.format(service=step.service), [list(event_ids), step.name])
    query(step.service, AGAIN.format(service=step.service), [owing, list(event_ids), step.name])


def _ids(events: Sequence[Event]) -> list[UUID]:
    return [event.event_id for event in events]
