"""What a project tells the kernel: one object, `SAGAS` in Django's settings.

SAGAS = sagas.Settings(sagas=[ORDER], hooks="shop.hooks.ShopHooks")
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from django.conf import settings
from django.utils.module_loading import import_string

from sagas.hooks import Hooks
from sagas.saga import Choreography, Saga


@dataclass(frozen=True, kw_only=True, eq=False)
class Settings:
    """The sagas of a project and how their messages are handled. Numbers that are durations are seconds.

    `hooks` is the dotted path of a `sagas.Hooks` class. Of the `prefetch` messages that a worker holds for each of its
    processes, those for one step are merged (`sagas.worker`). `patience` is how long a step waits out an outage before
    its message goes back to the queue, `relay_hold` how long at most a relay holds events under load so that they go
    together, `outbox_lease` after how long another relay may publish a dead relay's rows, `retention` how long inbox,
    outbox and resolved dead letters are kept. Without `declares` no process declares queues, so none needs the right
    to: an administrator declares them.
    """

    sagas: Sequence[Saga]
    hooks: str = "sagas.hooks.Hooks"
    batch_limit: int = 800  # events in one message, at most
    prefetch: int = 32
    confirm_timeout: float = 10.0
    patience: float = 600.0
    relay_hold: float = 0.1
    outbox_lease: float = 30.0
    retention: timedelta = timedelta(days=30)
    dead_letter_exchange: str = "sagas.dead"
    declares: bool = True

    @cached_property
    def choreography(self) -> Choreography:
        return Choreography(self.sagas)

    @cached_property
    def hook(self) -> Hooks:
        made: Hooks = import_string(self.hooks)()
        return made


def conf() -> Settings:
    """The project's settings object."""
    current: Settings = settings.SAGAS
    return current


def choreography() -> Choreography:
    """The project's sagas as one table."""
    return conf().choreography


def hook() -> Hooks:
    """The project's hooks."""
    return conf().hook
