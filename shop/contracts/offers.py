"""Who offers what: each contract, the service that keeps it and the class that does so there.

`shop/calls/rpc.py` calls by this table and `shop/calls/server.py` answers by it: a contract with a row
needs no further code.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from shop.contracts.accounts import AccountsService
from shop.contracts.catalog import CatalogService
from shop.contracts.inventory import InventoryService
from shop.contracts.messages import MessagesService


class Offer(NamedTuple):
    """`service` is empty when every service of the saga keeps the contract; the class is then made with its name."""

    service: str
    implementation: str


OFFERS: Mapping[Any, Offer] = {
    AccountsService: Offer("accounts", "accounts.services.LocalAccounts"),
    CatalogService: Offer("catalog", "catalog.services.LocalCatalog"),
    InventoryService: Offer("inventory", "inventory.services.LocalInventory"),
    MessagesService: Offer("", "sagas.reconciliation.LocalMessages"),
}
