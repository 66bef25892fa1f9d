"""What every service offers about customers: all data that it has of one, for the archive they may ask for."""

from collections.abc import Collection
from typing import Any, Protocol

Rows = dict[str, list[dict[str, Any]]]  # by table, as JSON has them


class PersonalDataService(Protocol):
    """Reads a customer's data. Raises `sagas.Unavailable` while the service is down."""

    def get_personal_data(self, user_id: int, order_ids: Collection[int]) -> Rows:
        """Without `order_ids`, the rows about the user; with them, the rows about those orders of the user."""
        ...
