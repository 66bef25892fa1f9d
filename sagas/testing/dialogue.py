"""A test of a saga as a dialogue: what happened, which step hears it, what follows.

given(OrderCreated(order_id=1, checkout=checkout)).expect("inventory.reserve_stock").emits(InventoryReserved)
"""

from collections.abc import Sequence

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
        before = len(self._bus.messages) - 1
        with publishing_to(self._bus):
            self._bus.deliver(waiting.index(step))
            while self._bus.relay():
                pass
        self._step = step
        self._emitted = [raw["type"] for _, payload in self._bus.messages[before:] for raw in payload]
        return self

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
        before = len(self._bus.messages)
        with publishing_to(self._bus):
            self._bus.tick(timer)
            while self._bus.relay():
                pass
        self._step = timer
        self._emitted = [raw["type"] for _, payload in self._bus.messages[before:] for raw in payload]
        return self


def given(*events: Event, bus: Bus | None = None) -> Dialogue:
    """Begin a dialogue with events that have happened; they must be of a saga in the settings."""
    for event in events:
        assert choreography().by_name(type(event).__name__), f"{type(event).__name__} belongs to no saga."
    return Dialogue(bus or Bus(), events)
