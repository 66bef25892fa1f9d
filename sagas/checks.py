"""System checks: the saga as written in `shop/saga.py` and as the steps are annotated must be the same."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from sagas.steps import STEPS, SWEEPS, Step
from shop.contracts.events import Event, every_event
from shop.saga import PATIENT, RECORDS, SAGA, TIMERS, UNDONE_BY, service_of


@register("saga")
def check_saga(**_kwargs: Any) -> list[CheckMessage]:
    """Compare `shop/saga.py` with the registered steps and timers, for the services that are loaded here."""
    local = {service for service in settings.SERVICES if apps.is_installed(service)}
    steps = {name: step for name, step in STEPS.items() if step.service in local}
    return [
        *_events(),
        *_subscriptions(steps, local),
        *_compensations(),
        *_timers(local),
        *_retention(),
    ]


def _events() -> Iterator[CheckMessage]:
    for event in every_event():
        if not SAGA.get(event):
            yield Error(f"Nobody hears {event.__name__}.", hint="Give it a row in shop/saga.py.", id="saga.E001")


def _subscriptions(steps: dict[str, Step], local: set[str]) -> Iterator[CheckMessage]:
    heard: dict[str, set[type[Event]]] = {}
    for event, names in SAGA.items():
        for name in names:
            heard.setdefault(name, set()).add(event)
    for name, events in heard.items():
        if service_of(name) in local and name not in steps:
            yield Error(f"shop/saga.py names {name}, and there is no such step.", id="saga.E002")
        elif name in steps and events != set(steps[name].hears):
            table, code = _names(events), _names(steps[name].hears)
            yield Error(f"{name} hears {code}; shop/saga.py says {table}.", id="saga.E003")
    for name in steps.keys() - heard.keys():
        yield Error(f"{name} is in no row of shop/saga.py: it will never run.", id="saga.E004")


def _compensations() -> Iterator[CheckMessage]:
    known = {name for names in SAGA.values() for name in names}
    for name in sorted(known):
        roles = (name in UNDONE_BY) + (name in UNDONE_BY.values()) + (name in RECORDS)
        if roles != 1:
            yield Error(
                f"{name} must be exactly one of: an effect with its undo (UNDONE_BY), an undo, or a record (RECORDS).",
                hint="A forward effect without its undo leaves something behind when the order is cancelled.",
                id="saga.E005",
            )
    for name in PATIENT:
        follows = STEPS[name].emits if name in STEPS else ()
        if prompt := sorted({one for event in follows for one in SAGA.get(event, ()) if one not in PATIENT}):
            yield Error(
                f"{name} cannot be among PATIENT: {', '.join(prompt)} would wait with it.",
                hint=f"They hear {_names(follows)}, which may follow from it.",
                id="saga.E010",
            )
    for name in sorted({*UNDONE_BY, *UNDONE_BY.values(), *RECORDS, *PATIENT} - known):
        yield Error(f"shop/saga.py mentions {name} outside SAGA only.", id="saga.E006")


def _timers(local: set[str]) -> Iterator[CheckMessage]:
    sweeps = {name for name in SWEEPS if service_of(name) in local}
    timers = {name for name in TIMERS if service_of(name) in local}
    for name in sorted(sweeps - timers):
        yield Error(f"{name} is not in TIMERS of shop/saga.py: it will never run.", id="saga.E007")
    for name in sorted(timers - sweeps):
        yield Error(f"TIMERS of shop/saga.py names {name}, and there is no such sweep.", id="saga.E008")


def _retention() -> Iterator[CheckMessage]:
    longest = timedelta(seconds=settings.ORDER_DEADLINE)
    if longest * 10 > settings.RETENTION:
        yield Error(
            f"RETENTION_DAYS keeps messages for {settings.RETENTION}, and an order may be open for {longest} and more.",
            hint="A stalled order is resumed by its messages: keep them for ten deadlines at the least.",
            id="saga.E009",
        )


def _names(events: Any) -> str:
    return ", ".join(sorted(event.__name__ for event in events))
