"""Cancelling orders: until when it can be asked for, how it ends, and what is said of it."""

import pytest
from rest_framework.test import APIClient

from orders import cancellation
from orders.models import Order
from orders.tasks import complete_order, mark_cancelling, resume_order
from orders.tests.ordering import STARTED, handed_over, place, started
from sagas.registry import local_services
from sagas.testing import Bus
from shop.contracts.events import DeliveryCancellationRefused, DeliveryCompleted, DeliveryFailed
from shop.contracts.reasons import BY_CUSTOMER, said_by_carrier
from tests.support.ordering import seed_stock

pytestmark = pytest.mark.django_db(databases=local_services())


def test_cancelling(alice: APIClient, bus: Bus):
    seed_stock({1: 10})
    url = place(alice).headers["Location"]
    bus.drain(timers=False)

    answer = alice.post(f"{url}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "CANCELLING")

    again = alice.post(f"{url}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "O002")

    bus.drain(timers=False)
    body = alice.get(url).json()
    assert (body["status"], body["cancellationReason"]) == ("CANCELLED", "cancelled by the customer")
    assert alice.post(f"{url}/cancel").json()["code"] == "O002"


def test_a_completed_order_cannot_be_cancelled(alice: APIClient):
    url = place(alice).headers["Location"]
    Order.objects.update(status="COMPLETED")

    answer = alice.post(f"{url}/cancel")

    assert (answer.status_code, answer.json()["code"]) == (409, "O003")


def test_an_order_can_be_cancelled_until_it_is_known_that_the_carrier_has_it(order: Order):
    started(order)
    order.refresh_from_db()
    assert cancellation.can_be_cancelled(order)
    handed_over(order)
    started(order)  # late
    order.refresh_from_db()
    assert (order.status, cancellation.can_be_cancelled(order)) == ("SHIPPED", False)
    with pytest.raises(cancellation.NotCancellable):
        cancellation.request_cancellation(order.pk)


def test_a_refused_cancellation_leaves_the_order_with_the_carrier(order: Order):
    cancellation.request_cancellation(order.pk)
    handed_over(order)
    order.refresh_from_db()
    assert order.status == "CANCELLING"
    resume_order([DeliveryCancellationRefused(order_id=order.pk)])
    order.refresh_from_db()
    assert (order.status, order.cancellation_reason) == ("SHIPPED", "")


@pytest.mark.parametrize("unpaid", [False, True])
def test_an_order_that_arrives_before_its_cancellation_is_refused_was_not_cancelled(order: Order, unpaid: bool):
    cancellation.request_cancellation(order.pk)
    complete_order([DeliveryCompleted(order_id=order.pk, **STARTED, unpaid=unpaid)])
    resume_order([DeliveryCancellationRefused(order_id=order.pk)])
    order.refresh_from_db()
    assert (order.status, order.cancellation_reason) == ("UNPAID" if unpaid else "COMPLETED", "")


@pytest.mark.parametrize("words", ["PAY002: wet", "I002: wet", BY_CUSTOMER])
def test_what_a_carrier_says_is_no_code_and_no_wish_of_the_customers(order: Order, words: str):
    mark_cancelling([DeliveryFailed(order_id=order.pk, user_id=7, reason=said_by_carrier(words))])
    order.refresh_from_db()
    assert cancellation.refusal(order).code == "O002"
    resume_order([DeliveryCancellationRefused(order_id=order.pk)])  # as when one was asked for and came too late
    order.refresh_from_db()
    assert (order.status, order.cancellation_reason) == ("CANCELLING", f"carrier: {words}")
