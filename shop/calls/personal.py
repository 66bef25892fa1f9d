"""A customer's data from all services, as one archive.

A service's part comes from its `privacy.py`, which has `of_user(user_id)`, `of_orders(order_ids)`, both or neither.
"""

from collections.abc import Collection, Iterator, Sequence
from importlib import import_module
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile

import msgspec
from django.apps import apps
from django.conf import settings
from django.db.models import Q, QuerySet

from shop.calls.rpc import connect
from shop.contracts.orders import OrdersService
from shop.contracts.personal import PersonalDataService, Rows

PORTION = 200  # orders per call


class LocalPersonalData:
    """`shop.contracts.personal.PersonalDataService` on a service's own tables."""

    def __init__(self, service: str) -> None:
        self._service = service

    def get_personal_data(self, user_id: int, order_ids: Collection[int]) -> Rows:
        own = vars(import_module(f"{self._service}.privacy"))
        name, about = ("of_orders", order_ids) if order_ids else ("of_user", user_id)
        collected: Rows = own[name](about) if name in own else {}
        return collected | {"staff_actions": listed(self._staff_actions(user_id, order_ids), "actor", "actor_id")}

    def _staff_actions(self, user_id: int, order_ids: Collection[int]) -> QuerySet[Any]:
        """What staff did to the user, and what the user did as staff; or what staff did to these orders."""
        rows: QuerySet[Any] = apps.get_model(self._service, "StaffAction").objects.order_by("pk")
        if order_ids:
            return rows.filter(target__in=[f"order {order_id}" for order_id in order_ids])
        return rows.filter(Q(target=f"user {user_id}") | Q(actor_id=user_id))


def listed(rows: QuerySet[Any], *omitted: str) -> list[dict[str, Any]]:
    """Return rows as JSON values, without the omitted columns."""
    shown = [field.attname for field in rows.model._meta.concrete_fields if field.attname not in omitted]
    found: list[dict[str, Any]] = msgspec.to_builtins(list(rows.values(*shown)))
    return found


def write_archive(user_id: int, file: IO[bytes]) -> None:
    """Write a ZIP with a JSON file per service, such as `orders.json`; with many orders also `orders-2.json` and so on.

    Raises `Unavailable` while one of the services is down.
    """
    found = connect(OrdersService).get_orders_of(user_id)
    order_ids = sorted([*found.running, *found.ended])
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for service in settings.SERVICES:
            for number, rows in enumerate(_asked(service, user_id, order_ids), start=1):
                name = f"{service}.json" if number == 1 else f"{service}-{number}.json"
                archive.writestr(name, msgspec.json.format(msgspec.json.encode(rows)))


def _asked(service: str, user_id: int, order_ids: Sequence[int]) -> Iterator[Rows]:
    """Yield a service's rows: about the user and the first batch of orders, then about one batch after another."""
    offered = connect(PersonalDataService, of=service)
    rows = offered.get_personal_data(user_id, [])
    for first in range(0, len(order_ids), PORTION):
        of_orders = offered.get_personal_data(user_id, order_ids[first : first + PORTION])
        yield {name: rows.get(name, []) + of_orders.get(name, []) for name in sorted(rows.keys() | of_orders.keys())}
        rows = {}
    if rows or not order_ids:
        yield rows
