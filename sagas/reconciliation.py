"""Are all messages of an order accounted for? Each event emitted must be in the inbox of every step that hears it.

A queue that was purged, or a broker that came back empty, may have lost a message that no order waits for: a stock
shipment, a notification. So an order that has ended is closed only when nothing of it is missing. Each service is
asked for its own messages, in process or over HTTP.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.apps import apps

from sagas.topology import SERVICES_WITH_QUEUES
from shop.calls.rpc import connect
from shop.contracts.events import by_name
from shop.contracts.messages import Emitted, Handled, Messages, MessagesService
from shop.saga import steps_hearing


class Missing(NamedTuple):
    """An event that a step should have handled and has not."""

    order_id: int
    event_type: str
    step: str
    emitted_by: str  # the step, or "service.outbox"
    event_id: UUID


def missing(order_ids: Collection[int], *, before: datetime | None = None) -> list[Missing]:
    """What of these orders was emitted, up to a time, and not handled. Raises `Unavailable` when a service is away."""
    emitted: dict[UUID, Emitted] = {}
    handled: set[tuple[str, UUID]] = set()
    for service in SERVICES_WITH_QUEUES:
        messages = connect(MessagesService, of=service).get_messages(order_ids, before)
        emitted.update((event.event_id, event) for event in messages.emitted)
        handled.update((one.step, one.event_id) for one in messages.handled)
    return [
        Missing(event.order_id, event.event_type, step, event.source, event.event_id)
        for event in emitted.values()
        for step in steps_hearing(by_name(event.event_type))
        if (step, event.event_id) not in handled
    ]


class LocalMessages:
    """`shop.contracts.messages.MessagesService` on a service's own tables."""

    def __init__(self, service: str) -> None:
        self._service = service

    def get_messages(self, order_ids: Collection[int], before: datetime | None = None) -> Messages:
        messages = Messages(emitted=[], handled=[])
        for at, event_id, event_type, order_id in self._rows(
            "Outbox", order_ids, "created_at", "event_id", "event_type", "order_id"
        ):
            if before is None or at <= before:
                messages.emitted.append(Emitted(order_id, event_id, event_type, f"{self._service}.outbox"))
        for at, step, event_id, order_id, followers in self._rows(
            "Inbox", order_ids, "handled_at", "step", "event_id", "order_id", "emitted"
        ):
            messages.handled.append(Handled(step, event_id))
            if before is None or at <= before:
                messages.emitted.extend(
                    Emitted(order_id, UUID(event["event_id"]), event["type"], step) for event in followers
                )
        return messages

    def _rows(self, table: str, order_ids: Collection[int], *columns: str) -> Iterable[tuple]:
        rows = apps.get_model(self._service, table).objects.filter(order_id__in=order_ids)
        return rows.values_list(*columns).iterator()
