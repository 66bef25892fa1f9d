"""The outbox, for events that no message led to: `emit` in the caller's transaction, the relay publishes."""

import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from uuid import UUID

from django.db import connections, transaction

from sagas.conf import choreography
from sagas.db.prepared import json_lines, query
from sagas.events import Event
from sagas.outages import OUTAGES

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
    INSERT INTO {service}_unsent (outbox_id)
    SELECT id FROM {service}_outbox WHERE correlation_id = ANY(%s::bigint[]) OR caused_by = ANY(%s::uuid[])
    ORDER BY id ON CONFLICT (outbox_id) DO UPDATE SET leased_until = NULL, deferred_until = NULL RETURNING outbox_id
"""
WAKE = "SELECT pg_notify(%s, '')"
AWAKE = 0.02  # seconds for which a relay that had something to publish makes its shortest pauses

_emitted_at: dict[str, float] = {}  # by service: when this process last emitted


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
        choreography().keys_of(events),
        [event.caused_by for event in events],
        json_lines(events),
    ]
    query(service, f"WITH {emission(service, ROWS)} SELECT", columns)
    wake_relay(service)


def wake_relay(service: str) -> None:
    """After the commit, notify the service's relay, so that it does not pause any longer.

    A notification may be lost: the relay looks by itself, too. Sent in the transaction, it would make transactions
    commit one after the other. None is sent while the relay is still looking often because of the last one.
    """
    transaction.on_commit(partial(_wake, service), using=service)


def _wake(service: str) -> None:
    now = time.monotonic()
    asleep, _emitted_at[service] = now - _emitted_at.get(service, 0.0) > AWAKE, now
    if asleep:
        with suppress(*OUTAGES):
            query(service, WAKE, [channel(service)])


def channel(service: str) -> str:
    """What the service's relay listens to."""
    return f"{service}_outbox"


def rearm(service: str, keys: Iterable[int] = (), *, causes: Iterable[UUID] = ()) -> int:
    """Have all that the outbox holds for these saga instances published again, and what timers and webhooks emitted
    because of events with these ids; how many events that is."""
    return len(query(service, REARM.format(service=service), [list(keys), list(causes)]))
