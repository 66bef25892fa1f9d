"""The broker of the tests: messages wait in memory until they are delivered, in any order, once or more.

`drain()` plays everything out in order: relay, messages and timers until nothing is left to do. The steps run inside
the kernel just as under Celery; only the broker and the clock's waiting are missing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Raw, to_builtins

from sagas.execution import execute
from sagas.outbox import local_services
from sagas.relay import relay_once, tell_once, waiting
from sagas.serializer import read, write
from sagas.steps import STEPS, SWEEPS

TIMERS = ("delivery.advance_deliveries", "payments.settle_payments")  # those that move the saga


def arrived(payload: Sequence[Any]) -> Raw:
    """What a worker reads of a message: its events, still JSON."""
    ((events,), _, _) = read(write(((payload,), {}, {})).decode())
    return events


class Bus:
    """A `Transport` that keeps messages until they are delivered. `log` holds what was delivered: (step, events)."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[dict[str, Any]]]] = []
        self.log: list[tuple[str, tuple[str, ...]]] = []

    def send(self, step: str, payload: Sequence[Any], summary: str) -> None:
        self.messages.append((step, to_builtins(payload)))

    def backlog(self) -> int:
        return 0

    def deliver(self, position: int = 0, *, keep: bool = False) -> None:
        """Run the step of the message at a position; `keep` it, as a broker does that never saw the acknowledgement."""
        step, payload = self.messages[position] if keep else self.messages.pop(position)
        self.log.append((step, tuple(raw.get("type", "?") for raw in payload)))
        execute(STEPS[step], arrived(payload))

    def relay(self) -> int:
        """Publish what every service's relay would."""
        relayed = 0
        for service in local_services():
            events, owed = waiting(service)
            relayed += (relay_once(service) if events else 0) + (tell_once(service) if owed else 0)
        return relayed

    def tick(self, *timers: str) -> int:
        """Run timers once each; how much was due."""
        return sum(SWEEPS[timer]() for timer in timers or TIMERS)

    def drain(self, *, timers: bool = True, until: Callable[[], bool] = lambda: False) -> None:
        """Play on until nothing is left to relay, to deliver or, with `timers`, due."""
        while not until():
            if self.messages:
                self.deliver()
            elif not self.relay() and not (timers and self.tick()):
                return
