"""What the tests of orders are written in: requests of users, and news of an order's parcel."""

from typing import Any

from rest_framework.test import APIClient

from orders.models import Order
from orders.tasks import mark_shipped, mark_started
from shop.contracts.events import DeliveryHandedOver, DeliveryStarted
from tests.support.fakes import Caller
from tests.support.ordering import PAID_AND_SENT

URL = "/api/v1/orders"
STARTED: Any = {"user_id": 7, "tracking_number": "CJ0000000001"}


def client_of(user_id: int, *, staff: bool = False) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(Caller(user_id, staff=staff))  # type: ignore[arg-type]
    return client


def place(client: APIClient, body: Any = None, **headers: str) -> Any:
    wanted = PAID_AND_SENT | (body or {"productId": 1, "quantity": 2})
    return client.post(URL, wanted, format="json", headers=headers)


def started(order: Order) -> None:
    mark_started([DeliveryStarted(order_id=order.pk, **STARTED)])


def handed_over(order: Order) -> None:
    mark_shipped([DeliveryHandedOver(order_id=order.pk, **STARTED)])
