"""The properties that every saga must have, whatever its domain. A project describes itself and runs the checks.

    class TestTrips(Conformance):
        scenarios = {"booked": lambda: book_trip(seats=1), "no seats": lambda: book_trip(seats=99)}

        def state(self, key): ...

pytest collects the `test_…` methods; each needs access to every service's database. A check fails by AssertionError.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.apps import apps

from sagas.conf import choreography
from sagas.crash_points import calling
from sagas.execution import execute
from sagas.publisher import publishing_to
from sagas.reconciliation import missing
from sagas.registry import STEPS, local_services
from sagas.testing.bus import Bus, Crash, crashing_at

SHUFFLES = 20  # random orders of delivery, per scenario


class Conformance:
    """Describe a project: how an instance of each kind begins, and what must be true of it in the end.

    `scenarios` start one instance each and return its correlation key; `timers` are those that move the saga.
    """

    scenarios: Mapping[str, Callable[[], int]] = {}
    timers: Sequence[str] = ()

    def state(self, key: int) -> Any:
        """All of an instance that must come out the same every time: statuses and amounts, no ids and no times."""
        raise NotImplementedError

    def is_sound(self, key: int) -> None:
        """Fail when an instance has left something behind, whichever way it ended."""
        raise NotImplementedError

    def let_time_pass(self) -> None:
        """Make due whatever the timers wait for."""

    # --- The checks -------------------------------------------------------------------------------------------------
    def test_nothing_is_missing_in_the_end(self) -> None:
        for name, start in self.scenarios.items():
            key, _ = self._play(start)
            assert missing([key]) == [], name
            self.is_sound(key)

    def test_every_message_three_times(self) -> None:
        for name, start in self.scenarios.items():
            key, bus = self._play(start)
            expected, events = self.state(key), len(self._emitted(key))
            again, _ = self._play(start, copies=3)
            assert self.state(again) == expected, name
            assert len(self._emitted(again)) == events, f"{name}: an effect took place twice"
            assert bus.log, name

    def test_any_order(self) -> None:
        for name, start in self.scenarios.items():
            for seed in range(SHUFFLES):
                order = random.Random(seed)
                key, _ = self._play(start, pick=order.randrange)
                assert missing([key]) == [], f"{name}, seed {seed}"
                self.is_sound(key)

    def test_a_crash_at_every_boundary(self) -> None:
        for name, start in self.scenarios.items():
            expected = self.state(self._play(start)[0])
            points = self._points(start)
            assert points, name
            for point in points:
                key = start()
                with self._bus() as bus, crashing_at(point):
                    crashes = 0
                    while self._alive(bus):
                        crashes += 1
                assert crashes == 1, f"{name}: {point} was not reached"
                assert self.state(key) == expected, f"{name}: after a crash at {point}"
                assert missing([key]) == [], f"{name}: after a crash at {point}"

    def test_an_undo_before_its_effect(self) -> None:
        """Whatever an effect's step hears is held back until everything else is done, then delivered."""
        effects = [step for step, role in choreography().roles.items() if role.kind == "effect"]
        for name, start in self.scenarios.items():
            for late in effects:
                key = start()
                with self._bus() as bus:
                    self._drain_without(bus, late)
                    bus.drain()
                self.is_sound(key)
                assert missing([key]) == [], f"{name}: with {late} last"

    def test_every_message_once_more_when_all_is_over(self) -> None:
        for name, start in self.scenarios.items():
            key = start()
            with self._bus() as bus:
                sent: list[Any] = []
                while bus.relay() or bus.messages or bus.tick():
                    sent += bus.messages
                    while bus.messages:
                        bus.deliver()
                expected = self.state(key)
                bus.messages += reversed(sent)
                bus.drain()
            assert self.state(key) == expected, name

    def test_an_event_that_cannot_be_read_fails_alone(self) -> None:
        name, start = next(iter(self.scenarios.items()))
        key = start()
        with self._bus() as bus:
            bus.relay()
            step, payload = bus.messages[0]
            execute(STEPS[step], [{"type": "Nonsense"}, *payload, 7])
            bus.messages.pop(0)
            bus.drain()
        letters = apps.get_model(STEPS[step].service, "DeadLetter").objects.filter(step=step, resolved_at=None)
        assert letters.count() == 2, name
        assert missing([key]) == [], name

    # --- How they play ----------------------------------------------------------------------------------------------
    @contextmanager
    def _bus(self) -> Iterator[Bus]:
        with publishing_to(Bus(self.timers)) as bus:
            self.let_time_pass()
            yield bus

    def _play(self, start: Callable[[], int], **how: Any) -> tuple[int, Bus]:
        key = start()
        with self._bus() as bus:
            bus.drain(**how)
        return key, bus

    def _alive(self, bus: Bus) -> bool:
        """Play on; whether the process crashed."""
        try:
            bus.drain()
        except Crash:
            self.let_time_pass()  # a dead relay's lease ends
            return True
        return False

    def _drain_without(self, bus: Bus, late: str) -> None:
        """Play on until only messages for one step are left."""
        while True:
            position = next((at for at, (step, _) in enumerate(bus.messages) if step != late), None)
            if position is not None:
                bus.deliver(position)
            elif not bus.relay() and not bus.tick():
                return

    def _points(self, start: Callable[[], int]) -> list[str]:
        """The boundaries that a scenario passes."""
        passed: dict[str, None] = {}
        start()
        with self._bus() as bus, calling(lambda name: passed.setdefault(name)):
            bus.drain()
        return list(passed)

    def _emitted(self, key: int) -> list[Any]:
        return [
            event
            for service in local_services()
            for row in apps.get_model(service, "Inbox").objects.filter(correlation_id=key)
            for event in row.emitted
        ]
