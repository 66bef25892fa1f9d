"""How a service declares its part in a saga, in its `tasks.py`.

    @step(locks=product_locks)
    def reserve_stock(orders: list[OrderCreated]) -> list[InventoryReserved | InventoryReservationFailed]:
        ...

The annotations are the subscription: they say which events the step hears and which it may emit, and `manage.py check`
compares them with the saga. The decorated function stays callable as it was written, with a list of events; under
Celery the same function runs inside `sagas.execution`.
"""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints, overload

from celery import shared_task

from sagas.events import Event, EventTypes
from sagas.execution import execute, run_timer
from sagas.registry import STEPS, TIMERS, Step
from sagas.saga import service_of

P = ParamSpec("P")
R = TypeVar("R")

Keys = Callable[[Sequence[Any]], Sequence[str]]
Call = Callable[[Sequence[Any]], Any]
MERGE, REJECT_UNREADABLE = "sagas.worker:merge", "sagas.worker:reject_unreadable"  # names: only workers import them


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(*, locks: Keys | None = None, outside: Call | None = None) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(
    function: Callable[..., Any] | None = None, /, *, locks: Keys | None = None, outside: Call | None = None
) -> Any:
    """Register a function as a step: from a batch of events to the events that follow, or to None.

    `locks(events)` names the distributed locks to hold around the transaction. `outside(events)` is the step's one call
    to the outside world, such as a payment gateway: it runs before the transaction, for events not handled yet, and its
    answer becomes the function's second argument. It must be idempotent by a key of its own, because it is called again
    when the process dies before the transaction commits.

    Raises TypeError, at import, when the annotations do not say what is heard and emitted.
    """

    def register(function: Callable[P, R]) -> Step[P, R]:
        name = _task_name(function)
        hints = get_type_hints(function)
        emits = _event_types(hints.pop("return", None))
        hears = _event_types(next(iter(hints.values()), None))
        if not hears or emits is None:
            raise TypeError(f"{name}: annotate it as (events: list[SomeEvent]) -> list[SomeEvent | Other], or -> None")
        registered = Step(function, name, service_of(name), hears, emits, locks, outside)
        update_wrapper(registered, function)
        STEPS[name] = registered

        def run(payload: Any) -> None:
            execute(registered, payload)

        shared_task(name=name, Strategy=MERGE)(run)
        return registered

    return register(function) if function else register


def timer(function: Callable[[], int]) -> Callable[[], int]:
    """Register a function as a timer's work; the saga says how often it runs.

    It does one bounded portion of what is due and returns how much that was: it is called until nothing is left. An
    outage ends it quietly, for the next tick is near.
    """
    name = _task_name(function)
    TIMERS[name] = function

    def run() -> None:
        run_timer(name, function)

    shared_task(name=name, Strategy=REJECT_UNREADABLE, send_events=False)(run)  # ticks would bury the steps in Flower
    return function


def _task_name(function: Callable[..., Any]) -> str:
    """ "inventory.reserve_stock" for a function of inventory/tasks.py."""
    return f"{service_of(function.__module__)}.{function.__name__}"


def _event_types(annotation: Any) -> EventTypes | None:
    """The event types of `list[A | B]`; none for None; None for an annotation that is something else."""
    if annotation is NoneType:
        return ()
    if get_origin(annotation) is not list:
        return None
    (inner,) = get_args(annotation)
    types = get_args(inner) if get_origin(inner) in (Union, UnionType) else (inner,)
    return types if all(isinstance(one, type) and issubclass(one, Event) for one in types) else None
