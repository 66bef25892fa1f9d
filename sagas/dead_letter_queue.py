"""From the broker's dead-letter queues into the services' dead-letter tables, where they can be seen and replayed.

The broker sets aside a message that killed its worker again and again, could not be read, or is for an unknown task.
Each event in it that was not handled becomes a dead letter; a message without a readable event becomes one, as text. A
message is acknowledged only after that has been committed.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from django.apps import apps

from sagas import dead_letters
from sagas.conf import choreography
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from sagas.outages import OUTAGES
from sagas.publisher import broker

logger = logging.getLogger(__name__)

AT_MOST = 1.0  # seconds, after which no other message is taken: the outbox waits meanwhile
SHOWN = 10_000  # characters kept of what cannot be read


def drain(service: str) -> int:
    """Record what a service's dead-letter queue holds, for AT_MOST; how many messages that was.

    Raises what the broker or the database raises; what was not recorded by then stays in the queue.
    """
    query(service, "SELECT 1")  # take nothing that could not be recorded: requeueing counts against a limit
    taken, ends_at = 0, time.monotonic() + AT_MOST
    with broker.producer() as producer:
        channel = producer.channel
        while time.monotonic() < ends_at and (message := channel.basic_get(f"{service}.dead")):
            crash_point("deadqueue.taken")
            record_message(service, message.body, message.headers or {}, message.properties.get("user_id"))
            crash_point("deadqueue.kept")
            channel.basic_ack(message.delivery_tag)
            crash_point("deadqueue.acknowledged")
            taken += 1
    return taken


def record_message(service: str, body: bytes | str, headers: Mapping[str, Any], sender: str | None = None) -> None:
    """Record what a dead message carries. `sender` is the user of the broker who sent it."""
    step = dead_letters.storable(headers.get("task") or "no task")[:64]
    error = f"DeadLettered: {headers.get('x-first-death-reason', 'set aside')}"
    if step in choreography().timers:  # the next tick does its work
        logger.log(logging.DEBUG if "expired" in error else logging.ERROR, "A tick of %s is gone: %s", step, error)
        return
    try:
        for raw in _unhandled(service, step, _events(body)):
            kind = choreography().by_name.get(str(raw.get("type"))) if isinstance(raw, dict) else None
            dead_letters.record(service, step, raw, (kind and dead_letters.impostor(sender, kind)) or error)
    except OUTAGES:
        raise
    except Exception as poison:  # whatever it is, it must not block the messages behind it
        dead_letters.record(service, step, _text(body), f"{error}; {poison!r}")


def _events(body: bytes | str) -> list[Any]:
    """The events of a message as they arrived; what cannot be read, as one text."""
    with suppress(ValueError, TypeError, RecursionError):
        (events,), _, _ = msgspec.json.decode(body)
        if isinstance(events, list) and events:
            return events
    return [_text(body)]


def _text(body: bytes | str) -> str:
    return (body if isinstance(body, str) else body.decode(errors="backslashreplace"))[:SHOWN]


def _unhandled(service: str, step: str, events: Sequence[Any]) -> list[Any]:
    """Events that the step has not handled: its worker may have died with everything done."""
    ids = [dead_letters.id_of(event) for event in events]
    rows = apps.get_model(service, "Inbox").objects.filter(step=step, event_id__in=ids)
    handled = set(rows.values_list("event_id", flat=True))
    return [event for event, event_id in zip(events, ids, strict=True) if event_id not in handled]
