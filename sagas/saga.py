"""A saga as data: which event is heard by which step, what undoes what, and what runs by the clock.

A step is named "service.function". The service is a Django app, its database and its queue.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sagas.events import Event


class Role(NamedTuple):
    """What a step does: has an effect (`undone_by` names the step that takes it back), undoes one, or keeps a record.

    Small batches reach a deferrable step up to 0.2 s later, merged (`sagas.publisher`).
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
    `timers` are periodic tasks, with the seconds between their ticks. `backward` are the events of the way back, as
    pictures show it.
    """

    name: str
    key: str
    heard_by: Mapping[type[Event], Sequence[str]]
    steps: Mapping[str, Role]
    timers: Mapping[str, float] = field(default_factory=dict)
    backward: Collection[type[Event]] = ()


class Choreography:
    """All sagas of a project as one table, which is what the kernel routes and schedules by.

    By event type: `heard_by` has every step that hears it, `prompt` those that always hear it at once, `deferrable`
    those that may hear it a moment later, and `saga_of` the saga that it belongs to.
    """

    def __init__(self, sagas: Sequence[Saga]) -> None:
        self.sagas = tuple(sagas)
        self.roles = {name: role for saga in sagas for name, role in saga.steps.items()}
        self.timers = {name: seconds for saga in sagas for name, seconds in saga.timers.items()}
        self.services = tuple(sorted({service_of(name) for name in (*self.roles, *self.timers)}))
        self.saga_of = {event: saga for saga in sagas for event in saga.heard_by}
        self._keys = {event: saga.key for event, saga in self.saga_of.items()}
        self.events = tuple(self.saga_of)
        self.by_name = {event.__name__: event for event in self.events}
        self.heard_by = {event: tuple(steps) for saga in sagas for event, steps in saga.heard_by.items()}
        can_wait = {name for name, role in self.roles.items() if role.deferrable}
        self.deferrable = {event: tuple(s for s in steps if s in can_wait) for event, steps in self.heard_by.items()}
        self.prompt = {event: tuple(s for s in steps if s not in can_wait) for event, steps in self.heard_by.items()}

    def keys_of(self, events: Iterable[Event]) -> list[int]:
        """The values of events' correlation keys: of all at once, because a call would take longer than a look-up."""
        return [getattr(event, self._keys[type(event)]) for event in events]


def service_of(task: str) -> str:
    """The service that a step or timer belongs to."""
    return task.partition(".")[0]
