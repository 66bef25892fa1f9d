"""Events that a step has forgotten, told to it once more.

A service whose database was restored to an earlier time no longer knows what it has handled since, and everybody else
does. Emitting an order's first event again does not mend that: the service's step takes it for a new one, and what it
emits then is new to the next step, too, which has had its effect for that order and says nothing. So each step is told
the very events that it misses, as those who emitted them keep them.

Of an order, a service is told one event at a time, the oldest first: what it does depends on what it has done before.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from functools import partial
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.utils import timezone

from sagas.conf import choreography
from sagas.events import Event, decode
from sagas.publisher import publish
from sagas.reconciliation import Missing, missing
from sagas.saga import service_of

WINDOW = 500  # orders looked at together
LOOK_EVERY = 0.2  # seconds
PATIENCE = 60.0  # seconds without an event being handled


class NotHandled(Exception):
    """A step was told an event that it had forgotten, and has not handled it."""


def missing_anywhere() -> Iterator[list[Missing]]:
    """What steps have not handled of all orders whose messages are still kept, in portions."""
    kept_since = timezone.now() - settings.SAGAS.retention + timedelta(days=1)  # purges do not come at the same moment
    ids = apps.get_model("orders", "Order").objects.filter(created_at__gt=kept_since).order_by("pk")
    last = 0
    while portion := list(ids.filter(pk__gt=last).values_list("pk", flat=True)[:WINDOW]):
        if lost := missing(portion):
            yield lost
        last = portion[-1]


def fill(order_ids: Collection[int]) -> int:
    """Tell these orders' steps what they miss until nothing is missing; how many events that was.

    Raises `NotHandled` when a step does not get on with it, and what the transport raises.
    """
    told = 0
    while lost := tell_oldest(order_ids):
        told += len(lost)
        _wait_for(set(lost), order_ids)
    return told


def _wait_for(told: set[Missing], order_ids: Collection[int]) -> None:
    give_up_at = time.monotonic() + PATIENCE
    while left := told & set(missing(order_ids)):
        if left < told:
            told, give_up_at = left, time.monotonic() + PATIENCE
        elif time.monotonic() > give_up_at:
            one = min(left)
            raise NotHandled(
                f"{one.step} has not handled {one.event_type} of order {one.key}; {len(left) - 1} more are open."
                " Is its worker there? Is there a dead letter?"
            )
        time.sleep(LOOK_EVERY)


def tell_oldest(order_ids: Collection[int]) -> list[Missing]:
    """Tell each service, for each of these orders, the oldest event that it misses; returns what was told.

    To be called again when that has been handled, until nothing is missing. Raises what the transport raises.
    """
    oldest: dict[tuple[int, str], Missing] = {}
    for lost in sorted(missing(order_ids), key=lambda one: one.event_id):  # ids sort by time
        oldest.setdefault((lost.key, service_of(lost.step)), lost)
    events = _stored(oldest.values())
    by_step: dict[str, list[Event]] = defaultdict(list)
    for lost in oldest.values():
        by_step[lost.step].append(events[lost.event_id])
    for step, forgotten in by_step.items():
        publish(forgotten, partial(_only, step))
    return list(oldest.values())


def _only(step: str, _: type[Event]) -> tuple[str]:
    return (step,)


def _stored(lost: Iterable[Missing]) -> dict[UUID, Event]:
    """The events themselves, from the inboxes and outboxes of those who emitted them."""
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
