"""A saga as data: which event is heard by which step, what undoes what, and what runs by the clock.

A step is named "service.function". The service is a Django app, its database and its queue.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from sagas.events import Event


class Role(NamedTuple):
    """What a step does: has an effect (`undone_by` names the step that takes it back), undoes one, or keeps a record.

    Small batches reach a deferrable step up to 0.2 s later, merged (`sagas.deferred`).
    """

    kind: str
    undone_by: str = ""
    deferrable: bool = False


def effect(*, undone_by: str, deferrable: bool = False) -> Role:
    """The step changes something that compensation takes back."""
    return Role("effect", undone_by, deferrable)


def undo(*, deferrable: bool = False) -> Role:
    """The step takes an effect back."""
    return Role("undo", "", deferrable)


def record(*, deferrable: bool = False) -> Role:
    """The step writes down what happened, or tells somebody: there is nothing to take back."""
    return Role("record", "", deferrable)


@dataclass(frozen=True, kw_only=True, eq=False)
class Saga:
    """One business process over several services. A project may have several; each event belongs to one of them.

    `key` names the field of its events that says which instance they belong to, an integer (the correlation key).
    `timers` are periodic tasks, with the seconds between their ticks.
    """

    name: str
    key: str
    heard_by: Mapping[type[Event], Sequence[str]]
    steps: Mapping[str, Role]
    timers: Mapping[str, float] = field(default_factory=dict)

    @property
    def event_names(self) -> list[str]:
        """The types of its events, as messages and rows name them."""
        return [event.__name__ for event in self.heard_by]

    @property
    def services(self) -> set[str]:
        """The services that hear its events."""
        return {service_of(step) for step in self.steps}


class Choreography:
    """All sagas of a project as one table, which is what the kernel routes and schedules by."""

    def __init__(self, sagas: Sequence[Saga]) -> None:
        self.sagas = tuple(sagas)
        self.roles = {name: role for saga in sagas for name, role in saga.steps.items()}
        self.timers = {name: seconds for saga in sagas for name, seconds in saga.timers.items()}
        self.heard_by = {event: tuple(steps) for saga in sagas for event, steps in saga.heard_by.items()}
        self.events = tuple(self.heard_by)
        self.services = tuple(sorted({service_of(name) for name in (*self.roles, *self.timers)}))
        self._by_name = {event.__name__: event for event in self.events}
        self._sagas = {event: saga for saga in sagas for event in saga.heard_by}
        deferrable = {name for name, role in self.roles.items() if role.deferrable}
        self._deferrable = {event: tuple(s for s in steps if s in deferrable) for event, steps in self.heard_by.items()}
        self._prompt = {event: tuple(s for s in steps if s not in deferrable) for event, steps in self.heard_by.items()}

    def by_name(self, name: str) -> type[Event] | None:
        """The event type of that name, if there is one."""
        return self._by_name.get(name)

    def steps_hearing(self, event_type: type[Event]) -> tuple[str, ...]:
        """Every step that hears an event."""
        return self.heard_by[event_type]

    def prompt_steps(self, event_type: type[Event]) -> tuple[str, ...]:
        """The steps that always hear an event at once."""
        return self._prompt[event_type]

    def deferrable_steps(self, event_type: type[Event]) -> tuple[str, ...]:
        """The steps that may hear an event a moment later."""
        return self._deferrable[event_type]

    def key_of(self, event_type: type[Event]) -> Callable[[Event], int]:
        """A function from an event of this type to its correlation key's value."""
        return attrgetter(self._sagas[event_type].key)

    def saga_of(self, event_type: type[Event]) -> Saga:
        """The saga that an event belongs to."""
        return self._sagas[event_type]


def service_of(task: str) -> str:
    """The service that a step or timer belongs to."""
    return task.partition(".")[0]
