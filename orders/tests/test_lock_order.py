"""Two who change the same rows at once lock them in the same order: otherwise one is aborted as a deadlock."""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders import open_orders
from orders.models import Order, OrderShipment, Return
from orders.returns import steps as returns
from orders.tasks import note_shipment, resize_shipments
from sagas.testing import Bus
from shop.contracts.events import DeliveryShipmentCompleted, InventoryChanged, Line, Shipment
from tests.support.locks import take_turns

pytestmark = pytest.mark.django_db(databases=["orders"], transaction=True)

SHIPMENT = Shipment(1, "EAST", (Line(1, 1),))


@pytest.fixture
def orders() -> list[int]:
    made = [
        Order.objects.create(user_id=7, currency="KRW", total_price=1, payment_gateway="TOSS_PAYMENTS")
        for _ in range(2)
    ]
    return [order.pk for order in made]


def arrived(order_id: int) -> DeliveryShipmentCompleted:
    return DeliveryShipmentCompleted(order_id=order_id, user_id=7, tracking_number="CJ1", shipment=SHIPMENT)


def test_shipments_arrive_while_there_is_less_in_them(orders: list[int]):
    first, second = orders
    note_shipment([arrived(one) for one in orders])
    less = Shipment(1, "EAST", (Line(1, 2),))

    changed = [InventoryChanged(order_id=one, change_id=uuid4(), shipments=(less,)) for one in (second, first)]

    take_turns(
        "orders",
        lambda: note_shipment([arrived(first)]),
        transaction.atomic(using="orders")(lambda: resize_shipments(changed)),
        lambda: note_shipment([arrived(second)]),
    )

    assert [one.lines for one in OrderShipment.objects.all()] == [[{"product_id": 1, "quantity": 2}]] * 2


@pytest.mark.parametrize(
    ("looks", "changed"),
    [(open_orders, 'UPDATE "orders_order"'), (returns, 'UPDATE "orders_return"')],
    ids=["orders", "returns"],
)
def test_what_needs_no_more_looks_is_locked_in_order_first(
    looks: Any, changed: str, orders: list[int], bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    now = timezone.now()
    Order.objects.update(status="COMPLETED", look_at=now, progress_at=now - timedelta(hours=1))
    for pk in orders:
        Return.objects.create(pk=pk + 100, order_id=pk, user_id=7, status="REQUESTED", look_at=now)
    monkeypatch.setattr(looks, "missing", lambda *_, **__: [])

    with CaptureQueriesContext(connections["orders"]) as asked:
        assert looks.look_after() == 2

    statements = [one["sql"] for one in asked if "UPDATE" in one["sql"]]
    first = next(n for n, one in enumerate(statements) if one.startswith(changed) and '"look_at" = NULL' in one)
    assert re.search(r"ORDER BY \S+ ASC FOR UPDATE$", statements[first - 1])
    assert not (Order if looks is open_orders else Return).objects.exclude(look_at=None)
