"""The broker of the tests: messages wait in memory until they are delivered, in any order, once or more.

`drain()` plays everything out in order: relay, messages and timers until nothing is left to do. The steps run inside
the kernel just as under Celery; only the broker and the waiting are missing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from msgspec import Raw, to_builtins

from sagas import publisher
from sagas.deferred import publish_deferred
from sagas.execution import execute
from sagas.registry import STEPS, TIMERS, local_services
from sagas.relay import pending, publish_outbox
from sagas.serializer import read, write
from sagas.testing.crashes import Crash

T = TypeVar("T", bound=publisher.Transport)


@contextmanager
def publishing_to(transport: T) -> Iterator[T]:
    """Send to `transport` instead of the broker within the block."""
    previous, publisher.transport = publisher.transport, transport
    try:
        yield transport
    finally:
        publisher.transport = previous


def arrived(payload: Sequence[Any]) -> Raw:
    """What a worker reads of a message: its events, still JSON."""
    ((events,), _, _) = read(write(((payload,), {}, {})).decode())
    raw: Raw = events
    return raw


class Bus:
    """A `Transport` that keeps messages until they are delivered. `log` holds what was delivered: (step, events).

    `timers` are those that `drain` ticks: the timers that move the saga.
    """

    def __init__(self, timers: Sequence[str] = ()) -> None:
        self.timers = tuple(timers)
        self.messages: list[tuple[str, list[dict[str, Any]]]] = []
        self.log: list[tuple[str, tuple[str, ...]]] = []

    def send(self, step: str, payload: Sequence[Any], summary: str) -> None:
        self.messages.append((step, to_builtins(payload)))

    def backlog(self) -> int:
        return 0

    def deliver(self, position: int = 0, *, keep: bool = False) -> None:
        """Run the step of the message at a position. With `keep` the message stays, as if it was never acknowledged;
        a message whose worker crashes is redelivered later."""
        step, payload = message = self.messages[position] if keep else self.messages.pop(position)
        self.log.append((step, tuple(raw.get("type", "?") for raw in payload)))
        try:
            execute(STEPS[step], arrived(payload))
        except Crash:
            if not keep:
                self.messages.append(message)
            raise

    def relay(self) -> int:
        """Publish what every service's relay would; how many events that was."""
        published = 0
        for service in local_services():
            first, deferred = pending(service)
            published += (publish_outbox(service) if first else 0) + (publish_deferred(service) if deferred else 0)
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
