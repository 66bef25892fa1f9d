"""Are all messages of a saga instance accounted for? Each emitted event must be in the inbox of every step hearing it.

A queue that was purged, or a broker that came back empty, may have lost a message that no instance waits for, such as a
notification. So an instance that has ended is closed only when nothing of it is missing.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sagas.conf import choreography, hook
from sagas.db.prepared import query
from sagas.events import Event
from sagas.messages import Emitted, Messages


class Missing(NamedTuple):
    """An event that a step should have handled and has not."""

    key: int
    event_type: str
    step: str
    emitted_by: str  # the step, or "service.outbox"
    event_id: UUID


def missing(keys: Collection[int], *, before: datetime | None = None, of: type[Event] | None = None) -> list[Missing]:
    """What of these saga instances was emitted, up to a time, and not handled.

    `of` is an event of the saga in question: where there are several, instances of two may have the same key.

    Raises `Unavailable` when a service is away.
    """
    emitted: dict[UUID, Emitted] = {}
    handled: set[tuple[str, UUID]] = set()
    for service in choreography().services if keys else ():
        messages = hook().remote_messages(service, keys, before) or local_messages(service, keys, before)
        emitted.update((event.event_id, event) for event in messages.emitted)
        handled.update(messages.handled)
    saga = of and choreography().saga_of[of]
    return [
        Missing(event.key, event.event_type, step, event.source, event.event_id)
        for event in emitted.values()
        if (event_type := choreography().by_name.get(event.event_type))
        if saga in (None, choreography().saga_of[event_type])
        for step in choreography().heard_by[event_type]
        if (step, event.event_id) not in handled
    ]


def local_messages(service: str, keys: Collection[int], before: datetime | None = None) -> Messages:
    """What a service's own tables say: the events emitted up to a time, and all that were handled."""
    messages = Messages(emitted=[], handled=[])
    sent = _rows(service, "outbox", keys, "created_at, event_id, event_type, correlation_id")
    for at, event_id, event_type, key in sent:
        if before is None or at <= before:
            messages.emitted.append(Emitted(key, event_id, event_type, f"{service}.outbox"))
    received = _rows(service, "inbox", keys, "handled_at, step, event_id, correlation_id, emitted")
    for at, step, event_id, key, followers in received:
        messages.handled.append((step, event_id))
        if before is None or at <= before:
            messages.emitted.extend(Emitted(key, UUID(event["event_id"]), event["type"], step) for event in followers)
    return messages


def _rows(service: str, table: str, keys: Collection[int], columns: str) -> list[tuple[Any, ...]]:
    statement = f"SELECT {columns} FROM {service}_{table} WHERE correlation_id = ANY(%s::bigint[])"  # noqa: S608
    return query(service, statement, [list(keys)])
