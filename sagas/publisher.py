"""From events to messages: each event to every step that hears it, up to `BATCH_LIMIT` of them in one message.

`publish` returns when the broker has confirmed everything, and raises otherwise: an event is never known to be sent
before it is. Where messages go is a `Transport`, the broker in production and a bus in memory in tests.
"""

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from celery import current_app
from django.conf import settings
from kombu import Connection, Producer

from sagas.crash_points import crash_point
from sagas.outages import Unavailable
from sagas.serializer import EVENTS
from sagas.topology import QUEUES, declare
from shop import faults
from shop.contracts.events import Event
from shop.observability.tracing import headers_for
from shop.saga import service_of, steps_hearing

Payload = Sequence[Any]  # events, or what was kept of some, ready to be JSON


class Transport(Protocol):
    """Where messages go."""

    def send(self, step: str, payload: Payload, summary: str) -> None:
        """Hand one message, `payload` for `step`, to the broker; return when it has it, else raise."""

    def backlog(self) -> int:
        """How many messages wait in the longest queue."""


T = TypeVar("T", bound=Transport)

FEW = 20  # events; what a message costs beside them is then still the larger part


def publish(events: Iterable[Event], to: Callable[[type[Event]], Iterable[str]] = steps_hearing) -> None:
    """Send events to the steps that hear them, or to those `to(event type)` among them.

    Raises what the transport raises when a message was not confirmed; some of the others may be out by then, which
    is harmless, for every step knows what it has handled.
    """
    by_type: dict[type[Event], list[Event]] = defaultdict(list)
    for event in events:
        by_type[type(event)].append(event)
    for event_type, batch in by_type.items():
        for step in to(event_type):
            for first in range(0, len(batch), settings.BATCH_LIMIT):
                part = batch[first : first + settings.BATCH_LIMIT]
                more = ", …" if len(part) > 1 else ""
                crash_point("publisher.before_send")
                send(step, part, f"{len(part)} × {event_type.__name__} (order {part[0].order_id}{more})")
                crash_point("publisher.confirmed")


def are_few(events: Sequence[Event]) -> bool:
    """Whether steps that can wait are better told of these together with others, by the relay."""
    return 0 < len(events) < FEW


def send(step: str, payload: Payload, summary: str) -> None:
    """Send one message to one step, whoever else hears its events; `summary` is what Flower shows of it."""
    for _ in range(faults.copies()):
        _transport.send(step, payload, summary)


def backlog() -> int:
    """How many messages wait in the longest queue."""
    return _transport.backlog()


def heard_here_only() -> bool:
    """Whether what is sent stays in this process: the broker in memory has no other listeners."""
    return _transport is broker and settings.BROKER_URL.startswith("memory:")


class Broker:
    """The message broker, one connection per thread.

    A connection that has raised is thrown away: after a timed-out confirm a reused channel was seen to report
    false ones. `mandatory` makes an unroutable message an error; without it the broker confirms and drops it.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def send(self, step: str, payload: Payload, summary: str) -> None:
        with self._producer() as producer:
            current_app.send_task(
                step,
                args=[payload],
                producer=producer,
                queue=service_of(step),
                serializer=EVENTS,
                headers=headers_for(payload),
                argsrepr=summary,  # what Flower shows; the events themselves stay out of it
                mandatory=True,
                confirm_timeout=settings.CONFIRM_TIMEOUT,
                declare=[],
                retry=False,
                ignore_result=True,
                add_to_parent=False,
            )

    def backlog(self) -> int:
        with self.channel() as channel:
            return max(channel.queue_declare(queue.name, passive=True).message_count for queue in QUEUES)

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """This thread's channel. An error in the block ends its connection, which gives back what was taken from it."""
        with self._producer() as producer:
            yield producer.channel

    @contextmanager
    def _producer(self) -> Iterator[Producer]:
        try:
            yield self._connected()
        except BaseException as error:
            self.disconnect()
            if isinstance(error, OSError):  # what amqp says of a lost connection is often no more than that
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
            # Confirms for what must not be lost; Celery's own chatter (task events, ticks) does without.
            options = {} if settings.BROKER_URL.startswith("memory:") else {"confirm_publish": True}
            self._local.connection = connection = current_app.connection_for_write(transport_options=options)
            connection.ensure_connection(max_retries=1, timeout=settings.CONFIRM_TIMEOUT)
            declare(connection)
            self._local.producer = current_app.amqp.Producer(connection, auto_declare=False)
            self._local.pid = os.getpid()
        return self._local.producer


broker = Broker()
_transport: Transport = broker


@contextmanager
def publishing_to(transport: T) -> Iterator[T]:
    """For tests: send to `transport` instead of the broker within the block."""
    global _transport
    previous, _transport = _transport, transport
    try:
        yield transport
    finally:
        _transport = previous
