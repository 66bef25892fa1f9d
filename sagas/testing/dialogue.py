"""A test of a saga as a dialogue: what happened, which step hears it, what follows.

given(OrderCreated(order_id=1, checkout=checkout)).expect("inventory.reserve_stock").emits(InventoryReserved)
"""

from collections.abc import Callable, Sequence

from sagas.conf import choreography
from sagas.events import Event
from sagas.publisher import publish
from sagas.testing.bus import Bus, publishing_to


class Dialogue:
    """A saga that is played step by step; each method returns the dialogue. Fails by AssertionError."""

    def __init__(self, bus: Bus, events: Sequence[Event]) -> None:
        self._bus, self._step = bus, ""
        self._emitted: list[str] = []
        with publishing_to(bus):
            publish(events)

    def expect(self, step: str) -> "Dialogue":
        """A message for this step is waiting: deliver it."""
        waiting = [name for name, _ in self._bus.messages]
        assert step in waiting, f"No message for {step}. Waiting: {', '.join(waiting) or 'none'}."
        return self._play(step, lambda: self._bus.deliver(waiting.index(step)), before=len(waiting) - 1)

    def emits(self, *events: type[Event]) -> "Dialogue":
        """These events, and no others, followed from the step."""
        expected, emitted = {event.__name__ for event in events}, set(self._emitted)
        assert emitted == expected, f"{self._step} emitted {sorted(emitted)}, expected {sorted(expected)}."
        return self

    def emits_nothing(self) -> "Dialogue":
        """Nothing followed from the step."""
        return self.emits()

    def ticks(self, timer: str) -> "Dialogue":
        """A timer runs; what it emits is published."""
        return self._play(timer, lambda: self._bus.tick(timer), before=len(self._bus.messages))

    def _play(self, who: str, act: Callable[[], object], *, before: int) -> "Dialogue":
        """Let somebody act, and publish what follows: the messages after those `before`."""
        with publishing_to(self._bus):
            act()
            while self._bus.relay():
                pass
        self._step = who
        self._emitted = [raw["type"] for _, payload in self._bus.messages[before:] for raw in payload]
        return self


def given(*events: Event, bus: Bus | None = None) -> Dialogue:
    """Begin a dialogue with events that have happened; they must be of a saga in the settings."""
    for event in events:
        assert type(event) in choreography().heard_by, f"{type(event).__name__} belongs to no saga."
    return Dialogue(bus or Bus(), events)
