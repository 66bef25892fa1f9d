"""The outbox, for events that no message led to: `emit` in the caller's transaction, the relay publishes."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import connections, transaction

from sagas.conf import choreography
from sagas.db.prepared import json_lines, query
from sagas.events import Event

EMIT = """
    emitted AS (
        INSERT INTO {service}_outbox (event_id, event_type, correlation_id, caused_by, payload) {rows} RETURNING id
    ), unsent AS (
        INSERT INTO {service}_unsent (outbox_id) SELECT id FROM emitted
    )
"""
ROWS = """
    SELECT unnest(%s::uuid[]), unnest(%s::text[]), unnest(%s::bigint[]), unnest(%s::uuid[]),
        string_to_table(%s, chr(10))::json
"""
REARM = """
    INSERT INTO {service}_unsent (outbox_id) SELECT id FROM {service}_outbox WHERE {condition}
    ON CONFLICT (outbox_id) DO UPDATE SET leased_until = NULL, deferred_until = NULL RETURNING outbox_id
"""


def emission(service: str, rows: str) -> str:
    """SQL that writes events into a service's outbox, for a statement that writes their cause, too.

    `rows` is a SELECT of event_id, event_type, correlation_id, caused_by, payload. The answer is two common table
    expressions, `emitted` and `unsent`, without the WITH.
    """
    return EMIT.format(service=service, rows=rows)


def emit(*events: Event, service: str) -> None:
    """Write events of one saga into a service's outbox: published if and only if the caller's transaction commits.

    Raises `TransactionManagementError` outside a transaction on that service's database.
    """
    if not connections[service].in_atomic_block:
        raise transaction.TransactionManagementError(
            f"emit() belongs in the transaction of its cause: wrap both in atomic(using={service!r})"
        )
    columns = [
        [event.event_id for event in events],
        [type(event).__name__ for event in events],
        [choreography().key_of(type(event))(event) for event in events],
        [event.caused_by for event in events],
        json_lines(events),
    ]
    query(service, f"WITH {emission(service, ROWS)} SELECT", columns)


def rearm(service: str, keys: Iterable[int]) -> int:
    """Have all that the outbox holds for these saga instances published again; how many events that is."""
    condition = "correlation_id = ANY(%s::bigint[])"
    return len(query(service, REARM.format(service=service, condition=condition), [list(keys)]))


def rearm_followers(service: str, event_ids: Sequence[UUID]) -> None:
    """Have the events published again that timers and webhooks emitted because of these redelivered events."""
    condition = "caused_by = ANY(%s::uuid[])"
    query(service, REARM.format(service=service, condition=condition), [list(event_ids)])
