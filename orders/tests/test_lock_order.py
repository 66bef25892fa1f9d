"""Two who change the same rows at once lock them in the same order: otherwise one is aborted as a deadlock."""

from uuid import uuid4

import pytest
from django.db import transaction

from orders.models import Order, OrderShipment
from orders.tasks import note_shipment, resize_shipments
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
