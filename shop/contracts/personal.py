"""What every service offers about customers: all its data about one, for the archive that a customer may request."""

from collections.abc import Collection
from typing import Any, Protocol

Rows = dict[str, list[dict[str, Any]]]  # by table, as JSON values


class PersonalDataService(Protocol):
    """Reads a customer's data. Raises `sagas.Unavailable` while the service is down."""

    def get_personal_data(self, user_id: int, order_ids: Collection[int]) -> Rows:
        """Without `order_ids`, the rows about the user; with them, the rows about those orders of the user."""
        ...
