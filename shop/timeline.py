"""What happened to one order, joined across the services' databases: their outboxes and inboxes.

For operators (`manage.py saga ORDER_ID`); a customer's view is `orders.TimelineEntry`, which needs one database only.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.apps import apps

from shop.contracts.events import (
    DeliveryCancelled,
    DeliveryFailed,
    InventoryReleased,
    InventoryReservationFailed,
    OrderCancellationRequested,
    OrderCancelled,
    PaymentFailed,
    PaymentRefunded,
)
from shop.messaging.outbox import local_services
from shop.saga import UNDONE_BY

# Events that turn a saga round, or belong to the way back.
BACKWARD = {
    event.__name__
    for event in (
        InventoryReservationFailed,
        PaymentFailed,
        DeliveryFailed,
        OrderCancellationRequested,
        DeliveryCancelled,
        PaymentRefunded,
        InventoryReleased,
        OrderCancelled,
    )
}


@dataclass(frozen=True)
class Entry:
    """One thing that happened: a step handled an event, or (with no step) a service emitted one by itself."""

    at: datetime
    service: str
    step: str  # "inventory.reserve_stock"; empty for an event from the outbox
    event: str  # the type of event that was handled, or emitted from the outbox
    emitted: tuple[str, ...]  # the types of events that followed
    backward: bool  # part of an undoing
    key: tuple[str, UUID]  # unique


def timeline(order_id: int) -> list[Entry]:
    """Everything known of an order's saga, oldest first. Empty for an order that does not exist."""
    entries = []
    for service in local_services():
        inbox, outbox = apps.get_model(service, "Inbox"), apps.get_model(service, "Outbox")
        for row in inbox.objects.filter(order_id=order_id):
            emitted = tuple(event["type"] for event in row.emitted)
            backward = row.step in UNDONE_BY.values() or not BACKWARD.isdisjoint({row.event_type, *emitted})
            entries.append(
                Entry(
                    at=row.handled_at,
                    service=service,
                    step=row.step,
                    event=row.event_type,
                    emitted=emitted,
                    backward=backward,
                    key=(row.step, row.event_id),
                )
            )
        entries += [
            Entry(
                at=row.created_at,
                service=service,
                step="",
                event=row.event_type,
                emitted=(),
                backward=row.event_type in BACKWARD,
                key=("", row.event_id),
            )
            for row in outbox.objects.filter(order_id=order_id)
        ]
    return sorted(entries, key=lambda entry: (entry.at, entry.step))
