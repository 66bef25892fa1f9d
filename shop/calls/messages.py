"""What every service of a saga offers the others: its part in reconciliation."""

from collections.abc import Collection
from datetime import datetime

from sagas.messages import Messages
from sagas.reconciliation import local_messages


class LocalMessages:
    """`shop.contracts.messages.MessagesService` on a service's own tables."""

    def __init__(self, service: str) -> None:
        self._service = service

    def get_messages(self, order_ids: Collection[int], before: datetime | None = None) -> Messages:
        return local_messages(self._service, order_ids, before)
