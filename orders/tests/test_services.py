"""An order's steps, whatever the order in which events arrive."""

from collections.abc import Callable

import pytest

from orders.models import Order
from orders.tasks import complete_order, mark_paid, mark_started
from orders.tests.ordering import STARTED, handed_over, started
from shop.contracts.events import (
    Checkout,
    DeliveryCompleted,
    DeliveryStarted,
    Line,
    PaymentCompleted,
)

pytestmark = pytest.mark.django_db(databases=["orders"])

CHECKOUT = Checkout(
    user_id=7, amount=1, currency="KRW", payment_gateway="TOSS_PAYMENTS", payment_token="tok_ok", lines=(Line(1, 1),)
)


@pytest.mark.parametrize(("happens", "status"), [(started, "DELIVERY_STARTED"), (handed_over, "SHIPPED")])
def test_the_tracking_number_comes_with_the_move(
    order: Order, django_assert_num_queries, happens: Callable[[Order], None], status: str
):
    with django_assert_num_queries(1, using="orders"):
        happens(order)
    order.refresh_from_db()
    assert (order.status, order.tracking_number) == (status, "CJ0000000001")
    assert [one.number for one in order.numbers.all()] == ["CJ0000000001"]  # by which it is found


@pytest.mark.parametrize("status", ["CANCELLING", "COMPLETED", "CANCELLED"])
def test_an_order_that_does_not_move_any_more_gets_its_tracking_number_all_the_same(order: Order, status: str):
    Order.objects.update(status=status)
    handed_over(order)
    order.refresh_from_db()
    assert (order.status, order.tracking_number) == (status, "CJ0000000001")
    assert [one.number for one in order.numbers.all()] == ["CJ0000000001"]  # by which it is found
    assert not order.timeline.exists()


def test_what_comes_late_takes_nothing_back(order: Order):
    completed = complete_order([DeliveryCompleted(order_id=order.pk, **STARTED)])
    mark_paid([PaymentCompleted(order_id=order.pk, checkout=CHECKOUT)])
    order.refresh_from_db()
    assert [event.order_id for event in completed] == [order.pk]
    assert (order.status, order.tracking_number) == ("COMPLETED", "CJ0000000001")
    assert [entry.event for entry in order.timeline.all()] == ["DeliveryCompleted"]


def test_an_order_is_found_by_every_number_it_had_however_late_that_is_heard(order: Order):
    again = {**STARTED, "tracking_number": "CJ0000000002"}  # booked again, for another address
    complete_order([DeliveryCompleted(order_id=order.pk, **again)])
    mark_started([DeliveryStarted(order_id=order.pk, **again)])
    mark_started([DeliveryStarted(order_id=order.pk, **STARTED)])
    order.refresh_from_db()
    assert order.tracking_number == "CJ0000000002"
    assert {one.number for one in order.numbers.all()} == {"CJ0000000001", "CJ0000000002"}
