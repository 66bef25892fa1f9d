"""The properties that every saga must have, whatever its domain. A project describes itself and inherits the checks.

    class TestTrips(Conformance, TestCase):
        databases = {"trips", "flights"}
        scenarios = {"booked": lambda: request(seats=1), "full": lambda: request(seats=99)}

        def state(self, key): ...
        def assert_sound(self, key): ...

Each play begins in the same state of all databases and leaves nothing. pytest collects the class as it is, with a
`django_db` mark instead of `TestCase`. A check fails by AssertionError.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar, NamedTuple

import stamina
from django.apps import apps
from django.conf import settings
from django.db.models import QuerySet
from django.test import override_settings
from msgspec import to_builtins

from sagas.conf import choreography
from sagas.db.prepared import query
from sagas.outbox import rearm
from sagas.reconciliation import missing
from sagas.registry import local_services
from sagas.saga import Saga
from sagas.testing.bus import Bus, Message, publishing_to
from sagas.testing.crashes import Crash, calling
from sagas.testing.worlds import rolled_back

UNSENT = "SELECT outbox_id FROM {service}_unsent"
LETTERS = "SELECT step, error FROM {service}_deadletter WHERE resolved_at IS NULL"
NONSENSE = ({"type": "Nonsense"}, {"no": "type"})


class _TroubledBus(Bus):
    """Loses the message of a number, and adds events to each message. `sent` holds all messages, the lost one too."""

    def __init__(self, timers: Sequence[str], let_time_pass: Callable[[], None], *, merging: bool) -> None:
        super().__init__(timers, merging=merging)
        self.let_time_pass = let_time_pass
        self.sent: list[Message] = []
        self.lost = -1
        self.added: Sequence[dict[str, Any]] = ()

    def send(self, step: str, payload: Sequence[Any], summary: str) -> None:
        self.sent.append((step, to_builtins([*payload, *self.added])))
        if len(self.sent) - 1 != self.lost:
            self.messages.append(self.sent[-1])

    def tick(self, *timers: str) -> int:
        self.let_time_pass()
        return super().tick(*timers)

    def drain_without(self, late: str) -> None:
        """Play on until only messages for one step are left."""
        while True:
            position = next((at for at, (step, _) in enumerate(self.messages) if step != late), None)
            if position is not None:
                self.deliver(position)
            elif not self.relay() and not self.tick():
                return


@contextmanager
def _crashing_at_pass(number: int) -> Iterator[None]:
    """Within the block, that pass of a crash point, counted from 0, ends what is being done."""
    passes = count()

    def on_pass(name: str) -> None:
        if next(passes) == number:
            raise Crash(name)

    with calling(on_pass):
        yield


class _Undisturbed(NamedTuple):
    """How a scenario goes when nothing goes wrong."""

    end: tuple[list[Any], Counter[str]]
    passes: list[str]  # of crash points, in order
    sent: list[str]  # the messages' steps


class Conformance:
    """How instances of each kind begin, and what must be true of them in the end.

    `scenarios` start one instance each and return its key. Those named in `races` may end in more than one state, by
    what comes first; they must be sound all the same. `timers` are those that move the saga. `saga` is the one whose
    effects and undos are tried, where a project has several.
    """

    saga: Saga | None = None
    scenarios: Mapping[str, Callable[[], int]] = {}
    races: Collection[str] = ()
    timers: Sequence[str] = ()
    orders = 20  # random orders of delivery, per scenario
    crashes = 100  # per crash point and scenario: the process dies at so many passes, at most
    troubled: Collection[str] = ()  # the scenarios in which messages are lost and processes die; by default all
    together = 1  # so many instances begin at once; if several, their messages for one step are merged
    _undisturbed_plays: ClassVar[dict[tuple[type, str], _Undisturbed]] = {}  # each is played once, for all checks

    def state(self, key: int) -> Any:
        """All that must come out the same every time: statuses and amounts, no ids and no times."""
        raise NotImplementedError

    def assert_sound(self, key: int) -> None:
        """Fail unless the instance has ended, and has left nothing behind, whichever way it ended."""
        raise NotImplementedError

    def let_time_pass(self) -> None:
        """Make due whatever the timers wait for."""

    # --- The checks -------------------------------------------------------------------------------------------------
    def test_it_ends(self) -> None:
        for name in self.scenarios:
            self._undisturbed(name)

    def test_every_message_three_times(self) -> None:
        for name in self.scenarios:
            expected = self._undisturbed(name).end
            with self._world(name) as (keys, bus):
                bus.drain(copies=3)
                assert self._end_of(keys) == expected, f"{name}: every message three times"
                self._assert_ended(keys, name)

    def test_any_order(self) -> None:
        for name in self.scenarios:
            expected = self._undisturbed(name).end
            for seed in range(self.orders):
                with self._world(name) as (keys, bus):
                    bus.drain(pick=random.Random(seed).randrange)
                    self._assert_same_end(keys, name, expected, f"random order {seed}")

    def test_a_crash_at_every_boundary(self) -> None:
        """The process dies where it passes a crash point, and its message is delivered again."""
        for name in self.troubled or self.scenarios:
            expected, passes, _ = self._undisturbed(name)
            assert "step.committed" in passes, f"{name}: no step was run"
            for number, point in enumerate(passes):
                if passes[:number].count(point) >= self.crashes:
                    continue
                with self._world(name) as (keys, bus):
                    with _crashing_at_pass(number):
                        assert not self._survives(bus), f"{name}: pass {number}, at {point}, did not come"
                        assert self._survives(bus), f"{name}: a second crash"
                    self._assert_same_end(keys, name, expected, f"a crash at {point}, pass {number}")

    def test_a_lost_message(self) -> None:
        """Each message is lost once; publishing what the outbox holds again brings the instance to the same end."""
        for name in self.troubled or self.scenarios:
            expected, _, sent = self._undisturbed(name)
            for number in range(len(sent)):
                with self._world(name) as (keys, bus):
                    bus.lost = number
                    bus.drain()
                    for service in local_services():
                        rearm(service, keys)
                    bus.drain()
                    self._assert_same_end(keys, name, expected, f"message {number} was lost")

    def test_an_effect_that_comes_last(self) -> None:
        """What an effect's step hears is held back until nothing else is left to do."""
        for name in self.scenarios:
            expected, _, sent = self._undisturbed(name)
            for late in self._steps("effect").intersection(sent):
                with self._world(name) as (keys, bus):
                    bus.drain_without(late)
                    bus.drain()
                    self._assert_same_end(keys, name, expected, f"{late} came last")

    def test_an_undo_before_its_effect(self) -> None:
        """What an undo hears in the end is delivered first of all. Each undo must take part in some scenario."""
        undone = set()
        for name in self.scenarios:
            with self._world(name) as (keys, bus):
                for step, payload in self._messages_to_come(bus):
                    if step in self._steps("undo"):
                        undone.add(step)
                        with rolled_back():
                            bus.messages.append((step, payload))
                            bus.deliver()
                            bus.drain()
                            self._assert_ended(keys, f"{name}: {step} came first")
        assert undone >= self._steps("undo"), f"No scenario reaches {sorted(self._steps('undo') - undone)}"

    def test_every_message_once_more_when_all_is_over(self) -> None:
        for name in self.scenarios:
            with self._world(name) as (keys, bus):
                bus.drain()
                expected = self._end_of(keys)
                bus.messages += reversed(bus.sent)
                bus.drain()
                assert self._end_of(keys) == expected, f"{name}: every message once more when all was over"
                self._assert_ended(keys, name)

    def test_an_event_that_cannot_be_read_fails_alone(self) -> None:
        """Each message carries two, which become dead letters, while the others are handled."""
        for name in self.scenarios:
            expected = self._undisturbed(name).end
            with self._world(name) as (keys, bus):
                bus.added = NONSENSE
                bus.drain()
                assert self._end_of(keys) == expected, f"{name}: with events that cannot be read"
                for step in {step for step, _ in bus.log}:
                    letters = _open_dead_letters(step.partition(".")[0]).filter(step=step).count()
                    assert letters == len(NONSENSE), f"{name}: {step} has {letters} dead letters"

    # --- How they play ----------------------------------------------------------------------------------------------
    @contextmanager
    def _world(self, name: str) -> Iterator[tuple[list[int], _TroubledBus]]:
        """A scenario at its beginning: its instances' keys, and the bus that their messages go to."""
        bus = _TroubledBus(self.timers, self.let_time_pass, merging=self.together > 1)
        # In the past, so that the next relay need not wait for what a crashed one has claimed.
        at_once = override_settings(SAGAS=replace(settings.SAGAS, outbox_lease=-1))
        with rolled_back(), at_once, stamina.set_testing(True, attempts=1), publishing_to(bus):
            yield [self.scenarios[name]() for _ in range(self.together)], bus

    def _undisturbed(self, name: str) -> _Undisturbed:
        plays, passes = self._undisturbed_plays, list[str]()
        if (type(self), name) not in plays:
            with self._world(name) as (keys, bus):
                with calling(passes.append):
                    bus.drain()
                self._assert_ended(keys, name)
                end, sent = self._end_of(keys), [step for step, _ in bus.sent]
                plays[type(self), name] = _Undisturbed(end, passes, sent)
        return plays[type(self), name]

    def _end_of(self, keys: Sequence[int]) -> tuple[list[Any], Counter[str]]:
        """The instances' states, and how often each event of them was emitted."""
        rows = (
            apps.get_model(service, "Inbox").objects.filter(correlation_id__in=keys).values_list("emitted", flat=True)
            for service in local_services()
        )
        return self._states(keys), Counter(event["type"] for some in rows for emitted in some for event in emitted)

    def _states(self, keys: Sequence[int]) -> list[Any]:
        return [self.state(key) for key in keys]

    def _messages_to_come(self, bus: _TroubledBus) -> list[Message]:
        """What would be sent from here on; nothing of it has happened."""
        with rolled_back():
            bus.drain()
        return [*bus.sent]

    def _survives(self, bus: Bus) -> bool:
        """Play on to the end; whether the process was still alive then."""
        try:
            bus.drain()
        except Crash:
            return False
        return True

    def _steps(self, kind: str) -> set[str]:
        roles = self.saga.steps if self.saga else choreography().roles
        return {step for step, role in roles.items() if role.kind == kind}

    # --- What is asserted -------------------------------------------------------------------------------------------
    def _assert_same_end(self, keys: Sequence[int], name: str, expected: Any, what: str) -> None:
        if name not in self.races:
            # Not the events: which undo was faster may depend on the order.
            found, (state, _) = self._states(keys), expected
            assert found == state, f"{name}, {what}: {found} instead of {state}"
        self._assert_ended(keys, f"{name}, {what}")

    def _assert_ended(self, keys: Sequence[int], what: str) -> None:
        """Nothing is missing, nothing waits, nothing failed, and the project says that all is well."""
        assert missing(keys) == [], what
        for service in local_services():
            assert not query(service, UNSENT.format(service=service)), f"{what}: {service} has not sent all"
            assert query(service, LETTERS.format(service=service)) == [], what
        try:
            for key in keys:
                self.assert_sound(key)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from error


def _open_dead_letters(service: str) -> QuerySet[Any]:
    letters: QuerySet[Any] = apps.get_model(service, "DeadLetter").objects.filter(resolved_at=None)
    return letters
