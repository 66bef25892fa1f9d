"""The steps and timers of this process, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from django.apps import apps

from sagas.conf import choreography
from sagas.events import EventTypes

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(eq=False)
class Step(Generic[P, R]):
    """A function that hears events, with its subscription. Calling it calls the function."""

    function: Callable[P, R]
    name: str  # "inventory.reserve_stock"
    service: str  # "inventory": the app, its database, its queue
    hears: EventTypes
    emits: EventTypes
    locks: Callable[[Sequence[Any]], Sequence[str]] | None
    outside: Callable[[Sequence[Any]], Any] | None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)


AnyStep = Step[..., Any]

STEPS: dict[str, AnyStep] = {}
TIMERS: dict[str, Callable[[], int]] = {}


def local_services() -> list[str]:
    """The services of this process that take part in a saga: those with an inbox, an outbox and a queue."""
    return [service for service in choreography().services if apps.is_installed(service)]
