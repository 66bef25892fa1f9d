"""An order's steps, whatever the order in which events arrive."""

from collections.abc import Callable
from typing import Any

import pytest

from orders import services
from orders.models import Order
from orders.tasks import complete_order, mark_cancelling, mark_paid, mark_shipped, mark_started, resume_order
from shop.contracts.events import (
    Checkout,
    DeliveryCancellationRefused,
    DeliveryCompleted,
    DeliveryFailed,
    DeliveryHandedOver,
    DeliveryStarted,
    Line,
    PaymentCompleted,
)
from shop.contracts.reasons import BY_CUSTOMER, said_by_carrier

pytestmark = pytest.mark.django_db(databases=["orders"])

STARTED: Any = {"user_id": 7, "tracking_number": "CJ0000000001"}
CHECKOUT = Checkout(
    user_id=7, amount=1, currency="KRW", payment_gateway="TOSS_PAYMENTS", payment_token="tok_ok", lines=(Line(1, 1),)
)


@pytest.fixture
def order() -> Order:
    return Order.objects.create(user_id=7, currency="KRW", total_price=1, payment_gateway="TOSS_PAYMENTS")


def started(order: Order) -> None:
    mark_started([DeliveryStarted(order_id=order.pk, **STARTED)])


def handed_over(order: Order) -> None:
    mark_shipped([DeliveryHandedOver(order_id=order.pk, **STARTED)])


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


def test_an_order_can_be_cancelled_until_it_is_known_that_the_carrier_has_it(order: Order):
    started(order)
    order.refresh_from_db()
    assert services.can_be_cancelled(order)
    handed_over(order)
    started(order)  # late
    order.refresh_from_db()
    assert (order.status, services.can_be_cancelled(order)) == ("SHIPPED", False)
    with pytest.raises(services.NotCancellable):
        services.request_cancellation(order.pk)


def test_a_refused_cancellation_leaves_the_order_with_the_carrier(order: Order):
    services.request_cancellation(order.pk)
    handed_over(order)
    order.refresh_from_db()
    assert order.status == "CANCELLING"
    resume_order([DeliveryCancellationRefused(order_id=order.pk)])
    order.refresh_from_db()
    assert (order.status, order.cancellation_reason) == ("SHIPPED", "")


def test_what_comes_late_takes_nothing_back(order: Order):
    completed = complete_order([DeliveryCompleted(order_id=order.pk, **STARTED)])
    mark_paid([PaymentCompleted(order_id=order.pk, checkout=CHECKOUT)])
    order.refresh_from_db()
    assert [event.order_id for event in completed] == [order.pk]
    assert (order.status, order.tracking_number) == ("COMPLETED", "CJ0000000001")
    assert [entry.event for entry in order.timeline.all()] == ["DeliveryCompleted"]


@pytest.mark.parametrize("words", ["PAY002: wet", "I002: wet", BY_CUSTOMER])
def test_what_a_carrier_says_is_no_code_and_no_wish_of_the_customers(order: Order, words: str):
    mark_cancelling([DeliveryFailed(order_id=order.pk, user_id=7, reason=said_by_carrier(words))])
    order.refresh_from_db()
    assert services.refusal(order).code == "O002"
    resume_order([DeliveryCancellationRefused(order_id=order.pk)])  # as when one was asked for and came too late
    order.refresh_from_db()
    assert (order.status, order.cancellation_reason) == ("CANCELLING", f"carrier: {words}")
