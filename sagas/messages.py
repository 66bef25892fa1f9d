"""What one service knows of a saga's messages: the values that `sagas.reconciliation` compares."""

from uuid import UUID

import msgspec


class Emitted(msgspec.Struct, frozen=True, array_like=True):
    """An event that came from a service. `source` is the step that emitted it, or "service.outbox"."""

    key: int
    event_id: UUID
    event_type: str
    source: str


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """The messages of some saga instances, as one service knows them: which events came from it, and which a step of it
    has handled."""

    emitted: list[Emitted]
    handled: list[tuple[str, UUID]]  # step, event
