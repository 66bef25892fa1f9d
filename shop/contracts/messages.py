"""What every service of the saga offers: which messages of an order it has sent, and which it has handled.

Orders asks for it before it closes an order, see `sagas/reconciliation.py`.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec


class Emitted(msgspec.Struct, frozen=True, array_like=True):
    """An event that came from here. `source` is the step that emitted it, or "service.outbox"."""

    order_id: int
    event_id: UUID
    event_type: str
    source: str


class Handled(msgspec.Struct, frozen=True, array_like=True):
    """An event that a step has dealt with."""

    step: str
    event_id: UUID


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """The messages of some orders, as one service knows them."""

    emitted: list[Emitted]
    handled: list[Handled]


class MessagesService(Protocol):
    """Reading inbox and outbox. Raises `sagas.Unavailable` when the service is away."""

    def get_messages(self, order_ids: Collection[int], before: datetime | None = None) -> Messages:
        """What was emitted for these orders up to a time, and all that was handled."""
        ...
