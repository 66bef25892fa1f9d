"""What inventory offers other services."""

from collections.abc import Collection
from typing import Protocol

import msgspec


class StockView(msgspec.Struct, frozen=True, kw_only=True):
    """A product's stock, in units. `on_hand - reserved` is available to sell."""

    product_id: int
    on_hand: int
    reserved: int


class InventoryService(Protocol):
    """Reads stock. Raises `sagas.Unavailable` while inventory is down."""

    def get_stock(self, product_ids: Collection[int]) -> dict[int, StockView]:
        """The stock of these products, by product id; a product without a stock record is left out."""
        ...
