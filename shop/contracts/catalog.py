"""What catalog offers the other services."""

from collections.abc import Collection
from typing import Protocol

import msgspec


class ProductSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A product as it is at this moment; `price` in the currency's minor unit. One that is not active is not sold."""

    id: int
    name: str
    price: int
    currency: str
    active: bool


class CatalogService(Protocol):
    """Reading products. Raises `sagas.Unavailable` when catalog is away."""

    def get_products(self, product_ids: Collection[int]) -> dict[int, ProductSnapshot]:
        """Those of these products that exist, by id; also the inactive ones."""
        ...
