"""Events that a step could not handle: recorded, shown in the admin, replayed, resolved by a later success
(`sagas.inbox`)."""

import json
import logging
from typing import Any
from uuid import UUID

import msgspec
from django.apps import apps
from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.utils import timezone

from sagas.crash_points import crash_point
from sagas.publisher import send
from sagas.steps import STEPS, Step

logger = logging.getLogger(__name__)


class NoSuchStep(LookupError):
    """The message was for a step that does not exist, or exists no more."""


def record(step: Step, raw: Any, error: Exception) -> None:
    """Keep an event that a step could not handle."""
    keep(step.service, step.name, raw, f"{type(error).__name__}: {error}")


def keep(service: str, step: str, raw: Any, error: str) -> None:
    """Keep an event, as it arrived, that was not handled; once per step and event, with the number of attempts."""
    dead_letter = apps.get_model(service, "DeadLetter")
    if isinstance(raw, msgspec.Raw):
        raw = json.loads(bytes(raw))
    fields = raw if isinstance(raw, dict) else {}
    step, event_id, order_id = storable(step)[:64], id_of(raw), fields.get("order_id")
    logger.error("Dead letter at %s: %s", step, error)
    values = {
        "event_type": storable(fields.get("type", ""))[:64],
        "order_id": order_id if isinstance(order_id, int) and abs(order_id) < 2**63 else None,
        "payload": json.dumps(raw),
        "error": storable(error),
    }
    # What has no readable id is known by what it is.
    identity = {"step": step, "event_id": event_id} | ({} if event_id else {"payload": values["payload"]})
    with transaction.atomic(using=service, durable=True):
        again = dead_letter.objects.filter(**identity).update(
            **values, attempts=F("attempts") + 1, resolved_at=None, resolution="", updated_at=timezone.now()
        )
        if not again:
            dead_letter.objects.bulk_create([dead_letter(**identity | values)], ignore_conflicts=True)
        crash_point("deadletter.written")
    crash_point("deadletter.committed")


def replay(row: Any) -> None:
    """Send a dead letter to its step once more; the step's success resolves it.

    Raises `NoSuchStep`, and what the transport raises when the broker is away.
    """
    if row.step not in STEPS:
        raise NoSuchStep(f"{row} cannot be replayed: there is no step {row.step!r}.")
    send(row.step, [json.loads(row.payload)], f"replay of {row}")


def discard(row: Any, reason: str = "") -> bool:
    """Give a dead letter up: somebody has looked and decided that the event needs no handling.

    The reason is kept under the error. Returns whether the letter was still open.
    """
    note = Value(storable(f"\nDiscarded: {reason}") if reason else "")
    return bool(
        type(row)
        .objects.filter(pk=row.pk, resolved_at=None)
        .update(resolved_at=timezone.now(), resolution=row.Resolution.DISCARDED, error=Concat("error", note))
    )


def storable(value: Any) -> str:
    """A text that PostgreSQL takes, whatever a poisonous message had in it."""
    return str(value).replace("\0", "").encode(errors="backslashreplace").decode()


def id_of(raw: Any) -> UUID | None:
    """The id of an event as it arrived, if that much of it can be read."""
    try:
        return UUID(raw["event_id"])
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
