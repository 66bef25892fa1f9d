"""Deferred delivery: small batches reach deferrable steps up to 0.2 s later, merged into larger messages.

Nobody waits for a deferrable step, so the message that a single event costs is saved, and prompt steps find the workers
free. A row whose delivery is deferred has a `deferred_until`: an inbox row for what its step emitted, a row of the
unsent list for an event of the outbox. `sagas.relay` publishes what is due. `manage.py check` refuses a deferrable step
whose follow-up events a prompt step hears.
"""

from collections.abc import Sequence

from sagas.conf import choreography
from sagas.events import Event
from sagas.publisher import Hearers

SMALL = 20  # events: below this the message costs more than the events in it


def is_small(events: Sequence[Event]) -> bool:
    """Whether the delivery of these events to deferrable steps is deferred."""
    return 0 < len(events) < SMALL


def is_deferred(events: Sequence[Event]) -> bool:
    """Whether a deferrable step hears one of these events."""
    return any(choreography().deferrable[type(event)] for event in events)


def prompt_if(small: bool) -> Hearers:
    """The steps to publish to at once: all, or for a small batch those that are not deferrable."""
    return choreography().prompt if small else choreography().heard_by
