"""What a step is: a plain function from a batch of events to the events that follow, and what the kernel knows of it.

    @step(locks=product_locks)
    def reserve_stock(orders: list[OrderCreated]) -> Outcome[InventoryReserved | InventoryReservationFailed]:
        ...

The annotations are the subscription: they say which events the step hears and which it may emit, and `manage.py check`
compares them with `shop/saga.py`. The decorated function stays callable as it was written, with a list of events;
under Celery the same function runs inside `sagas.execution`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial, update_wrapper
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from celery import shared_task

from shop.contracts.events import Event

logger = logging.getLogger(__name__)

E = TypeVar("E", bound=Event | None)

STRATEGY = "sagas.strategy:strict"  # by name: only workers need Celery's worker

# What a step returns: the events it emits, each for an order of its batch.
Outcome = list[E]


@dataclass(eq=False)
class Step:
    """A function that hears events, with its subscription."""

    function: Callable[..., list[Any]]
    name: str  # "inventory.reserve_stock"
    service: str  # "inventory": the app, its database, its queue
    hears: tuple[type[Event], ...]
    emits: tuple[type[Event], ...]
    locks: Callable[[Sequence[Any]], Sequence[str]] | None
    outside: Callable[[Sequence[Any]], Any] | None
    __doc__: str | None = field(default=None, repr=False)

    def __call__(self, *args: Any, **kwargs: Any) -> list[Any]:
        return self.function(*args, **kwargs)


STEPS: dict[str, Step] = {}
SWEEPS: dict[str, Callable[[], int]] = {}


def step(
    function: Callable[..., list[Any]] | None = None,
    *,
    locks: Callable[[Sequence[Any]], Sequence[str]] | None = None,
    outside: Callable[[Sequence[Any]], Any] | None = None,
) -> Any:
    """Register a function of a service's `tasks.py` as a saga step.

    `locks(events)` names the distributed locks to hold around the transaction. `outside(events)` is the step's one
    call to the world outside (a payment gateway): it runs before the transaction, only for events not handled yet,
    and its answer becomes the function's second argument. It must be idempotent by a key of its own, because it is
    called again when the process dies before the transaction commits.

    Raises TypeError, at import, when the annotations do not say what is heard and emitted.
    """
    if function is None:
        return partial(step, locks=locks, outside=outside)
    service, name = _task_name(function)
    hints = get_type_hints(function)
    emits = _event_types(hints.pop("return", None))
    hears = _event_types(next(iter(hints.values()), None))
    if hears is None or emits is None:
        raise TypeError(f"{name}: annotate it as (events: list[SomeEvent]) -> Outcome[SomeEvent | Other]")
    registered = Step(function, name, service, hears, emits, locks, outside)
    update_wrapper(registered, function)
    STEPS[name] = registered

    def run(payload: Any) -> None:
        from sagas.execution import execute  # models are not loaded yet when tasks are registered

        execute(registered, payload)

    shared_task(name=name, Strategy=STRATEGY)(run)
    return registered


def sweep(function: Callable[[], int]) -> Callable[[], int]:
    """Register a function of a service's `tasks.py` as timed work, run as often as `shop/saga.py` says.

    It does one bounded portion of what is due and returns how much that was: it is called until nothing is left.
    An outage ends it quietly, for the next tick is near.
    """
    _, name = _task_name(function)
    SWEEPS[name] = function

    def run() -> None:
        from sagas.execution import run_sweep

        run_sweep(name, function)

    shared_task(name=name, Strategy=STRATEGY)(run)
    return function


def _task_name(function: Callable[..., Any]) -> tuple[str, str]:
    """("inventory", "inventory.reserve_stock") for a function of inventory/tasks.py."""
    service = function.__module__.partition(".")[0]
    return service, f"{service}.{function.__name__}"


def _event_types(annotation: Any) -> tuple[type[Event], ...] | None:
    """The event types in `list[A | B]`; () for a bare `Outcome`-less `list[None]`; None when there are none."""
    if get_origin(annotation) is not list:
        return None
    (inner,) = get_args(annotation)
    types = get_args(inner) if get_origin(inner) in (Union, UnionType) else (inner,)
    if not all(isinstance(one, type) and issubclass(one, Event | type(None)) for one in types):
        return None
    return tuple(one for one in types if one is not type(None))
