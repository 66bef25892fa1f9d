"""Everything that happened to one order and its returns, joined from the outboxes, inboxes and dead letters of all
services. Orders and returns are numbered in one sequence, so a return's number tells of that return alone.

For operators (`manage.py saga ORDER_ID`, the console). Customers see `orders.TimelineEntry`, which needs one database.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.apps import apps
from django.utils import timezone

from sagas.conf import choreography
from sagas.outages import OUTAGES
from sagas.reconciliation import local_messages
from sagas.registry import local_services
from sagas.saga import service_of
from shop.contracts.events import origin
from shop.contracts.orders import FINAL
from shop.return_saga import RETURN
from shop.saga import ORDER, OTHERS_EVENTS

# The services of the sagas, in the order in which that of an order reaches them; those that only listen come last.
LANES = tuple(dict.fromkeys([*map(origin, ORDER.heard_by), *map(service_of, ORDER.steps)]))
BACKWARD_NAMES = {event.__name__ for saga in (ORDER, RETURN) for event in saga.backward}
TOLD = {*ORDER.heard_by, *RETURN.heard_by}
SAMPLE = 50  # orders, and returns, examined for the oldest waiting event


@dataclass(frozen=True)
class Entry:
    """A step handled an event or, without a step, a service emitted one from its outbox."""

    at: datetime
    service: str
    step: str  # "inventory.reserve_stock"; empty for an event from the outbox
    event: str  # type of the event handled, or emitted from the outbox
    emitted: tuple[str, ...]  # types of the events that followed
    backward: bool  # part of the way back: an event of it was handled, or emitted
    key: tuple[str, UUID]  # unique
    repeats: int = 0  # redeliveries after it was handled
    led_to: tuple[UUID, ...] = ()  # ids of the events that were emitted then


@dataclass(frozen=True)
class Dead:
    """A dead letter: an event that a step could not handle. `resolution` is empty while it is open."""

    at: datetime
    service: str
    step: str
    event: str
    pk: int
    attempts: int
    error: str  # its first line
    resolution: str
    event_id: UUID | None = None


@dataclass(frozen=True)
class Waiting:
    """An event that was emitted but that a step has not handled yet."""

    at: datetime  # of its emission
    service: str
    step: str
    event: str
    event_id: UUID

    @property
    def age(self) -> float:
        """Seconds since it was emitted."""
        return (timezone.now() - self.at).total_seconds()


@dataclass
class Story:
    """All that is known of an order's saga. `away` names the services whose databases are down."""

    entries: list[Entry] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    away: list[str] = field(default_factory=list)


def timeline(order_id: int) -> list[Entry]:
    """All entries of an order, oldest first; empty for an order that does not exist."""
    keys = _keys(order_id)
    entries = [entry for service in local_services() for entry in _entries(service, keys)]
    return sorted(entries, key=lambda entry: (entry.at, entry.step))


def story(order_id: int) -> Story:
    """The entries with dead letters and waiting events. A database that is down only removes its part."""
    told, keys = Story(), [order_id]
    with suppress(*OUTAGES):  # orders is away, as is said below
        keys = _keys(order_id)
    for service in local_services():
        try:
            told.entries += _entries(service, keys)
            told.dead += _dead_letters(service, keys)
        except OUTAGES:
            told.away.append(service)
    told.entries.sort(key=lambda entry: (entry.at, entry.step))
    told.dead.sort(key=lambda letter: letter.at)
    try:
        dead = {(letter.step, letter.event) for letter in told.dead if not letter.resolution}
        waiting = _waiting(keys, [service for service in local_services() if service not in told.away])
        told.waiting = sorted(
            (one for one in waiting if one.service not in told.away and (one.step, one.event) not in dead),
            key=lambda one: (one.at, one.step),
        )
    except OUTAGES:  # a database has just gone down; the next call reports it
        pass
    return told


def oldest_waiting() -> dict[str, datetime]:
    """{service: emission time of the oldest event that waits for it in its queue or in an outbox}.

    Examines the orders and returns without progress for the longest time, as none is made while an event waits.
    """
    orders = apps.get_model("orders", "Order").objects.filter(look_at__isnull=False).exclude(status__in=FINAL)
    returns = apps.get_model("orders", "Return").objects.filter(look_at__isnull=False)
    keys = [
        pk for rows in (orders, returns) for pk in rows.order_by("progress_at").values_list("pk", flat=True)[:SAMPLE]
    ]
    oldest: dict[str, datetime] = {}
    if keys:
        for one in _waiting(keys, local_services()):
            oldest[one.service] = min(one.at, oldest.get(one.service, one.at))
    return oldest


def _keys(order_id: int) -> list[int]:
    """The keys of an order's messages, and of its returns'."""
    returns = apps.get_model("orders", "Return").objects.filter(order_id=order_id)
    return [order_id, *returns.order_by("pk").values_list("pk", flat=True)]


def _entries(service: str, keys: Sequence[int]) -> Iterator[Entry]:
    inbox, outbox = apps.get_model(service, "Inbox"), apps.get_model(service, "Outbox")
    for row in _of(inbox, keys):
        emitted = tuple(event["type"] for event in row.emitted)
        yield Entry(
            at=row.handled_at,
            service=service,
            step=row.step,
            event=row.event_type,
            emitted=emitted,
            backward=not BACKWARD_NAMES.isdisjoint({row.event_type, *emitted}),
            key=(row.step, row.event_id),
            repeats=row.repeats,
            led_to=tuple(UUID(event["event_id"]) for event in row.emitted),
        )
    for row in _of(outbox, keys):
        yield Entry(
            at=row.created_at,
            service=service,
            step="",
            event=row.event_type,
            emitted=(),
            backward=row.event_type in BACKWARD_NAMES,
            key=("", row.event_id),
            led_to=(row.event_id,),
        )


def _dead_letters(service: str, keys: Sequence[int]) -> Iterator[Dead]:
    for letter in _of(apps.get_model(service, "DeadLetter"), keys):
        yield Dead(
            at=letter.created_at,
            service=service,
            step=letter.step,
            event=letter.event_type,
            pk=letter.pk,
            attempts=letter.attempts,
            error=letter.error.partition("\n")[0],
            resolution=letter.resolution,
            event_id=letter.event_id,
        )


def _of(model: Any, keys: Sequence[int]) -> Any:
    """The messages with these keys; a customer's, whose key is a user, may have the same key."""
    return model.objects.filter(correlation_id__in=keys).exclude(event_type__in=OTHERS_EVENTS)


def _waiting(keys: Sequence[int], services: Iterable[str]) -> list[Waiting]:
    """Events with these keys that were emitted but not handled, as these services know them."""
    emitted: dict[UUID, str] = {}
    handled: set[tuple[str, UUID]] = set()
    for service in services:
        messages = local_messages(service, keys)
        emitted.update((one.event_id, one.event_type) for one in messages.emitted)
        handled.update(messages.handled)
    return [
        Waiting(at=_emitted_at(event_id), service=service_of(step), step=step, event=event_type, event_id=event_id)
        for event_id, event_type in emitted.items()
        if (known := choreography().by_name.get(event_type)) and known in TOLD
        for step in choreography().heard_by[known]
        if (step, event_id) not in handled
    ]


def _emitted_at(event_id: UUID) -> datetime:
    """An event's creation time, read from its id (UUID version 7)."""
    return datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)
