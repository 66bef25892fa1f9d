"""What inventory offers the other services."""

from collections.abc import Collection
from typing import Protocol

import msgspec


class StockView(msgspec.Struct, frozen=True, kw_only=True):
    """The stock of one product, in pieces; what can be sold is `on_hand - reserved`."""

    product_id: int
    on_hand: int
    reserved: int


class InventoryService(Protocol):
    """Reading stock. Raises `sagas.Unavailable` when inventory is away."""

    def get_stock(self, product_ids: Collection[int]) -> dict[int, StockView]:
        """The stock of those of these products that have a record, by product."""
        ...
