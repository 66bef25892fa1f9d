"""One event of an order, as it was emitted, with the dead letters of steps that failed to handle it."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.apps import apps

from sagas.outages import OUTAGES
from sagas.registry import local_services
from shop.redaction import masked


@dataclass
class Event:
    """`emitted_by` is a step, or the service whose outbox it came from."""

    payload: dict[str, Any] = field(default_factory=dict)
    emitted_by: str = ""
    letters: list[Any] = field(default_factory=list)


def look_up(order_id: int, event_id: UUID) -> Event | None:
    """Return the event from whichever database has it; None if no available database does."""
    found = Event()
    for service in local_services():
        try:
            outbox, inbox = apps.get_model(service, "Outbox"), apps.get_model(service, "Inbox")
            for row in outbox.objects.filter(event_id=event_id, correlation_id=order_id):
                found.payload, found.emitted_by = masked(row.payload), service
            for row in inbox.objects.filter(correlation_id=order_id):
                for event in row.emitted:
                    if event.get("event_id") == str(event_id):
                        found.payload, found.emitted_by = masked(event), row.step
            letters = apps.get_model(service, "DeadLetter").objects
            found.letters += letters.filter(event_id=event_id, correlation_id=order_id).order_by("pk")
        except OUTAGES:
            continue
    return found if found.payload or found.letters else None
