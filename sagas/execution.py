"""What runs around a step, in this order and no other.

1. Decode. An event that cannot be decoded, or whose sender may not emit it, becomes a dead letter; the other events of
   the message are handled.
2. Take the step's locks, outside the transaction.
3. If the step calls the outside world: look up the inbox, and make the call for events not handled yet, outside any
   transaction.
4. In one transaction on the service's database: run the step on the events, and insert one inbox row per event with
   what it emitted. If a row exists already, roll back, look up the inbox, and continue with the fresh events alone.
5. Publish what was emitted, for fresh and handled events alike, and wait for the broker's confirm. Of a small batch,
   delivery to deferrable steps is deferred (`sagas.publisher`).
6. Return; only then does Celery acknowledge the message.

A crash before 4 commits leaves no trace. A crash after it leaves a message that is redelivered and finds its inbox row:
the stored events are published once more, and each step downstream ignores what it has handled. So emitting a saga's
first event again replays the whole chain through what is done, up to where it broke off.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import stamina
from celery import current_task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from django.db import transaction

from sagas import dead_letters, inbox, outbox
from sagas.conf import choreography, conf, hook
from sagas.crash_points import crash_point
from sagas.events import Event, encode
from sagas.outages import OUTAGES, drop_broken_connections
from sagas.publisher import at_once, is_small, publish
from sagas.registry import AnyStep

logger = logging.getLogger(__name__)

T = TypeVar("T")

FollowersById = Mapping[UUID, Sequence[Event]]  # what was emitted for each event that is handled already, by its id


class ForeignEvent(ValueError):
    """A step emitted an event for a saga instance that is not in its batch, so no cause can be recorded for it."""


def execute(step: AnyStep, payload: msgspec.Raw | Sequence[Any]) -> None:
    """Run a step on the events of one message: a list, still JSON or decoded. Returns when all is done and published.

    Raises `celery.exceptions.Reject` to requeue the message when an outage outlasts `Settings.patience`, or when it
    takes too long: what hangs need not be the fault of its events, and the broker counts how often it comes back.
    """
    crash_point("step.received")
    hook().message_received()
    try:
        for batch in _one_per_instance(_decode(step, payload)):
            _run_batch(step, batch)
    except SoftTimeLimitExceeded as hang:
        raise Reject(hang, requeue=True) from hang
    crash_point("step.finished")


def _decode(step: AnyStep, payload: msgspec.Raw | Sequence[Any]) -> list[Event]:
    """The events of a message, each once. What cannot be read, or is from the wrong sender, becomes a dead letter."""
    found = _wait_out(partial(dead_letters.readable, step.service, step.name, payload, step.hears))
    events = list({event.event_id.int: event for event in found if event}.values())
    sender = ((current_task and current_task.request.properties) or {}).get("user_id")
    refused = {kind: why for kind in set(map(type, events)) if (why := dead_letters.impostor(sender, kind))}
    for event in [one for one in events if type(one) in refused] if refused else []:
        _set_aside(step, event, refused[type(event)])
    return [event for event in events if type(event) not in refused] if refused else events


def _one_per_instance(events: Sequence[Event]) -> list[list[Event]]:
    """Batches with one event per saga instance, so that an emitted event's key tells which event caused it."""
    batches: list[list[Event]] = []
    while events:
        first: dict[int, Event] = {}
        keys = choreography().keys_of(events)
        events = [one for key, one in zip(keys, events, strict=True) if first.setdefault(key, one) is not one]
        batches.append(list(first.values()))
    return batches


def _run_batch(step: AnyStep, batch: Sequence[Event]) -> None:
    """Handle and publish; if the batch fails, each half of it by itself, until a bad event fails alone."""
    try:
        with hook().handling(step.name, batch):
            emitted = _wait_out(partial(handle, step, batch))
    except (Reject, SoftTimeLimitExceeded):
        raise
    except Exception as error:
        if len(batch) > 1:
            logger.warning("%s failed for a batch of %d, now for its halves: %r", step.name, len(batch), error)
            middle = len(batch) // 2
            _run_batch(step, batch[:middle])
            _run_batch(step, batch[middle:])
        else:
            (event,), (key,) = batch, choreography().keys_of(batch)  # an event's contents do not belong in a log
            logger.exception("%s cannot handle %s of %s", step.name, type(event).__name__, key)
            _set_aside(step, event, error)
        return
    _wait_out(partial(publish, emitted, at_once(emitted)))
    crash_point("step.published")


def handle(step: AnyStep, batch: Sequence[Event]) -> list[Event]:
    """Parts 2 to 4: the effect of a batch and its record; returns the events to publish for it."""
    with hook().locks(step.locks(batch)) if step.locks else nullcontext():
        handled: FollowersById = {}
        answer: tuple[Any, ...] = ()
        if step.outside:
            handled = inbox.handled(step, batch)
            fresh = [event for event in batch if event.event_id not in handled]
            crash_point("step.looked_up")
            answer = (step.outside(fresh) if fresh else {},)
            crash_point("step.answered")
        while True:
            try:
                emitted = _transact(step, batch, handled, answer)
                crash_point("step.committed")
                return emitted
            except (*OUTAGES, Reject, SoftTimeLimitExceeded):
                raise
            except Exception:
                # A redelivered event may fail a rule it passed before, so consult the inbox: if it names events as
                # handled that were not known to be, continue without them.
                known, handled = handled, inbox.handled(step, batch)
                if handled.keys() == known.keys():
                    raise


def _transact(step: AnyStep, batch: Sequence[Event], handled: FollowersById, answer: tuple[Any, ...]) -> list[Event]:
    """The effect of those events that are not known to be `handled`, and its record.

    Raises `IntegrityError`, with all of this rolled back, when one of them turns out to be.
    """
    with transaction.atomic(using=step.service, durable=True):
        fresh = [event for event in batch if event.event_id not in handled] if handled else batch
        followers = _by_cause(step, fresh, step(fresh, *answer) or ()) if fresh else []
        emitted = [follower for some in (*handled.values(), *followers) for follower in some]
        if fresh:
            inbox.record(step, fresh, followers, defer=is_small(emitted))
        if handled:
            inbox.record_redelivery(step, list(handled), defer=is_small(emitted))
            hook().redelivered(step.name, len(handled))
            outbox.rearm(step.service, causes=handled)
        crash_point("step.written")
    return emitted


def _by_cause(step: AnyStep, fresh: Sequence[Event], outcome: Sequence[Event]) -> list[list[Event]]:
    """For each event, what the step emitted because of it, with cause and trace filled in."""
    keys_of = choreography().keys_of
    causes = dict(zip(keys_of(fresh), fresh, strict=True))
    emitted: dict[int, list[Event]] = {key: [] for key in causes}
    trace_after = hook().trace_after
    for key, event in zip(keys_of(outcome), outcome, strict=True):
        cause = causes.get(key)
        if cause is None:
            raise ForeignEvent(f"{step.name} emitted {type(event).__name__} for {key}, which is not in its batch")
        emitted[key].append(msgspec.structs.replace(event, caused_by=cause.event_id, trace=trace_after(cause)))
    return list(emitted.values())


def _set_aside(step: AnyStep, event: Event, error: Exception) -> None:
    _wait_out(partial(dead_letters.record, step.service, step.name, encode(event), error))


def _wait_out(call: Callable[[], T]) -> T:
    """`call()`, repeated through an outage with growing pauses; the message stays unacknowledged meanwhile."""
    try:
        return call()  # fast path: skip retry setup
    except OUTAGES as outage:
        logger.warning("Waiting: %s", outage)

    def again() -> T:
        drop_broken_connections()
        return call()

    patience = conf().patience
    retry = stamina.RetryingCaller(attempts=None, timeout=patience, wait_initial=0.1, wait_max=5.0, wait_jitter=0.5)
    try:
        return retry(OUTAGES, again)
    except OUTAGES as outage:
        raise Reject(outage, requeue=True) from outage


def run_timer(name: str, work: Callable[[], int]) -> None:
    """Run a timer's work until nothing is due; an outage ends it until the next tick."""
    drop_broken_connections()
    try:
        while work():
            pass
    except OUTAGES as outage:
        logger.warning("%s put off: %s", name, outage)
        drop_broken_connections()
