"""The broker of the tests: messages wait in memory until they are delivered, in any order, once or more.

`drain()` plays everything out in order: relay, messages and timers until nothing is left to do. The steps run inside
the kernel just as under Celery; only the broker and the waiting are missing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from msgspec import Raw, to_builtins

from sagas import publisher
from sagas.db.prepared import query
from sagas.execution import execute
from sagas.registry import STEPS, TIMERS, local_services
from sagas.relay import publish_deferred, publish_outbox
from sagas.serializer import merged, read, write
from sagas.testing.crashes import Crash

T = TypeVar("T", bound=publisher.Transport)

Message = tuple[str, list[dict[str, Any]]]  # for a step, and its events

WAITS = """
    (SELECT outbox_id FROM {service}_unsent ORDER BY outbox_id LIMIT 1)
    UNION ALL
    (SELECT 1 FROM {service}_inbox WHERE deferred_until IS NOT NULL ORDER BY deferred_until LIMIT 1)
"""


@contextmanager
def publishing_to(transport: T) -> Iterator[T]:
    """Send to `transport` instead of the broker within the block."""
    previous, publisher.transport = publisher.transport, transport
    try:
        yield transport
    finally:
        publisher.transport = previous


def arrived(*payloads: Sequence[Any]) -> Raw:
    """What a worker reads of a message, or of several that it has merged: their events, still JSON."""
    bodies = [read(write(((payload,), {}, {})).decode()) for payload in payloads]
    ((events,), _, _) = read(merged(bodies).decode()) if len(bodies) > 1 else bodies[0]
    raw: Raw = events
    return raw


def waits(service: str) -> bool:
    """Whether a service's relay may have something to publish."""
    return bool(query(service, WAITS.format(service=service)))


class Bus:
    """A `Transport` that keeps messages until they are delivered. `log` holds what was delivered: (step, events).

    `timers` are those that `drain` ticks: the timers that move the saga. With `merging`, messages for one step that
    wait are delivered together, as by a worker that was busy; not those that have been delivered before.
    """

    def __init__(self, timers: Sequence[str] = (), *, merging: bool = False) -> None:
        self.timers, self.merging = tuple(timers), merging
        self.messages: list[Message] = []
        self.log: list[tuple[str, tuple[str, ...]]] = []
        self._delivered: list[Message] = []  # and not acknowledged

    def send(self, step: str, payload: Sequence[Any], summary: str) -> None:
        self.messages.append((step, to_builtins(payload)))

    def backlog(self) -> int:
        return 0

    def batch_at(self, position: int) -> list[Message]:
        """What is delivered with the message at a position, that one first."""
        first = self.messages[position]
        if not self.merging or self._came_before(first):
            return [first]
        others = (one for one in self.messages if one is not first and one[0] == first[0])
        return [first, *(one for one in others if not self._came_before(one))]

    def deliver(self, position: int = 0, *, keep: bool = False) -> None:
        """Run the step of the message at a position. With `keep` the message stays, as if it was never acknowledged;
        a message whose worker crashes is redelivered later."""
        batch = self.batch_at(position)
        step, payloads = batch[0][0], [payload for _, payload in batch]
        if not keep:
            self._take(batch)
        self.log.append((step, tuple(raw.get("type", "?") for payload in payloads for raw in payload)))
        try:
            execute(STEPS[step], arrived(*payloads))
        except Crash:
            self._take(batch)
            self.messages += batch
            self._delivered += batch
            raise

    def _take(self, batch: Sequence[Message]) -> None:
        self.messages = [one for one in self.messages if all(one is not message for message in batch)]

    def _came_before(self, message: Message) -> bool:
        return any(message is one for one in self._delivered)

    def relay(self) -> int:
        """Publish what every service's relay would; how many events that was."""
        published = 0
        for service in local_services():
            if waits(service):
                published += publish_outbox(service) or publish_deferred(service)
        return published

    def tick(self, *timers: str) -> int:
        """Run timers once each; how much was due."""
        return sum(TIMERS[timer]() for timer in timers or self.timers)

    def drain(
        self,
        *,
        timers: bool = True,
        until: Callable[[], bool] = lambda: False,
        pick: Callable[[int], int] = lambda _count: 0,
        copies: int = 1,
    ) -> None:
        """Play on until nothing is left to relay, to deliver or, with `timers`, due.

        `pick(count)` chooses which of so many messages comes next, `copies` how often each is delivered.
        """
        while not until():
            if self.messages:
                position = pick(len(self.messages))
                for number in reversed(range(copies)):
                    self.deliver(position, keep=number > 0)
            elif not self.relay() and not (timers and self.tick()):
                return
