"""What every service of the saga offers: which messages of an order it has emitted, and which it has handled.

Orders asks for it before it closes an order (`sagas.reconciliation`).
"""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from sagas.messages import Messages


class MessagesService(Protocol):
    """Reading inbox and outbox. Raises `sagas.Unavailable` while the service is down."""

    def get_messages(self, order_ids: Collection[int], before: datetime | None = None) -> Messages:
        """Return the events emitted for these orders up to a time, and all events handled."""
        ...
