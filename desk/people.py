"""Customers and products, looked up for lists of other services. The admin runs where all databases are."""

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.db.models import Q

from sagas.outages import OUTAGES
from shop.calls import connect
from shop.contracts.accounts import AccountsService, UserView
from shop.text import mailbox, tidy

FOUND = 500  # users or products that a search goes on with, at most


def users(user_ids: Iterable[int | None]) -> dict[int, UserView]:
    """Those of these users that there are, by id. Raises one of `OUTAGES` while accounts is away."""
    known = {user_id for user_id in user_ids if user_id is not None}
    return connect(AccountsService).get_users(known) if known else {}


def find_users(text: str, *, by_phone: bool) -> list[int]:
    """Ids of users whose e-mail address or name begins with a text; for who may see phone numbers, or whose it is."""
    if not (text := tidy(text)):
        return []
    known = Q(email__startswith=mailbox(text)) | Q(name__istartswith=text)
    return _ids("accounts.User", known | Q(phone=text) if by_phone else known)


def find_products(text: str) -> list[int]:
    """Ids of products whose name contains a text."""
    return _ids("catalog.Product", Q(name__icontains=tidy(text))) if text.strip() else []


def shipped_as(number: str) -> list[int]:
    """Ids of orders whose parcel has a tracking number: one or none. Of a number that carriers give, letters first."""
    number = number.strip().upper()
    if not number[:2].isalpha() or not number[2:].isdecimal():
        return []
    try:
        deliveries: Any = apps.get_model("delivery.Delivery")
        return list(deliveries.objects.filter(tracking_number=number).values_list("order_id", flat=True))
    except OUTAGES:
        return []


def off_sale() -> list[int]:
    """Ids of products that are not sold now, the newest."""
    products: Any = apps.get_model("catalog.Product")
    return list(products.objects.filter(active=False).order_by("-pk").values_list("pk", flat=True)[:10_000])


def _ids(model: str, condition: Q) -> list[int]:
    rows: Any = apps.get_model(model)
    return list(rows.objects.filter(condition).order_by("-pk").values_list("pk", flat=True)[:FOUND])
