"""Which service implements which contract, and in which class.

`shop/calls` routes calls by this table on both ends, so a contract with a row needs no further code.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from shop.contracts.accounts import AccountsService
from shop.contracts.catalog import CatalogService
from shop.contracts.inventory import InventoryService
from shop.contracts.messages import MessagesService


class Offer(NamedTuple):
    """`service` is empty if every service of the saga implements the contract; the class is then given its name."""

    service: str
    implementation: str


OFFERS: Mapping[Any, Offer] = {
    AccountsService: Offer("accounts", "accounts.services.LocalAccounts"),
    CatalogService: Offer("catalog", "catalog.services.LocalCatalog"),
    InventoryService: Offer("inventory", "inventory.services.LocalInventory"),
    MessagesService: Offer("", "shop.calls.messages.LocalMessages"),
}
