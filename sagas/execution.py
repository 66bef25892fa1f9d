"""What runs around a step, in this order and no other.

1. Decode. An event that cannot be decoded is dead-lettered, its neighbours go on.
2. Take the step's locks, outside the transaction.
3. If the step calls somebody outside: look up the inbox, and make the call for events not handled yet; outside any
   transaction.
4. In one transaction on the service's database: run the step on the events, insert one inbox row per event with what it
   emitted. If a row is there already, undo all this, look up the inbox, and go on with the fresh events alone.
5. Publish what was emitted, by fresh and by already handled events alike, and wait for the broker's confirm. Of few
   events the relay tells the steps that can wait.
6. Return; only then does Celery acknowledge the message.

A crash before 4 commits leaves no trace, a crash after it a message that comes again and finds its inbox row: the
stored events are published once more, and every step downstream knows what it has handled. So emitting the first
event of an order again replays the whole chain through what is done, up to where it broke off.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import stamina
from celery.exceptions import Reject
from django.conf import settings
from django.db import transaction

from sagas import dead_letters, inbox, outbox
from sagas.crash_points import crash_point
from sagas.outages import OUTAGES, ForeignOrder, drop_broken_connections
from sagas.publisher import are_few, publish
from sagas.steps import Step
from shop import faults
from shop.contracts.events import Event, decode, decode_all, encode
from shop.locks import holding
from shop.observability.metrics import REPEATED
from shop.observability.steps import observed
from shop.observability.tracing import trace_after
from shop.saga import prompt_steps, steps_hearing

logger = logging.getLogger(__name__)

T = TypeVar("T")

Handled = Mapping[UUID, Sequence[Event]]  # what was emitted for each event that is handled already, by its id


def execute(step: Step, payload: msgspec.Raw | Sequence[Any]) -> None:
    """Run a step on the events of one message, a list that is still JSON or what it stands for. Returns when everything
    is done and published.

    Raises `celery.exceptions.Reject` to give the message back to its queue when an outage outlasts our patience.
    """
    crash_point("step.received")
    faults.pause("step-delay")
    for batch in _one_per_order(_decode(step, payload)):
        _run_batch(step, batch)
    crash_point("step.finished")


def _decode(step: Step, payload: msgspec.Raw | Sequence[Any]) -> list[Event]:
    """The events of a message, each once; one that cannot be read becomes a dead letter."""
    if isinstance(payload, msgspec.Raw):
        with suppress(msgspec.DecodeError):  # then one by one, to tell which
            return _each_once(decode_all(payload, step.hears))
        payload = msgspec.json.decode(payload, type=list[msgspec.Raw])
    events = []
    for raw in payload:
        try:
            events.append(decode(raw, step.hears))
        except msgspec.DecodeError as error:
            _wait_out(partial(dead_letters.record, step, raw, error))
    return _each_once(events)


def _each_once(events: Sequence[Event]) -> list[Event]:
    return list({event.event_id.int: event for event in events}.values())


def _one_per_order(events: Sequence[Event]) -> list[list[Event]]:
    """Batches in which no order comes twice, so that an emitted event's order tells which event caused it."""
    batches: list[dict[int, Event]] = []
    for event in events:
        for batch in batches:
            if event.order_id not in batch:
                batch[event.order_id] = event
                break
        else:
            batches.append({event.order_id: event})
    return [list(batch.values()) for batch in batches]


def _run_batch(step: Step, batch: Sequence[Event]) -> None:
    """Handle and publish; if the batch fails, each half of it for itself, until a bad event fails alone."""
    try:
        with observed(step, batch):
            emitted = _wait_out(partial(handle, step, batch))
    except Reject:
        raise
    except Exception as error:
        if len(batch) > 1:
            logger.warning("%s failed for a batch of %d, now for its halves: %r", step.name, len(batch), error)
            middle = len(batch) // 2
            _run_batch(step, batch[:middle])
            _run_batch(step, batch[middle:])
        else:
            # Its name and order only: an event's contents do not belong into a log.
            logger.exception("%s cannot handle %s of order %s", step.name, type(batch[0]).__name__, batch[0].order_id)
            _wait_out(partial(dead_letters.record, step, encode(batch[0]), error))
        return
    _wait_out(partial(publish, emitted, prompt_steps if are_few(emitted) else steps_hearing))
    crash_point("step.published")


def handle(step: Step, batch: Sequence[Event]) -> list[Event]:
    """Parts 2 to 4: the effect of a batch and its record, and the events to publish for it."""
    with holding(*step.locks(batch)) if step.locks else nullcontext():
        handled: Handled = {}
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
            except (*OUTAGES, Reject):
                raise
            except Exception:
                # Because some of it is handled already, if its inbox rows say so. What comes again may raise anything
                # now: a key was changed, a rule has become stricter.
                known, handled = handled, inbox.handled(step, batch)
                if handled.keys() == known.keys():
                    raise


def _transact(step: Step, batch: Sequence[Event], handled: Handled, answer: tuple[Any, ...]) -> list[Event]:
    """The effect of those events that are not known to be `handled`, and its record.

    Raises `IntegrityError` when one of them turns out to be; all of this is undone then.
    """
    with transaction.atomic(using=step.service, durable=True):
        fresh = [event for event in batch if event.event_id not in handled] if handled else batch
        followers = _by_cause(step, fresh, step(fresh, *answer) if fresh else [])
        emitted = [follower for some in (*handled.values(), *followers) for follower in some]
        if fresh:
            inbox.keep(step, fresh, followers, owing=are_few(emitted))
        if handled:
            inbox.find_again(step, list(handled), owing=are_few(emitted))
            REPEATED.labels(step.name).inc(len(handled))
            outbox.rearm_followers(step.service, list(handled))
        crash_point("step.written")
    return emitted


def _by_cause(step: Step, fresh: Sequence[Event], outcome: Sequence[Event]) -> list[list[Event]]:
    """What the step emitted for each event, with the trace carried on."""
    causes = {event.order_id: event for event in fresh}
    emitted: dict[int, list[Event]] = {event.order_id: [] for event in fresh}
    for event in outcome:
        cause = causes.get(event.order_id)
        if cause is None:
            raise ForeignOrder(
                f"{step.name} emitted {type(event).__name__} for order {event.order_id}, not in its batch"
            )
        follower = msgspec.structs.replace(event, caused_by=cause.event_id, trace=trace_after(cause))
        emitted[cause.order_id].append(follower)
    return list(emitted.values())


def _wait_out(call: Callable[[], T]) -> T:
    """`call()`, again and again through an outage, with growing pauses; the message stays unacknowledged meanwhile."""
    try:
        return call()  # as nearly always: who waits for nothing needs no retrying made ready
    except OUTAGES as outage:
        logger.warning("Waiting: %s", outage)
    try:
        for attempt in stamina.retry_context(
            on=OUTAGES, attempts=None, timeout=settings.OUTAGE_PATIENCE, wait_initial=0.1, wait_max=5.0, wait_jitter=0.5
        ):
            with attempt:
                drop_broken_connections()
                return call()
    except OUTAGES as outage:
        raise Reject(outage, requeue=True) from outage
    raise AssertionError("unreachable: the loop returns or raises")


def run_sweep(name: str, sweep: Callable[[], int]) -> None:
    """Run timed work until nothing is due; an outage ends it until the next tick."""
    drop_broken_connections()
    try:
        while sweep():
            pass
    except OUTAGES as outage:
        logger.warning("%s put off: %s", name, outage)
        drop_broken_connections()
