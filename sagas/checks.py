"""System checks: a saga as it is written down and as its steps are annotated must be the same."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, register

from sagas.conf import choreography
from sagas.registry import STEPS, TIMERS, local_services
from sagas.saga import Saga, service_of


@register("sagas")
def check_sagas(**_kwargs: Any) -> list[CheckMessage]:
    """Compare each saga with the registered steps and timers, for the services that are loaded here."""
    local = set(local_services())
    found = [*_names(), *_subscriptions(local), *_timers(local)]
    for saga in choreography().sagas:
        found += [*_events(saga), *_roles(saga), *_deferrable(saga)]
    return found


def _names() -> Iterator[CheckMessage]:
    """Of sagas that share a broker: each event and each step belongs to one."""
    sagas = choreography().sagas
    owned = Counter(name for saga in sagas for name in (*(event.__name__ for event in saga.heard_by), *saga.steps))
    for name in sorted(name for name, owners in owned.items() if owners > 1):
        yield Error(f"{name} belongs to more than one saga.", id="saga.E012")


def _events(saga: Saga) -> Iterator[CheckMessage]:
    known = set(saga.heard_by)
    emitted = {event for step in STEPS.values() if step.name in saga.steps for event in step.emits}
    for event in sorted(emitted | known, key=lambda event: event.__name__):
        if not saga.heard_by.get(event):
            hint = f"Give it a row in the {saga.name} saga."
            yield Error(f"Nobody hears {event.__name__}.", hint=hint, id="saga.E001")
        if saga.key not in event.__struct_fields__:
            yield Error(f"{event.__name__} has no {saga.key}, the {saga.name} saga's key.", id="saga.E011")


def _subscriptions(local: set[str]) -> Iterator[CheckMessage]:
    """What each step hears: as the sagas have it, and as it is annotated."""
    for name in sorted({*STEPS, *(name for saga in choreography().sagas for name in _heard(saga))}):
        table = {event for event, names in choreography().heard_by.items() if name in names}
        code = set(STEPS[name].hears) if name in STEPS else set()
        if service_of(name) in local and table != code:
            yield Error(f"{name} hears {_list(code)} in the code, and {_list(table)} in the sagas.", id="saga.E003")


def _roles(saga: Saga) -> Iterator[CheckMessage]:
    known = _heard(saga)
    undoing = {role.undone_by for role in saga.steps.values() if role.kind == "effect"}
    for name in sorted(known | undoing):
        role = saga.steps.get(name)
        if role is None or (role.kind == "undo") != (name in undoing):
            yield Error(
                f"{name} must be exactly one of: an effect with its undo, an undo, or a record.",
                hint="A forward effect without its undo leaves something behind when the saga is compensated.",
                id="saga.E005",
            )
    for name in sorted({*saga.steps, *undoing} - known):
        yield Error(f"The {saga.name} saga gives {name} a role, and no event.", id="saga.E006")


def _deferrable(saga: Saga) -> Iterator[CheckMessage]:
    for name, role in saga.steps.items():
        follows = STEPS[name].emits if role.deferrable and name in STEPS else ()
        hearing = {step for event in follows for step in saga.heard_by.get(event, ())}
        if prompt := sorted(step for step in hearing if not (step in saga.steps and saga.steps[step].deferrable)):
            yield Error(
                f"{name} cannot be deferrable: {', '.join(prompt)} would wait with it.",
                hint=f"They hear {_list(follows)}, which may follow from it.",
                id="saga.E010",
            )


def _timers(local: set[str]) -> Iterator[CheckMessage]:
    scheduled = choreography().timers
    for name in sorted(scheduled.keys() ^ TIMERS.keys()):
        if service_of(name) in local:
            lacks = "There is no such timer" if name in scheduled else "No saga schedules it"
            yield Error(f"The timer {name} will never run. {lacks}.", id="saga.E007")


def _heard(saga: Saga) -> set[str]:
    """The steps that the saga's table names."""
    return {name for names in saga.heard_by.values() for name in names}


def _list(events: Iterable[Any]) -> str:
    return ", ".join(sorted(event.__name__ for event in events)) or "nothing"
