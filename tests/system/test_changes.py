"""POST /orders/{id}/changes: before the carrier has the parcel, pieces are cancelled and their money is given back, or
the parcel is sent elsewhere."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from accounts.services import issue
from audit import Violation, audit
from delivery import models as delivery_models
from delivery.models import Delivery
from inventory.models import Reservation, StockItem
from inventory.services import seed_stock
from notifications.models import Notification
from orders.cancellation import request_cancellation
from orders.changes.steps import refuse
from orders.models import Order, OrderChange, Outbox, StaffAction
from orders.refunds import request_refund
from payments.models import GatewayLedger, Payment
from sagas.registry import TIMERS
from sagas.testing import Bus
from shop.contracts.events import Line, PaymentChangeRefused
from shop.seal import What, unseal
from tests.conftest import SERVICES
from tests.support.ordering import place_order
from tests.support.sagas import go_on

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting")]

PRICE, PIECES = 1000, 10  # of product 1; the other one costs twice as much
HOME, ELSEWHERE = "1 High Street", "2 Low Street\n서울"


def client(**fields: Any) -> APIClient:
    number = User.objects.count() + 1
    user = User.objects.create(**{"pk": number, "email": f"{number}@example.com", "name": "x"} | fields)
    signed_in = APIClient()
    signed_in.credentials(HTTP_AUTHORIZATION=f"Bearer {issue(user).access}")
    return signed_in


@pytest.fixture
def customer(bus: Bus) -> APIClient:
    seed_stock({1: PIECES, 2: PIECES})
    return client(pk=1)


@pytest.fixture
def order_id(customer: APIClient) -> int:
    """Three pieces of one product, and two of another."""
    return place_order(user_id=1, lines=[Line(1, 3), Line(2, 2)], address=HOME).pk


def wanted(**quantities: int) -> dict[str, Any]:
    return {"items": [{"productId": int(name[1:]), "quantity": count} for name, count in quantities.items()]}


def ask(customer: APIClient, order_id: int, key: str = "k", **body: Any) -> Any:
    return customer.post(
        f"/api/v1/orders/{order_id}/changes", body or wanted(p1=1, p2=0), headers={"Idempotency-Key": key}
    )


def before_the_hand_over(bus: Bus) -> None:
    """The parcel waits for its carrier."""
    bus.drain(timers=False)


def lines(order_id: int) -> dict[int, int]:
    return dict(Order.objects.get(pk=order_id).items.values_list("product_id", "quantity"))


def held_in_stock() -> dict[int, tuple[int, int]]:
    return {item.product_id: (item.on_hand, item.reserved) for item in StockItem.objects.all()}


def status_of(order_id: int) -> str:
    return OrderChange.objects.get(order=order_id).status


def sound() -> None:
    assert [found for found in audit(strict=True) if isinstance(found, Violation)] == []


def test_pieces_are_cancelled_and_everybody_knows(bus: Bus, customer: APIClient, order_id: int):
    before_the_hand_over(bus)
    answer = ask(customer, order_id, **wanted(p1=1, p2=0), reason="one is enough", expectedTotal=PRICE)
    assert answer.status_code == 202, answer.json()
    shown = answer.json()
    assert (shown["status"], shown["amount"], [one["quantity"] for one in shown["items"]]) == (
        "REQUESTED",
        -6 * PRICE,
        [-2, -2],
    )
    bus.drain()
    order = Order.objects.get()
    assert (order.status, order.total_price, lines(order_id)) == ("COMPLETED", PRICE, {1: 1})
    payment = Payment.objects.get()
    assert (payment.status, payment.captured, payment.refunded) == ("COMPLETED", 7 * PRICE, 6 * PRICE)
    assert held_in_stock() == {1: (PIECES - 1, 0), 2: (PIECES, 0)}
    (listed,) = customer.get(f"/api/v1/orders/{order_id}/changes").json()["results"]
    assert (listed["status"], listed["refusal"]) == ("MADE", "")
    entries = list(order.timeline.filter(event__contains="Change").values_list("event", "detail"))
    assert entries == [("OrderChangeRequested", "-₩6,000"), ("PaymentChanged", "-₩6,000")]
    assert Notification.objects.filter(type="ORDER_CHANGED").exists()
    sound()


def test_the_parcel_stays_until_the_change_has_ended(bus: Bus, customer: APIClient, order_id: int):
    before_the_hand_over(bus)
    ask(customer, order_id)
    bus.drain(timers=False)
    bus.tick("delivery.advance_deliveries")
    assert (Delivery.objects.get().status, Order.objects.get().status) == ("HELD", "DELIVERY_STARTED")
    bus.drain()
    assert Delivery.objects.get().status == "DELIVERED"
    assert Reservation.objects.get().lines.get().quantity == 1


@pytest.mark.parametrize("seen", range(12))
def test_whenever_it_is_asked_for_it_is_made_or_refused(bus: Bus, customer: APIClient, order_id: int, seen: int):
    """After so many messages: waiting, at once, and too late."""
    go_on(bus, seen)
    answer = ask(customer, order_id, **wanted(p1=1, p2=0), address=ELSEWHERE)
    bus.drain()
    assert answer.status_code == 202 or answer.json()["code"] == "O005", answer.json()
    made = answer.status_code == 202 and status_of(order_id) == "MADE"
    assert made or seen
    assert Order.objects.get().status == "COMPLETED"
    assert lines(order_id) == ({1: 1} if made else {1: 3, 2: 2})
    assert sent_to(order_id) == [ELSEWHERE if made else HOME]
    sound()


def sent_to(order_id: int) -> list[str]:
    return list(Delivery.objects.filter(order_id=order_id).order_by("number").values_list("address", flat=True))


# --- The address ------------------------------------------------------------------------------------------------------
def test_the_parcel_goes_elsewhere_and_nobody_else_knows_where(bus: Bus, customer: APIClient, order_id: int):
    before_the_hand_over(bus)
    key = Delivery.objects.get().key
    answer = ask(customer, order_id, address=f" {ELSEWHERE} ", reason="moved", expectedTotal=7 * PRICE).json()
    assert (answer["status"], answer["amount"], answer["items"], answer["address"]) == ("REQUESTED", 0, [], ELSEWHERE)
    requested = Outbox.objects.get(event_type="OrderChangeRequested").payload["change"]
    assert unseal(requested["address"], What.ADDRESS, order_id=order_id) == ELSEWHERE
    bus.drain()
    assert (Order.objects.get().status, sent_to(order_id), lines(order_id)) == ("COMPLETED", [ELSEWHERE], {1: 3, 2: 2})
    assert Delivery.objects.get().key != key  # it was booked anew
    assert GatewayLedger.objects.count() == 1  # the charge: no gateway was asked about the change
    (held,) = delivery_models.Inbox.objects.get(event_type="OrderChangeRequested").emitted
    assert held["change"] == requested | {"address": ""}
    (listed,) = customer.get(f"/api/v1/orders/{order_id}/changes").json()["results"]
    assert (listed["status"], listed["address"]) == ("MADE", ELSEWHERE)
    entries = list(Order.objects.get().timeline.filter(event__contains="Change").values_list("event", "detail"))
    assert entries == [("OrderChangeRequested", "another address"), ("PaymentChanged", "another address")]
    told = Notification.objects.get(type="ADDRESS_CHANGED", channel="EMAIL")
    assert "새 배송지로" in told.body
    assert ELSEWHERE not in told.body
    sound()


def test_an_order_that_waits_for_its_payment_goes_elsewhere_when_it_is_paid(
    bus: Bus, customer: APIClient, order_id: int
):
    answer = ask(customer, order_id, address=ELSEWHERE).json()
    assert (answer["status"], answer["address"]) == ("WAITING", ELSEWHERE)
    bus.drain()
    assert (status_of(order_id), sent_to(order_id)) == ("MADE", [ELSEWHERE])
    sound()


def test_all_shipments_go_elsewhere_even_if_delivery_hears_late_that_they_are_paid(bus: Bus, customer: APIClient):
    seed_stock({3: 1}, "EAST")
    order_id = place_order(user_id=1, lines=[Line(1, 1), Line(3, 1)], address=HOME).pk
    ask(customer, order_id, address=ELSEWHERE)

    def the_start_last(_count: int) -> int:
        steps = [step for step, _ in bus.messages]
        return next((number for number, step in enumerate(steps) if step != "delivery.start_delivery"), 0)

    bus.drain(timers=False, pick=the_start_last)
    bus.drain()
    assert [step for step, _ in bus.log].index("delivery.let_go") < [step for step, _ in bus.log].index(
        "delivery.start_delivery"
    )
    assert (status_of(order_id), sent_to(order_id)) == ("MADE", [ELSEWHERE] * 2)
    assert Order.objects.get(pk=order_id).status == "COMPLETED"
    sound()


@pytest.mark.parametrize("after", range(9))
def test_a_cancellation_of_the_order_wins_over_its_new_address(
    bus: Bus, customer: APIClient, order_id: int, after: int
):
    before_the_hand_over(bus)
    ask(customer, order_id, address=ELSEWHERE)
    for _ in range(after):
        if bus.messages or bus.relay():
            bus.deliver()
    request_cancellation(order_id)
    bus.drain()
    assert Order.objects.get().status == "CANCELLED"
    assert status_of(order_id) in ("MADE", "REFUSED")
    sound()


def test_the_old_address_stays_when_the_carrier_was_faster_and_the_new_one_is_forgotten(
    bus: Bus, customer: APIClient, order_id: int
):
    before_the_hand_over(bus)
    bus.tick("delivery.advance_deliveries")
    ask(customer, order_id, address=ELSEWHERE)
    bus.drain()
    assert (status_of(order_id), sent_to(order_id)) == ("REFUSED", [HOME])
    change = OrderChange.objects.get()
    assert (change.of_address, change.address) == (True, "")
    sound()


def test_the_old_address_stays_when_payments_refuses_and_another_may_follow(
    bus: Bus, customer: APIClient, order_id: int
):
    before_the_hand_over(bus)
    request_refund(order_id, key="k", amount=2 * PRICE, reason="a scratch")
    bus.drain(timers=False)
    bus.tick("payments.settle_payments")
    ask(customer, order_id, **wanted(p1=1, p2=0), address=ELSEWHERE)
    bus.drain(timers=False)
    assert (status_of(order_id), sent_to(order_id)) == ("REFUSED", [HOME])
    assert ask(customer, order_id, "again", address=ELSEWHERE).status_code == 202
    bus.drain()
    assert sent_to(order_id) == [ELSEWHERE]
    sound()


def test_back_again_is_another_change_and_there_already_is_none(bus: Bus, customer: APIClient, order_id: int):
    before_the_hand_over(bus)
    for key, address, status in [("a", ELSEWHERE, 202), ("b", ELSEWHERE, 409), ("c", HOME, 202), ("d", HOME, 409)]:
        assert ask(customer, order_id, key, address=address).status_code == status, key
        bus.drain(timers=False)
    bus.drain()
    assert sent_to(order_id) == [HOME]
    sound()


def test_a_change_that_overtakes_the_end_of_the_last_one_knows_its_address(
    bus: Bus, customer: APIClient, order_id: int
):
    before_the_hand_over(bus)
    ask(customer, order_id, "a", address=ELSEWHERE)
    bus.drain(timers=False, until=lambda: status_of(order_id) == "MADE")
    assert ask(customer, order_id, "b", **wanted(p1=1)).status_code == 202
    bus.relay()

    def the_end_last(_count: int) -> int:
        steps = [step for step, _ in bus.messages]
        return next((number for number, step in enumerate(steps) if step != "inventory.change_stock"), 0)

    bus.drain(pick=the_end_last)
    steps = [step for step, _ in bus.log]
    assert [step for step in steps if step in ("delivery.hold_parcel", "delivery.let_go")] == [
        "delivery.hold_parcel", "delivery.hold_parcel", "delivery.let_go", "delivery.let_go",
    ]  # fmt: skip
    assert (lines(order_id), sent_to(order_id)) == ({1: 1, 2: 2}, [ELSEWHERE])
    sound()


def test_who_may_not_see_addresses_does_not_see_it_here(bus: Bus, customer: APIClient, order_id: int):
    clerk = client(is_staff=True)
    for name in ("view_order", "change_order"):
        User.objects.latest("pk").user_permissions.add(Permission.objects.get(codename=name))
    clerk.credentials(HTTP_AUTHORIZATION=f"Bearer {issue(User.objects.latest('pk')).access}")
    assert ask(clerk, order_id, address=ELSEWHERE).json()["address"] == ""
    path = f"/api/v1/orders/{order_id}/changes"
    assert clerk.get(path).json()["results"][0]["address"] == ""
    assert customer.get(path).json()["results"][0]["address"] == ELSEWHERE
    action = StaffAction.objects.get()
    assert action.after["of address"] is True
    assert ELSEWHERE not in str(action.after)


def test_the_address_of_a_change_is_forgotten_with_the_events_of_its_time(
    bus: Bus, customer: APIClient, order_id: int, settings: Any
):
    ask(customer, order_id, address=ELSEWHERE)
    bus.drain()
    TIMERS["orders.purge"]()
    assert OrderChange.objects.get().new_address == ELSEWHERE
    OrderChange.objects.update(updated_at=timezone.now() - settings.SAGAS.retention - timedelta(minutes=1))
    TIMERS["orders.purge"]()
    change = OrderChange.objects.get()
    assert (change.of_address, change.address, change.request_hash, change.new_address) == (True, "", "", "")


def test_what_was_sealed_with_a_secret_that_is_gone_is_shown_to_nobody(
    bus: Bus, customer: APIClient, order_id: int, settings: Any
):
    ask(customer, order_id, address=ELSEWHERE)
    bus.drain()
    settings.SEAL_KEYS = ["another secret, for the old one has leaked"]
    (listed,) = customer.get(f"/api/v1/orders/{order_id}/changes").json()["results"]
    assert (listed["status"], listed["address"]) == ("MADE", "")


# --- Pieces -----------------------------------------------------------------------------------------------------------
def test_what_waits_for_a_payment_that_is_declined_ends_with_the_order(bus: Bus, customer: APIClient):
    order_id = place_order(user_id=1, lines=[Line(1, 3)], payment_token="tok_declined").pk
    assert ask(customer, order_id, **wanted(p1=1)).json()["status"] == "WAITING"
    bus.drain()
    change = OrderChange.objects.get()
    assert (Order.objects.get().status, change.status) == ("CANCELLED", "REFUSED")
    assert Order.objects.get().change_id is None
    sound()


@pytest.mark.parametrize("after", range(9))
def test_a_cancellation_of_the_order_wins_over_its_change(bus: Bus, customer: APIClient, order_id: int, after: int):
    """…whenever it comes: nothing is kept, and the change ends."""
    before_the_hand_over(bus)
    ask(customer, order_id)
    for _ in range(after):
        bus.messages and bus.deliver()
        bus.relay()
        if not bus.messages:
            bus.tick("payments.settle_payments")
    request_cancellation(order_id)
    bus.drain()
    assert Order.objects.get().status == "CANCELLED"
    assert status_of(order_id) in ("MADE", "REFUSED")
    assert held_in_stock() == {1: (PIECES, 0), 2: (PIECES, 0)}
    payment = Payment.objects.get()
    assert payment.captured == payment.refunded == 7 * PRICE
    sound()


def test_of_money_that_is_only_held_so_much_less_is_taken(bus: Bus, customer: APIClient, settings: Any):
    settings.PAYMENT_CAPTURE = "at_hand_over"
    order_id = place_order(user_id=1, lines=[Line(1, 3), Line(2, 2)]).pk
    before_the_hand_over(bus)
    assert ask(customer, order_id).status_code == 202
    bus.drain()
    assert (Order.objects.get().status, status_of(order_id), lines(order_id)) == ("COMPLETED", "MADE", {1: 1})
    payment = Payment.objects.get()
    assert (payment.authorized, payment.captured, payment.refunded) == (7 * PRICE, PRICE, 0)
    sound()


def test_all_pieces_cancelled_cancel_the_order(bus: Bus, customer: APIClient, order_id: int):
    before_the_hand_over(bus)
    assert ask(customer, order_id, **wanted(p1=0, p2=0)).json()["status"] == "CANCELLED_ORDER"
    bus.drain()
    order = Order.objects.get()
    assert (order.status, order.cancellation_reason) == ("CANCELLED", "cancelled by the customer")
    sound()


def test_one_change_at_a_time(bus: Bus, customer: APIClient, order_id: int):
    before_the_hand_over(bus)
    ask(customer, order_id, "a", **wanted(p1=2))
    assert ask(customer, order_id, "b", **wanted(p1=1)).json()["code"] == "O006"
    bus.drain(timers=False)
    bus.tick("payments.settle_payments")
    bus.drain(timers=False)
    assert ask(customer, order_id, "b", **wanted(p1=1)).status_code == 202
    bus.drain()
    assert lines(order_id) == {1: 1, 2: 2}
    sound()


def test_sent_again_it_is_made_once(bus: Bus, customer: APIClient, order_id: int):
    before_the_hand_over(bus)
    first = ask(customer, order_id).json()
    assert ask(customer, order_id).json() == first
    assert ask(customer, order_id, **wanted(p1=2)).status_code == 422
    bus.drain()
    assert OrderChange.objects.count() == 1


def test_when_the_carrier_has_the_parcel_the_order_stays_as_it_is(bus: Bus, customer: APIClient, order_id: int):
    before_the_hand_over(bus)
    bus.tick("delivery.advance_deliveries")  # of which orders has not heard
    assert ask(customer, order_id).status_code == 202
    bus.drain()
    change = OrderChange.objects.get()
    assert (change.status, change.refusal) == ("REFUSED", "the carrier has the parcel already")
    assert ask(customer, order_id, "later").json()["code"] == "O005"
    assert Notification.objects.filter(type="CHANGE_REFUSED").exists()
    assert Payment.objects.get().refunded == 0
    sound()


def test_less_is_left_of_the_payment_than_the_pieces_cost(bus: Bus, customer: APIClient, order_id: int):
    before_the_hand_over(bus)
    request_refund(order_id, key="k", amount=2 * PRICE, reason="a scratch")
    bus.drain(timers=False)
    ask(customer, order_id)
    bus.drain()
    change = OrderChange.objects.get()
    assert (change.status, change.refusal) == ("REFUSED", "there is not so much left to give back")
    assert (Order.objects.get().status, lines(order_id)) == ("COMPLETED", {1: 3, 2: 2})
    sound()


def test_a_refusal_without_a_reason_is_a_refusal(bus: Bus, customer: APIClient, order_id: int):
    before_the_hand_over(bus)
    ask(customer, order_id)
    change = OrderChange.objects.get()
    (refused,) = refuse([PaymentChangeRefused(order_id=order_id, change_id=change.pk, reason="")])
    assert refused.change_id == change.pk
    order = Order.objects.get()
    assert (status_of(order_id), order.total_price, order.change_id) == ("REFUSED", 7 * PRICE, None)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"items": []},
        wanted(p1=-1),
        {"items": [*wanted(p1=1)["items"]] * 2},
        {"address": ""},
        {"address": " \u200b"},
        {"address": "x" * 501},
        wanted(p1=1) | {"adress": ELSEWHERE},
    ],
)
def test_what_cannot_be_meant_is_refused(customer: APIClient, order_id: int, body: dict[str, Any]):
    answer = customer.post(f"/api/v1/orders/{order_id}/changes", body, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 400, answer.json()
    assert not OrderChange.objects.exists()


@pytest.mark.parametrize(
    "body", [wanted(p1=3), wanted(p1=4), wanted(p9=0), {"address": HOME}, wanted(p1=3) | {"address": f" {HOME}\n"}]
)
def test_what_the_order_has_already_or_has_not_is_refused(customer: APIClient, order_id: int, body: dict[str, Any]):
    assert ask(customer, order_id, **body).json()["code"] == "O005"
    assert not OrderChange.objects.exists()


def test_another_total_is_refused(customer: APIClient, order_id: int):
    answer = ask(customer, order_id, **wanted(p1=1), expectedTotal=7 * PRICE)
    assert (answer.status_code, answer.json()["totalPrice"]) == (409, 5 * PRICE)


def test_who_may(bus: Bus, customer: APIClient, order_id: int):
    assert ask(client(), order_id).status_code == 404
    assert client().get(f"/api/v1/orders/{order_id}/changes").status_code == 404
    assert ask(client(is_staff=True), order_id).status_code == 404
    clerk = client(is_staff=True, is_superuser=True)
    assert ask(clerk, order_id).status_code == 202
    action = StaffAction.objects.get()
    assert (action.action, action.target) == ("change", f"order {order_id}")
