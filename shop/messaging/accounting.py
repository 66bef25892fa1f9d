"""Are all messages of an order accounted for? Each event emitted must be in the inbox of every step that hears it.

A queue that was purged, or a broker that came back empty, may have lost a message that no order waits for: a stock
shipment, a notification. So an order that has ended is closed only when nothing of it is missing.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.apps import apps

from shop.contracts.events import by_name
from shop.messaging.outbox import local_services
from shop.saga import service_of, steps_hearing


class Missing(NamedTuple):
    """An event that a step should have handled and has not."""

    order_id: int
    event_type: str
    step: str
    emitted_by: str  # the step, or "service.outbox"


def missing(order_ids: Collection[int], *, before: datetime | None = None) -> list[Missing]:
    """What of these orders was emitted, up to a time, and not handled, as far as the services of this process know."""
    emitted: dict[UUID, tuple[int, str, str]] = {}
    handled: set[tuple[str, UUID]] = set()
    for service in local_services():
        for at, event_id, event_type, order_id in _rows(
            service, "Outbox", order_ids, "created_at", "event_id", "event_type", "order_id"
        ):
            if before is None or at <= before:
                emitted[event_id] = (order_id, event_type, f"{service}.outbox")
        for at, step, event_id, order_id, followers in _rows(
            service, "Inbox", order_ids, "handled_at", "step", "event_id", "order_id", "emitted"
        ):
            handled.add((step, event_id))
            if before is None or at <= before:
                for event in followers:
                    emitted[UUID(event["event_id"])] = (order_id, event["type"], step)
    local = set(local_services())
    return [
        Missing(order_id, event_type, step, emitted_by)
        for event_id, (order_id, event_type, emitted_by) in emitted.items()
        for step in steps_hearing(by_name(event_type))
        if service_of(step) in local and (step, event_id) not in handled
    ]


def _rows(service: str, table: str, order_ids: Collection[int], *columns: str) -> Iterable[tuple]:
    return apps.get_model(service, table).objects.filter(order_id__in=order_ids).values_list(*columns).iterator()
