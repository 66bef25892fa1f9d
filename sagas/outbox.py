"""The outbox, for events that no message led to: `emit` in the caller's transaction, the relay does the rest."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.apps import apps
from django.db import connections, transaction

from sagas.db.prepared import json_lines, query
from sagas.topology import SERVICES_WITH_QUEUES
from shop.contracts.events import Event

EMIT = """
    WITH kept AS (
        INSERT INTO {service}_outbox (event_id, event_type, order_id, caused_by, payload)
        SELECT unnest(%s::uuid[]), unnest(%s::text[]), unnest(%s::bigint[]), unnest(%s::uuid[]),
            string_to_table(%s, chr(10))::json
        RETURNING id
    )
    INSERT INTO {service}_unsent (outbox_id) SELECT id FROM kept
"""
REARM = """
    INSERT INTO {service}_unsent (outbox_id) SELECT id FROM {service}_outbox WHERE {condition}
    ON CONFLICT (outbox_id) DO UPDATE SET leased_until = NULL, tell_at = NULL RETURNING outbox_id
"""


def emit(*events: Event, service: str) -> None:
    """Write events into a service's outbox, to be published if and only if the caller's transaction commits.

    Raises `TransactionManagementError` outside a transaction on that service's database.
    """
    if not connections[service].in_atomic_block:
        raise transaction.TransactionManagementError(
            f"emit() belongs into the transaction of its cause: wrap both in atomic(using={service!r})"
        )
    columns = [
        [event.event_id for event in events],
        [type(event).__name__ for event in events],
        [event.order_id for event in events],
        [event.caused_by for event in events],
        json_lines(events),
    ]
    query(service, EMIT.format(service=service), columns)


def rearm(service: str, order_ids: Iterable[int]) -> int:
    """Have everything the service's outbox holds for these orders published again; how many events that is."""
    condition = "order_id = ANY(%s::bigint[])"
    return len(query(service, REARM.format(service=service, condition=condition), [list(order_ids)]))


def rearm_followers(service: str, event_ids: Sequence[UUID]) -> None:
    """The same for what followed, by a timer or a webhook, from events that have now come again."""
    condition = "caused_by = ANY(%s::uuid[])"
    query(service, REARM.format(service=service, condition=condition), [list(event_ids)])


def local_services() -> list[str]:
    """The services of this process that take part in the saga: those with an inbox, an outbox and a queue."""
    return [service for service in SERVICES_WITH_QUEUES if apps.is_installed(service)]
