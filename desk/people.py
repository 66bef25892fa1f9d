"""Customers and products, looked up for lists of other services. The admin runs where all databases are."""

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.db.models import Q

from sagas.outages import OUTAGES
from shop.calls import connect
from shop.contracts.accounts import AccountsService, UserView
from shop.text import TRACKING_NUMBER, mailbox, tidy

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
    """Return the ids of orders with a tracking number: rarely more than one, though two carriers may give the same."""
    number = number.strip().upper()
    if not TRACKING_NUMBER.match(number):
        return []
    try:
        deliveries: Any = apps.get_model("delivery.Delivery")
        return list(deliveries.objects.filter(tracking_number=number).values_list("order_id", flat=True))
    except OUTAGES:
        return []


def off_sale() -> list[int]:
    """Return ids of products that are not on sale, the newest ones."""
    products: Any = apps.get_model("catalog.Product")
    return list(products.objects.filter(active=False).order_by("-pk").values_list("pk", flat=True)[:10_000])


def _ids(model: str, condition: Q) -> list[int]:
    rows: Any = apps.get_model(model)
    return list(rows.objects.filter(condition).order_by("-pk").values_list("pk", flat=True)[:FOUND])
