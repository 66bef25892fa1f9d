"""Redelivers the events that a step has lost, for a service whose database was restored to an earlier time.

Such a service no longer knows what it has handled since, but all others do. Emitting an order's first event again does
not help: the service's step handles it as a new event and emits new events, which the next step ignores, because it
has had its effect for that order. So each step gets exactly the events it is missing, as their emitters stored them.

A service gets one event of an order at a time, oldest first, because each step builds on the ones before.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.utils import timezone

from sagas.conf import choreography
from sagas.events import Event, decode
from sagas.publisher import publish
from sagas.reconciliation import Missing, missing
from sagas.saga import service_of
from shop.contracts.events import OrderCreated

WINDOW = 500  # orders examined at a time
POLL_EVERY = 0.2  # seconds
PATIENCE = 60.0  # seconds without progress


class NotHandled(Exception):
    """A step has not handled an event that was redelivered to it."""


def missing_anywhere() -> Iterator[list[Missing]]:
    """Yield the events that steps have not handled, of all orders whose messages are still kept, in batches."""
    kept_since = timezone.now() - settings.SAGAS.retention + timedelta(days=1)  # services purge at different times
    ids = apps.get_model("orders", "Order").objects.filter(created_at__gt=kept_since).order_by("pk")
    last = 0
    while portion := list(ids.filter(pk__gt=last).values_list("pk", flat=True)[:WINDOW]):
        if lost := missing(portion, of=OrderCreated):
            yield lost
        last = portion[-1]


def fill(order_ids: Collection[int]) -> int:
    """Redeliver these orders' missing events until none is missing; return how many were sent.

    Raises `NotHandled` if a step makes no progress, and what the transport raises.
    """
    told = 0
    while lost := redeliver_oldest(order_ids):
        told += len(lost)
        _wait_for(set(lost), order_ids)
    return told


def _wait_for(told: set[Missing], order_ids: Collection[int]) -> None:
    give_up_at = time.monotonic() + PATIENCE
    while left := told & set(missing(order_ids, of=OrderCreated)):
        if left < told:
            told, give_up_at = left, time.monotonic() + PATIENCE
        elif time.monotonic() > give_up_at:
            one = min(left)
            raise NotHandled(
                f"{one.step} has not handled {one.event_type} of order {one.key}; {len(left) - 1} more are open."
                " Is its worker there? Is there a dead letter?"
            )
        time.sleep(POLL_EVERY)


def redeliver_oldest(order_ids: Collection[int]) -> list[Missing]:
    """Redeliver to each service, for each of these orders, its oldest missing event; return what was sent.

    Call it again once those are handled, until nothing is missing. Raises what the transport raises.
    """
    oldest: dict[tuple[int, str], Missing] = {}
    for lost in sorted(missing(order_ids, of=OrderCreated), key=lambda one: one.event_id):  # ids are in order of time
        oldest.setdefault((lost.key, service_of(lost.step)), lost)
    events = _stored(oldest.values())
    by_step: dict[str, list[Event]] = defaultdict(list)
    for lost in oldest.values():
        by_step[lost.step].append(events[lost.event_id])
    for step, forgotten in by_step.items():
        publish(forgotten, {type(event): [step] for event in forgotten})
    return list(oldest.values())


def _stored(lost: Iterable[Missing]) -> dict[UUID, Event]:
    """The events themselves, from the inboxes and outboxes of their emitters."""
    emitters: dict[str, set[int]] = defaultdict(set)
    for one in lost:
        emitters[service_of(one.emitted_by)].add(one.key)
    events: dict[UUID, Event] = {}
    for service, order_ids in emitters.items():
        inbox, outbox = (apps.get_model(service, table).objects for table in ("Inbox", "Outbox"))
        payloads = list(outbox.filter(correlation_id__in=order_ids).values_list("payload", flat=True))
        for emitted in inbox.filter(correlation_id__in=order_ids).values_list("emitted", flat=True):
            payloads += emitted
        events.update(
            (event.event_id, event) for event in (decode(payload, choreography().events) for payload in payloads)
        )
    return events
