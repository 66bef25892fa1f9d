"""POST /orders/{id}/refunds: staff have a part given back, with a reason and a key."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from accounts.services import issue
from audit import Violation, audit
from inventory.services import seed_stock
from orders import open_orders
from orders.models import FINAL, Order, Refund, StaffAction
from orders.refunds import settle
from payments.models import Payment
from sagas.reconciliation import missing
from sagas.testing import Bus
from shop.contracts.events import Line, PaymentRefundRefused
from tests.conftest import SERVICES
from tests.support.ordering import place_order

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting")]

WANTED = {"amount": 300, "reason": "a scratch"}


@pytest.fixture
def order_id(bus: Bus) -> int:
    """An order that has come to its end, and is closed."""
    seed_stock({1: 10})
    placed = place_order(user_id=1, lines=[Line(1, 1)]).pk
    bus.drain()
    Order.objects.update(look_at=None)
    return placed


def client(**fields: Any) -> APIClient:
    user = User.objects.create(email=f"{User.objects.count()}@example.com", name="x", password="!", **fields)
    signed_in = APIClient()
    signed_in.credentials(HTTP_AUTHORIZATION=f"Bearer {issue(user).access}")
    return signed_in


@pytest.fixture
def clerk(bus: Bus) -> APIClient:
    return client(is_staff=True, is_superuser=True)


def ask(clerk: APIClient, order_id: int, key: str = "k", **more: Any) -> Any:
    return clerk.post(f"/api/v1/orders/{order_id}/refunds", WANTED | more, headers={"Idempotency-Key": key})


def told(order_id: int) -> list[tuple[str, str]]:
    rows = Order.objects.get(pk=order_id).timeline.filter(event__contains="Refund").values_list("event", "detail")
    return list(rows)


def test_a_part_is_given_back_and_everybody_knows(bus: Bus, clerk: APIClient, order_id: int):
    answer = ask(clerk, order_id)
    assert answer.status_code == 202
    asked = answer.json()
    assert asked == WANTED | {"status": "REQUESTED", "refusal": "", "returnId": None, "shipment": None} | {
        name: asked[name] for name in ("id", "createdAt")
    }
    bus.drain()
    assert Refund.objects.get().status == "COMPLETED"
    assert told(order_id) == [("OrderRefundRequested", "₩300"), ("PaymentRefundCompleted", "₩300")]
    payment = Payment.objects.get()
    assert (payment.status, payment.captured, payment.refunded) == ("COMPLETED", 1000, 300)
    assert Order.objects.get().status in FINAL
    action = StaffAction.objects.get()
    assert action.after is not None
    assert (action.action, action.target, action.after["amount"]) == ("refund", f"order {order_id}", 300)
    assert [one for one in audit(strict=True) if isinstance(one, Violation)] == []


def test_its_customer_sees_what_is_given_back_and_staff_see_why(bus: Bus, clerk: APIClient, order_id: int):
    first, second = (ask(clerk, order_id, key, amount=600).json()["id"] for key in "ab")
    bus.drain()
    customer, url = client(), f"/api/v1/orders/{order_id}/refunds"
    Order.objects.update(user_id=User.objects.latest("pk").pk)

    def listed(reader: APIClient) -> list[tuple[str, str, str]]:
        return [(one["id"], one["status"], one["reason"]) for one in reader.get(url).json()["results"]]

    assert listed(clerk) == [(second, "REFUSED", "a scratch"), (first, "COMPLETED", "a scratch")]
    assert listed(customer) == [(second, "REFUSED", ""), (first, "COMPLETED", "")]
    assert client().get(url).status_code == 404


def test_more_than_is_left_is_refused(bus: Bus, clerk: APIClient, order_id: int):
    for key in ("a", "b"):
        assert ask(clerk, order_id, key, amount=600).status_code == 202
    bus.drain()
    assert sorted(Refund.objects.values_list("status", flat=True)) == ["COMPLETED", "REFUSED"]
    assert Payment.objects.get().refunded == 600


def test_a_refusal_without_a_reason_is_a_refusal(clerk: APIClient, order_id: int):
    ask(clerk, order_id)
    refund = Refund.objects.get()
    settle([PaymentRefundRefused(order_id=order_id, refund_id=refund.pk, amount=refund.amount, reason="")])
    assert Refund.objects.get().status == "REFUSED"


def test_sent_again_it_is_made_once(bus: Bus, clerk: APIClient, order_id: int):
    first = ask(clerk, order_id).json()
    assert ask(clerk, order_id).json() == first
    assert ask(clerk, order_id, amount=301).status_code == 422
    bus.drain()
    assert Payment.objects.get().refunded == 300


def look_after(bus: Bus) -> None:
    """As if its order had not moved for long."""
    long_ago = Order.objects.get().created_at.replace(year=2000)
    Order.objects.filter(look_at__isnull=False).update(look_at=long_ago, progress_at=long_ago)
    bus.tick("orders.look_after")


def test_a_request_that_was_lost_is_made_again_although_its_order_is_closed(bus: Bus, clerk: APIClient, order_id: int):
    ask(clerk, order_id)
    bus.relay()
    bus.messages.clear()  # the broker lost it
    look_after(bus)
    bus.drain()
    assert Refund.objects.get().status == "COMPLETED"


def test_its_order_stays_open_until_everybody_has_heard_the_answer(bus: Bus, clerk: APIClient, order_id: int):
    ask(clerk, order_id)
    bus.relay()
    bus.deliver()  # payments enters it, and the gateway takes its time
    look_after(bus)
    assert (Order.objects.get().look_at is None, Refund.objects.get().status) == (False, "REQUESTED")

    bus.tick("payments.settle_payments")
    while bus.relay():
        pass
    assert [step for step, _ in bus.messages] == ["orders.note_refund", "notifications.notify"]
    bus.messages.clear()  # the broker lost the answer
    look_after(bus)
    assert Order.objects.get().looks > 0
    bus.drain(timers=False)
    assert Refund.objects.get().status == "COMPLETED"
    assert [one for one in audit(strict=True) if isinstance(one, Violation)] == []

    assert Order.objects.get().looks == 0  # so it is soon looked at again
    look_after(bus)
    assert Order.objects.get().look_at is None


def test_one_asked_for_while_its_order_is_being_closed_keeps_it_open(
    bus: Bus, clerk: APIClient, order_id: int, monkeypatch: pytest.MonkeyPatch
):
    def missing_then_ask(*args: Any, **kwargs: Any) -> Any:
        found = missing(*args, **kwargs)
        ask(clerk, order_id)
        return found

    monkeypatch.setattr(open_orders, "missing", missing_then_ask)
    Order.objects.update(look_at=Order.objects.get().created_at)
    look_after(bus)
    assert Order.objects.get().look_at is not None


@pytest.mark.parametrize(
    ("sent", "key"), [({"amount": 0}, "k"), ({"reason": ""}, "k"), ({"amount": "x"}, "k"), ({}, ""), ({}, "é")]
)
def test_what_cannot_be_meant_is_refused(clerk: APIClient, order_id: int, sent: dict[str, Any], key: str):
    assert ask(clerk, order_id, key, **sent).status_code == 400
    assert not Refund.objects.exists()


def test_nobody_else_may(bus: Bus, order_id: int):
    assert ask(client(), order_id).status_code == 403
    assert ask(client(is_staff=True), order_id).status_code == 403
    assert ask(client(is_staff=True, is_superuser=True), 10**9).status_code == 404
