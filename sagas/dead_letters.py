"""Events that could not be handled: recorded, shown in the admin, replayed, resolved by a later success."""

import json
import logging
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec
from django.apps import apps
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from sagas.conf import choreography, hook
from sagas.crash_points import crash_point
from sagas.events import Event, EventTypes, decode, decode_all
from sagas.publisher import publish, send
from sagas.registry import STEPS

logger = logging.getLogger(__name__)

RELAY = "relay"  # in place of a step's name: an event that this release cannot read, after a rollback for example


class NoSuchStep(LookupError):
    """The message was for a step that does not exist, or exists no more."""


class Impostor(ValueError):
    """An event was sent by a user of the broker that may not emit it."""


REFUSALS = (NoSuchStep, Impostor, msgspec.DecodeError)  # why a dead letter is not replayed


def record(service: str, step: str, raw: Any, error: Exception | str) -> None:
    """Record an event, as it arrived, that was not handled: once per step and event, with the number of attempts."""
    dead_letter = apps.get_model(service, "DeadLetter")
    if isinstance(raw, msgspec.Raw):
        raw = json.loads(bytes(raw))
    step, event_id = storable(step)[:64], id_of(raw)
    told = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    logger.error("Dead letter at %s: %s", step, told)
    values = {
        "event_type": storable(raw.get("type", "") if isinstance(raw, dict) else "")[:64],
        "correlation_id": _key_of(raw),
        "payload": json.dumps(raw),
        "error": storable(told),
        "traceback": "" if isinstance(error, str) else storable("".join(traceback.format_exception(error))),
    }
    # Without a readable id, an event is known by its contents.
    identity = {"step": step, "event_id": event_id} | ({} if event_id else {"payload": values["payload"]})
    with transaction.atomic(using=service, durable=True):
        again = dead_letter.objects.filter(**identity).update(
            **values, attempts=F("attempts") + 1, resolved_at=None, resolution="", updated_at=timezone.now()
        )
        if not again:
            dead_letter.objects.bulk_create([dead_letter(**identity | values)], ignore_conflicts=True)
        crash_point("deadletter.written")
    crash_point("deadletter.committed")


def readable(service: str, step: str, raws: str | msgspec.Raw | Sequence[Any], types: EventTypes) -> list[Event | None]:
    """The events of a list, JSON or decoded; None for each that is of none of these types: it becomes a dead letter."""
    if isinstance(raws, str | msgspec.Raw):
        with suppress(msgspec.DecodeError):  # then one by one, to tell which
            return [*decode_all(raws, types)]
        raws = msgspec.json.decode(raws, type=list[msgspec.Raw])
    return [_readable(service, step, raw, types) for raw in raws]


def _readable(service: str, step: str, raw: Any, types: EventTypes) -> Event | None:
    try:
        return decode(raw, types)
    except msgspec.DecodeError as error:
        record(service, step, raw, error)
        return None


def impostor(sender: str | None, kind: type[Event]) -> Impostor | None:
    """Why an event of this type is refused from this user of the broker; None if it is not."""
    return None if hook().may_emit(sender, kind) else Impostor(f"{kind.__name__} from {sender or 'nobody'}")


def replay(row: Any, *, trust_sender: bool = False) -> None:
    """Send a dead letter to its step once more; the step's success resolves it.

    It is sent in the name of this process, which every step may trust: so an impostor's event is refused, unless
    somebody has found out that its sender can be trusted.

    Raises one of `REFUSALS`, which is `msgspec.DecodeError` for an event that still cannot be read, and what the
    transport raises.
    """
    raw, reason = json.loads(row.payload), row.error.partition("\n")[0]
    if reason.startswith(f"{Impostor.__name__}:") and not trust_sender:
        raise Impostor(f"{row} cannot be replayed without --trust-sender. {reason}")
    if row.step == RELAY:
        publish([decode(raw, choreography().events)])
        _resolve(row, row.Resolution.HANDLED)
    elif row.step in STEPS:
        send(row.step, [raw], f"replay of {row}")
    else:
        raise NoSuchStep(f"{row} cannot be replayed: there is no step {row.step!r}.")


def discard(row: Any, reason: str = "") -> bool:
    """Give a dead letter up: somebody has looked and decided that the event needs no handling.

    The reason is kept below the error. Returns whether the letter was still open.
    """
    note = storable(f"\nDiscarded: {reason}") if reason else ""
    return _resolve(row, row.Resolution.DISCARDED, error=row.error + note)


def _resolve(row: Any, resolution: str, **changes: Any) -> bool:
    still_open = type(row).objects.filter(pk=row.pk, resolved_at=None)
    return bool(still_open.update(resolved_at=timezone.now(), resolution=resolution, **changes))


def _key_of(raw: Any) -> int | None:
    """The value of the correlation key, if that much of an event can be read."""
    found = [raw.get(saga.key) for saga in choreography().sagas] if isinstance(raw, dict) else []
    return next((key for key in found if isinstance(key, int) and abs(key) < 2**63), None)


def storable(value: Any) -> str:
    """A text that PostgreSQL takes, whatever a poisonous message had in it."""
    return str(value).replace("\0", "").encode(errors="backslashreplace").decode()


def id_of(raw: Any) -> UUID | None:
    """The id of an event as it arrived, if that much of it can be read."""
    try:
        return UUID(raw["event_id"])
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
