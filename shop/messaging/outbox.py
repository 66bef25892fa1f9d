"""The outbox, for events that no message led to: `emit` in the caller's transaction, the relay does the rest."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.apps import apps
from django.db import connections, transaction

from shop.contracts.events import Event
from shop.messaging.topology import SERVICES_WITH_QUEUES
from shop.sql import insert_rows


def emit(*events: Event, service: str) -> None:
    """Write events into a service's outbox, to be published if and only if the caller's transaction commits.

    Raises `TransactionManagementError` outside a transaction on that service's database.
    """
    if not connections[service].in_atomic_block:
        raise transaction.TransactionManagementError(
            f"emit() belongs into the transaction of its cause: wrap both in atomic(using={service!r})"
        )
    insert_rows(
        apps.get_model(service, "Outbox"),
        (
            {
                "event_id": event.event_id,
                "event_type": type(event).__name__,
                "order_id": event.order_id,
                "caused_by": event.caused_by,
                "payload": event,
            }
            for event in events
        ),
    )


def rearm(service: str, order_ids: Iterable[int]) -> int:
    """Have everything the service's outbox holds for these orders published again; how many events that is."""
    outbox = apps.get_model(service, "Outbox")
    return outbox.objects.filter(order_id__in=list(order_ids)).update(published_at=None, leased_until=None)


def rearm_followers(service: str, event_ids: Sequence[UUID]) -> None:
    """The same for what followed, by a timer or a webhook, from events that have now come again."""
    outbox = apps.get_model(service, "Outbox")
    outbox.objects.filter(caused_by__in=event_ids).update(published_at=None, leased_until=None)


def local_services() -> list[str]:
    """The services of this process that take part in the saga: those with an inbox, an outbox and a queue."""
    return [service for service in SERVICES_WITH_QUEUES if apps.is_installed(service)]
