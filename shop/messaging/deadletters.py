"""Events that a step could not handle: recorded, shown in the admin, replayed, resolved by a later success."""

import json
import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from shop.contracts.events import Event
from shop.messaging.publisher import send
from shop.messaging.steps import Step

logger = logging.getLogger(__name__)


def record(step: Step, raw: Any, error: Exception) -> None:
    """Keep an event that could not be handled; once per step and event, with the number of attempts."""
    dead_letter = apps.get_model(step.service, "DeadLetter")
    fields = raw if isinstance(raw, dict) else {}
    event_id, order_id = _uuid(fields.get("event_id")), fields.get("order_id")
    logger.error("Dead letter at %s: %s", step.name, error)
    values = {
        "event_type": _storable(fields.get("type", ""))[:64],
        "order_id": order_id if isinstance(order_id, int) and abs(order_id) < 2**63 else None,
        "payload": json.dumps(raw),
        "error": _storable(f"{type(error).__name__}: {error}"),
    }
    with transaction.atomic(using=step.service, durable=True):
        # What has no readable id is known by what it is.
        identity = {"event_id": event_id} if event_id else {"event_id": None, "payload": values["payload"]}
        row, created = dead_letter.objects.get_or_create(step=step.name, **identity, defaults=values)
        if not created:
            dead_letter.objects.filter(pk=row.pk).update(
                **values, attempts=F("attempts") + 1, resolved_at=None, resolution="", updated_at=timezone.now()
            )


def resolve(step: Step, events: Sequence[Event]) -> None:
    """The step has handled these after all. Within the transaction of the effect."""
    dead_letter = apps.get_model(step.service, "DeadLetter")
    dead_letter.objects.filter(
        step=step.name, event_id__in=[event.event_id for event in events], resolved_at=None
    ).update(resolved_at=timezone.now(), resolution=dead_letter.Resolution.HANDLED)


def replay(row: Any) -> None:
    """Send a dead letter to its step once more; the step's success resolves it. Raises when the broker is away."""
    send(row.step, [json.loads(row.payload)], f"replay of {row}")


def discard(row: Any) -> None:
    """Give a dead letter up: somebody has looked and decided that the event needs no handling."""
    type(row).objects.filter(pk=row.pk, resolved_at=None).update(
        resolved_at=timezone.now(), resolution=row.Resolution.DISCARDED
    )


def _storable(value: Any) -> str:
    """A text that PostgreSQL takes, whatever a poisonous message had in it."""
    return str(value).replace("\0", "").encode(errors="backslashreplace").decode()


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        return None
