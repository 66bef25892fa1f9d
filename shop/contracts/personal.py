"""What every service offers about customers: all that it keeps of one, for an archive of their own."""

from collections.abc import Collection
from typing import Any, Protocol

Rows = dict[str, list[dict[str, Any]]]  # by table, as JSON has them


class PersonalDataService(Protocol):
    """Reads what is kept of a customer. Raises `sagas.Unavailable` while the service is down."""

    def get_personal_data(self, user_id: int, order_ids: Collection[int]) -> Rows:
        """Without orders, what is kept of the user; with orders, what is kept of these, which are the user's."""
        ...
