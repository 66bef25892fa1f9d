"""What a project adds to the kernel: tracing, metrics, locks, faults. By default nothing."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from sagas.events import Event
from sagas.messages import Messages


class Hooks:
    """Subclass it, override what you need, and name the class in `Settings.hooks`."""

    def locks(self, keys: Sequence[str]) -> AbstractContextManager[Any]:
        """Held around a step's transaction, for the keys that its `locks` function names."""
        return nullcontext()

    def handling(self, step: str, events: Sequence[Event]) -> AbstractContextManager[Any]:
        """Around a step's handling of a batch, retries included; what is raised shows how it ended."""
        return nullcontext()

    def relaying(self, service: str, events: Sequence[Event]) -> AbstractContextManager[Any]:
        """Around the publication of events from a service's outbox."""
        return nullcontext()

    def redelivered(self, step: str, count: int) -> None:
        """`count` events of a message had been handled by the step before."""

    def trace_after(self, event: Event) -> str:
        """The W3C `traceparent` for what follows from an event."""
        return event.trace

    def headers(self, payload: Sequence[Any]) -> dict[str, str] | None:
        """Headers for the message that carries these events."""
        return None

    def may_emit(self, sender: str | None, event: type[Event]) -> bool:
        """Whether this user of the broker may send such events. None is a message that names no user."""
        return True

    def message_received(self) -> None:
        """A worker is about to handle a message. May sleep, to inject a delay."""

    def copies(self) -> int:
        """How often a message is sent; other than 1 to inject a loss or a duplicate."""
        return 1

    def process_started(self) -> None:
        """Called once in a relay's process, before it begins its work."""

    def process_alive(self, slowest: float) -> None:
        """Called every second. `slowest` is how many seconds its slowest relay has been in the current round."""

    def process_ending(self) -> None:
        """Called when a relay's process was asked to end, before it finishes what it has begun."""

    def remote_messages(self, service: str, keys: Collection[int], before: datetime | None) -> Messages | None:
        """What a service that runs apart knows of some instances' messages; None when its tables are in reach.

        Raises `Unavailable` when the service is away.
        """
        return None
