"""From events to messages: each event to every step that hears it, up to `batch_limit` of them in one message.

`publish` returns when the broker has confirmed everything, and raises otherwise: an event is never taken for sent
before it is. Where messages go is a `Transport`: the broker, or in tests a bus in memory.

Delivery may be deferred: small batches reach deferrable steps up to 0.2 s later, merged into larger messages. Nobody
waits for a deferrable step, so the message that a single event costs is saved, and prompt steps find the workers free.
A row whose delivery is deferred has a `deferred_until`: an inbox row for what its step emitted, a row of the unsent
list for an event of the outbox. `sagas.relay` publishes what is due. `manage.py check` refuses a deferrable step whose
follow-up events a prompt step hears.
"""

import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from celery import current_app
from kombu import Connection, Producer

from sagas.conf import choreography, conf, hook
from sagas.crash_points import crash_point
from sagas.events import Event
from sagas.outages import Unavailable
from sagas.serializer import EVENTS
from sagas.topology import declare, destination, queues

Payload = Sequence[Any]  # events, or JSON-ready values
SMALL = 20  # events: below this the message costs more than the events in it

Hearers = Mapping[type[Event], Iterable[str]]  # the steps that events go to


def is_small(events: Sequence[Event]) -> bool:
    """Whether the delivery of these events to deferrable steps is deferred."""
    return 0 < len(events) < SMALL


def is_deferred(events: Sequence[Event]) -> bool:
    """Whether a deferrable step hears one of these events."""
    return any(choreography().deferrable[type(event)] for event in events)


def at_once(events: Sequence[Event]) -> Hearers:
    """The steps to publish these events to at once: all, or of a small batch those that are not deferrable."""
    return choreography().prompt if is_small(events) else choreography().heard_by


class Transport(Protocol):
    """Where messages go."""

    def send(self, step: str, payload: Payload, summary: str) -> None:
        """Hand the broker one message for a step; return once the broker has it, else raise."""

    def backlog(self) -> int:
        """How many messages wait in the longest queue."""


def publish(events: Iterable[Event], to: Hearers | None = None) -> None:
    """Send events to the steps that `to` says, by default to all that hear them.

    Raises what the transport raises when a message was not confirmed. Some of the others may be out by then, which is
    harmless: every step knows what it has handled.
    """
    hearers, limit = to or choreography().heard_by, conf().batch_limit
    by_type: dict[type[Event], list[Event]] = defaultdict(list)
    for event in events:
        by_type[type(event)].append(event)
    for event_type, batch in by_type.items():
        saga = choreography().saga_of[event_type].name
        for step in hearers[event_type]:
            for first in range(0, len(batch), limit):
                part = batch[first : first + limit]
                (key,), more = choreography().keys_of(part[:1]), ", …" if len(part) > 1 else ""
                crash_point("publisher.before_send")
                send(step, part, f"{len(part)} × {event_type.__name__} ({saga} {key}{more})")
                crash_point("publisher.confirmed")


def send(step: str, payload: Payload, summary: str) -> None:
    """Send one message to one step, whoever else hears its events; `summary` is what Flower shows of it."""
    for _ in range(hook().copies()):
        transport.send(step, payload, summary)


def backlog() -> int:
    """How many messages wait in the longest queue."""
    return transport.backlog()


def is_lost_on_exit() -> bool:
    """Whether published messages are lost when this process ends: those of the broker in memory are."""
    return transport is broker and str(current_app.conf.broker_url).startswith("memory:")


class Broker:
    """The message broker, one connection per thread.

    A connection that has raised is thrown away: after a confirm timed out, a reused channel was seen to report false
    confirms. `mandatory` makes an unroutable message an error; without it the broker confirms and drops it.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def send(self, step: str, payload: Payload, summary: str) -> None:
        with self.producer() as producer:
            current_app.send_task(
                step,
                args=[payload],
                producer=producer,
                **destination(step),
                user_id=producer.connection.userid,  # RabbitMQ refuses any but the connection's own
                serializer=EVENTS,
                headers=hook().headers(payload),
                argsrepr=summary,  # what Flower shows; the events themselves stay out of it
                mandatory=True,
                confirm_timeout=conf().confirm_timeout,
                declare=[],
                retry=False,
                ignore_result=True,
                add_to_parent=False,
            )

    def backlog(self) -> int:
        with self.producer() as producer:
            return max(int(producer.channel.queue_declare(one.name, passive=True).message_count) for one in queues())

    @contextmanager
    def producer(self) -> Iterator[Producer]:
        """This thread's producer, with its channel. An error in the block closes its connection, which returns what was
        not acknowledged to its queue."""
        try:
            yield self._connected()
        except BaseException as error:
            self.disconnect()
            if isinstance(error, OSError):  # all that amqp raises when a connection is lost
                raise Unavailable(f"The broker: {error}") from error
            raise

    def disconnect(self) -> None:
        """Drop this thread's connection; the next `send` opens another."""
        connection: Connection | None = getattr(self._local, "connection", None)
        self._local.__dict__.clear()
        if connection is not None:
            connection.collect()  # closes the socket without asking the broker, which may not answer

    def _connected(self) -> Producer:
        if getattr(self._local, "pid", None) != os.getpid():  # a forked child must not share its parent's socket
            self._local.__dict__.clear()
            confirming = {"confirm_publish": True}
            self._local.connection = connection = current_app.connection_for_write(transport_options=confirming)
            connection.ensure_connection(max_retries=1, timeout=conf().confirm_timeout)
            declare(connection)
            self._local.producer = current_app.amqp.Producer(connection, auto_declare=False)
            self._local.pid = os.getpid()
        producer: Producer = self._local.producer
        return producer


broker = Broker()
transport: Transport = broker  # in tests, another
