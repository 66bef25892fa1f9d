"""Customers, products and parcels, looked up for lists of orders and others. The admin runs where all databases are."""

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.db.models import Q

from sagas.outages import OUTAGES
from shop.calls import connect
from shop.contracts.accounts import AccountsService, UserView
from shop.text import mailbox, tidy

FOUND = 500  # users or products that a search returns, at most


def users(user_ids: Iterable[int | None]) -> dict[int, UserView]:
    """Return these users by id, without unknown ones. Raises one of `OUTAGES` while accounts is down."""
    known = {user_id for user_id in user_ids if user_id is not None}
    return connect(AccountsService).get_users(known) if known else {}


def names(user_ids: Iterable[int]) -> dict[int, str]:
    """Return these users' names; the numbers of those that are unknown, or of all while accounts is away."""
    ids = list(user_ids)
    try:
        known = users(ids)
    except OUTAGES:
        known = {}
    return {user_id: known[user_id].name if user_id in known else f"#{user_id}" for user_id in ids}


def find_users(text: str, *, by_phone: bool) -> list[int]:
    """Return ids of users whose e-mail address or name begins with a text, or (`by_phone`) whose phone number it is."""
    if not (text := tidy(text)):
        return []
    known = Q(email__startswith=mailbox(text)) | Q(name__istartswith=text)
    return _ids("accounts.User", known | Q(phone=text) if by_phone else known)


def find_products(text: str) -> list[int]:
    """Return ids of products whose name contains a text."""
    return _ids("catalog.Product", Q(name__icontains=tidy(text))) if text.strip() else []


def shipped_as(number: str) -> list[int]:
    """Return the ids of orders whose parcels have, or had, a tracking number."""
    number = tidy(number)
    numbers: Any = apps.get_model("orders.ParcelNumber")
    found = numbers.objects.filter(number__in={number, number.upper()})
    return list(found.values_list("order_id", flat=True))


def off_sale() -> list[int]:
    """Return ids of products that are not on sale, the newest ones."""
    products: Any = apps.get_model("catalog.Product")
    return list(products.objects.filter(active=False).order_by("-pk").values_list("pk", flat=True)[:10_000])


def _ids(model: str, condition: Q) -> list[int]:
    rows: Any = apps.get_model(model)
    return list(rows.objects.filter(condition).order_by("-pk").values_list("pk", flat=True)[:FOUND])
