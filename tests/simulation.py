"""A seeded world of trouble: the saga's steps under a bus that duplicates, reorders, delays, loses and crashes.

A `Schedule` takes its decisions from a `Random`. Everything below the bus is real: the kernel, the steps, PostgreSQL. A
crash is raised at one of the kernel's crash points and rolls the transaction back, as the end of the process would.
After `steps` decisions the trouble ends and the world plays out, its timers running; then every order must have ended
and the audit must be clean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from django.apps import apps
from django.db.models import QuerySet

from orders.services import request_cancellation
from shop.api.problems import Problem
from shop.audit import Violation, audit
from shop.messaging.crashpoints import calling
from shop.messaging.outbox import local_services
from shop.messaging.relay import relay_once, tell_once
from shop.messaging.steps import SWEEPS
from tests.bus import TIMERS, Bus


class Crash(BaseException):
    """The process ends here. Not an Exception, so that no handler of the kernel's can survive it."""


@dataclass
class Schedule:
    """Plays `steps` random decisions over a bus, then lets the world come to rest."""

    random: Random
    bus: Bus
    steps: int = 20
    crashes: float = 0.1
    losses: float = 0.05
    duplicates: float = 0.15
    cancels: Sequence[int] = ()  # orders that their customer cancels at some moment
    dialogue: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._passed = 0
        self._crash_at = 0

    def play(self) -> None:
        """All decisions, then peace."""
        waiting = list(self.cancels)
        for _ in range(self.steps):
            if waiting and self.random.random() < 0.1:
                self._cancel(waiting.pop())
            self._with_crashes(self._something)
        for order_id in waiting:
            self._cancel(order_id)
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        """The trouble is over: the timers alone must bring every order to its end and close it."""
        for _ in range(20):
            self.bus.drain()
            if not self._open().exists():
                return
            self.dialogue.append(f"orders.look_after sees to {[order.pk for order in self._open()]}")
            SWEEPS["orders.look_after"]()
        raise AssertionError(f"orders that never end: {list(self._open())}")

    @staticmethod
    def _open() -> QuerySet:
        return apps.get_model("orders.Order").objects.filter(look_at__isnull=False)

    def _something(self) -> None:
        choices = [self._relay, self._tick] + [self._deliver] * (4 if self.bus.messages else 0)
        self.random.choice(choices)()

    def _deliver(self) -> None:
        position, dice = self.random.randrange(len(self.bus.messages)), self.random.random()
        step, payload = self.bus.messages[position]
        what = f"{payload[0]['type']} (order {', '.join(str(raw['order_id']) for raw in payload)}) to {step}"
        if dice < self.losses:
            self.bus.messages.pop(position)
            self.dialogue.append(f"lost: {what}")
            return
        twice = dice < self.losses + self.duplicates
        self.dialogue.append(f"{'delivered, and will come again' if twice else 'delivered'}: {what}")
        message = self.bus.messages[position]
        try:
            self.bus.deliver(position, keep=twice)
        except Crash:
            if not twice:
                self.bus.messages.append(message)  # not acknowledged: the broker delivers it again
            raise

    def _relay(self) -> None:
        service = self.random.choice(local_services())
        if count := self.random.choice([relay_once, tell_once])(service):
            self.dialogue.append(f"relayed {count} of {service}")

    def _tick(self) -> None:
        timer = self.random.choice(TIMERS)
        if count := SWEEPS[timer]():
            self.dialogue.append(f"{timer} did {count}")

    def _cancel(self, order_id: int) -> None:
        try:
            request_cancellation(order_id)
            self.dialogue.append(f"the customer cancels order {order_id}")
        except Problem as refusal:
            self.dialogue.append(f"the customer cannot cancel order {order_id}: {refusal}")

    def _with_crashes(self, action) -> None:
        self._passed, self._crash_at = 0, self.random.randrange(1, 6) if self.random.random() < self.crashes else 0
        try:
            with calling(self._pass):
                action()
        except Crash as crash:
            self.dialogue.append(f"crashed at {crash}")

    def _pass(self, name: str) -> None:
        self._passed += 1
        if self._passed == self._crash_at:
            raise Crash(name)

    def verdict(self) -> list[Violation]:
        """What the strict audit finds."""
        return [found for found in audit(strict=True) if isinstance(found, Violation)]
