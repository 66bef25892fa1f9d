"""Which service implements which contract, and in which class.

`shop/calls` routes calls by this table on both ends, so a contract with a row needs no further code.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from shop.contracts.accounts import AccountsService, ContactsService
from shop.contracts.catalog import CatalogService
from shop.contracts.inventory import InventoryService
from shop.contracts.messages import MessagesService
from shop.contracts.orders import OrdersService
from shop.contracts.personal import PersonalDataService


class Offer(NamedTuple):
    """`service` is empty if every service implements the contract; the class is then given its name.

    `callers` are the services that may call all its methods from a process of their own; methods that only some callers
    need are a contract of their own. The back office makes no calls: it has all services in its process.
    """

    service: str
    implementation: str
    callers: tuple[str, ...] = ()


OFFERS: Mapping[Any, Offer] = {
    AccountsService: Offer("accounts", "accounts.services.LocalAccounts", ("orders",)),
    ContactsService: Offer("accounts", "accounts.services.LocalContacts", ("notifications",)),
    CatalogService: Offer("catalog", "catalog.services.LocalCatalog", ("orders", "inventory")),
    InventoryService: Offer("inventory", "inventory.services.LocalInventory"),
    OrdersService: Offer("orders", "orders.privacy.LocalOrders", ("accounts",)),
    MessagesService: Offer("", "shop.calls.messages.LocalMessages", ("orders", "accounts")),
    PersonalDataService: Offer("", "shop.calls.personal.LocalPersonalData", ("accounts",)),
}
CALLERS = tuple(sorted({caller for offer in OFFERS.values() for caller in offer.callers}))
