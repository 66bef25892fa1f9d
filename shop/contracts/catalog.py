"""What catalog offers other services."""

from collections.abc import Collection
from typing import Protocol

import msgspec


class ProductSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A product as it is now. `price` is in the currency's minor unit; an inactive product is not for sale."""

    id: int
    name: str
    price: int
    currency: str
    active: bool


class CatalogService(Protocol):
    """Reads products. Raises `sagas.Unavailable` while catalog is down."""

    def get_products(self, product_ids: Collection[int]) -> dict[int, ProductSnapshot]:
        """The products with these ids, inactive ones included, by id; unknown ids are left out."""
        ...
