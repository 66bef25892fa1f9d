"""What inventory offers other services."""

from collections.abc import Collection
from typing import Protocol

import msgspec


class StockView(msgspec.Struct, frozen=True, kw_only=True):
    """The stock of a product, in pieces. `on_hand - reserved` can be sold."""

    product_id: int
    on_hand: int
    reserved: int


class InventoryService(Protocol):
    """Reads stock. Raises `sagas.Unavailable` while inventory is down."""

    def get_stock(self, product_ids: Collection[int]) -> dict[int, StockView]:
        """The stock of these products, by product id; a product without a stock record is left out."""
        ...
