"""Orders that come from several locations: each shipment has its own tracking number, hand-over and fate."""

from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from audit import Violation, audit
from delivery.models import Delivery
from delivery.reports import take_carrier_event
from desk import people
from inventory.models import Location, StockItem
from inventory.services import seed_stock
from notifications.models import Notification
from orders.cancellation import NotCancellable, request_cancellation
from orders.changes.requests import NotChangeable, request_change
from orders.models import Order, Refund
from orders.returns.requests import NotSoMany, Wanted, request_return
from payments.models import Payment
from sagas.testing import Bus
from shop.contracts.events import Line
from tests.conftest import SERVICES
from tests.support.fakes import Caller
from tests.support.ordering import place_order

pytestmark = [
    pytest.mark.django_db(databases=SERVICES),
    pytest.mark.usefixtures("no_waiting", "one_gateway_holds"),
]

PRICE = 1000  # of product 1; product 2 costs twice as much
ALL = {"WEST": {1: 4}, "EAST": {1: 2, 2: 3}}  # what an order of six and three pieces is made of


@pytest.fixture(autouse=True)
def stock(bus: Bus) -> None:
    for priority, (location, quantities) in enumerate(ALL.items()):
        seed_stock(quantities, location)
        Location.objects.filter(pk=location).update(priority=priority)


def place(**wishes: Any) -> int:
    """All there is: four pieces from the west, two and three from the east."""
    return place_order(user_id=1, lines=[Line(1, 6), Line(2, 3)], **wishes).pk


def as_customer() -> APIClient:
    customer = APIClient()
    customer.force_authenticate(Caller(1))  # type: ignore[arg-type]
    return customer


def shown(order_id: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = as_customer().get(f"/api/v1/orders/{order_id}").json()["shipments"]
    return found


def statuses(order_id: int) -> list[str]:
    return [one["status"] for one in shown(order_id)]


def report(number: int, status: str, reason: str = "") -> None:
    """The carrier's word about one of the shipments of the only order."""
    parcel = Delivery.objects.get(number=number)
    take_carrier_event(
        carrier=parcel.account,
        event_id=f"{number} {status}",
        tracking_number=str(parcel.tracking_number),
        status=status,
        reason=reason,
    )


def shelves() -> dict[str, dict[int, tuple[int, int]]]:
    found: dict[str, dict[int, tuple[int, int]]] = {location: {} for location in ALL}
    for item in StockItem.objects.all():
        found[item.location_id][item.product_id] = item.on_hand, item.reserved
    return found


def sound(bus: Bus) -> Order:
    bus.drain()
    assert [found for found in audit(strict=True) if isinstance(found, Violation)] == []
    return Order.objects.get()


def test_each_shipment_arrives_under_a_number_of_its_own(bus: Bus):
    order_id = place()
    order = sound(bus)

    assert order.status == "COMPLETED"
    west, east = shown(order_id)
    assert (west["status"], east["status"]) == ("DELIVERED", "DELIVERED")
    assert west["items"] == [{"productId": 1, "quantity": 4}]
    assert east["items"] == [{"productId": 1, "quantity": 2}, {"productId": 2, "quantity": 3}]
    assert len({west["trackingNumber"], east["trackingNumber"]}) == 2
    for number in (west["trackingNumber"], east["trackingNumber"]):
        for query in ({"trackingNumber": number}, {"search": number}):
            (found,) = as_customer().get("/api/v1/orders", query).json()["results"]
            assert found["id"] == order_id
        assert people.shipped_as(number) == [order_id]  # by which staff find it
    assert Notification.objects.filter(type="SHIPPED", channel="EMAIL").count() == 2
    assert Notification.objects.filter(type="DELIVERED", channel="EMAIL").count() == 1


def test_an_order_from_one_location_has_one_shipment(bus: Bus):
    order_id = place_order(user_id=1, lines=[Line(1, 3)]).pk
    assert shown(order_id) == []
    sound(bus)
    (only,) = shown(order_id)
    assert (only["number"], only["status"], only["items"]) == (1, "DELIVERED", [{"productId": 1, "quantity": 3}])


@pytest.mark.parametrize("handed_over", [False, True])
def test_the_only_shipment_never_goes_back(bus: Bus, handed_over: bool):
    order_id = place_order(user_id=1, lines=[Line(1, 3)]).pk
    bus.drain(timers=False)
    if handed_over:
        report(1, "IN_TRANSIT")
        bus.drain(timers=False)
    report(1, "FAILED", "refused by the recipient")
    seen = statuses(order_id)
    while bus.relay() or bus.messages:
        if bus.messages:
            bus.deliver()
        seen += statuses(order_id)
    assert Order.objects.get().status == "CANCELLED"
    assert [one for one, before in zip(seen, [None, *seen], strict=False) if one != before] == [
        "SHIPPED" if handed_over else "STARTED",
        "FAILED",
    ]


def test_the_only_shipment_waits_for_its_carrier_while_its_cancellation_is_decided(bus: Bus):
    order_id = place_order(user_id=1, lines=[Line(1, 3)]).pk
    bus.drain(timers=False)
    request_cancellation(order_id)
    assert (Order.objects.get().status, statuses(order_id)) == ("CANCELLING", ["STARTED"])
    bus.drain(timers=False)
    assert (Order.objects.get().status, statuses(order_id)) == ("CANCELLED", ["FAILED"])


def test_the_order_is_complete_when_the_last_shipment_has_arrived(bus: Bus):
    order_id = place()
    bus.drain(timers=False)
    report(1, "IN_TRANSIT")
    report(1, "DELIVERED")
    bus.drain(timers=False)
    assert (Order.objects.get().status, statuses(order_id)) == ("SHIPPED", ["DELIVERED", "STARTED"])
    report(2, "DELIVERED")
    assert sound(bus).status == "COMPLETED"


@pytest.mark.parametrize("gateway", ["TOSS_PAYMENTS", "KAKAO_PAY"])  # of which one holds money until hand-over
@pytest.mark.parametrize("handed_over", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_a_shipment_that_fails_is_refunded_and_restocked_alone(bus: Bus, gateway: str, handed_over: bool, first: bool):
    order_id = place(payment_gateway=gateway)
    bus.drain(timers=False)
    if not first:
        report(1, "DELIVERED")
    if handed_over:
        report(2, "IN_TRANSIT")
        bus.drain(timers=False)
    report(2, "FAILED", "lost")
    bus.drain(timers=False)
    assert Order.objects.get().status in ("SHIPPED", "DELIVERY_STARTED", "COMPLETED", "UNPAID")
    report(1, "DELIVERED")
    order = sound(bus)

    assert (order.status, statuses(order_id)) == ("COMPLETED", ["DELIVERED", "FAILED"])
    assert shelves() == {"WEST": {1: (0, 0)}, "EAST": {1: (2, 0), 2: (3, 0)}}
    refund, payment = Refund.objects.get(), Payment.objects.get()
    assert (refund.amount, refund.status, refund.for_shipment) == (8 * PRICE, "COMPLETED", 2)
    assert payment.captured - payment.refunded == 4 * PRICE
    assert Notification.objects.filter(type="SHIPMENT_FAILED").exists()


def test_what_did_not_arrive_cannot_be_returned(bus: Bus):
    order_id = place()
    bus.drain(timers=False)
    report(2, "FAILED")
    report(1, "DELIVERED")
    sound(bus)
    with pytest.raises(NotSoMany):
        request_return(order_id, Wanted(lines=[Line(1, 5)]))
    request_return(order_id, Wanted(lines=[Line(1, 4)]))


@pytest.mark.parametrize("gateway", ["TOSS_PAYMENTS", "KAKAO_PAY"])
@pytest.mark.parametrize("handed_over", [False, True])
def test_an_order_of_which_nothing_arrives_is_cancelled(bus: Bus, gateway: str, handed_over: bool):
    order_id = place(payment_gateway=gateway)
    bus.drain(timers=False)
    for number in (2, 1):
        if handed_over:
            report(number, "IN_TRANSIT")
        report(number, "FAILED")
    order = sound(bus)

    assert (order.status, statuses(order_id)) == ("CANCELLED", ["FAILED", "FAILED"])
    assert shelves() == {"WEST": {1: (4, 0)}, "EAST": {1: (2, 0), 2: (3, 0)}}
    payment = Payment.objects.get()
    assert payment.captured == payment.refunded


def test_an_order_is_cancelled_with_all_its_shipments(bus: Bus):
    order_id = place()
    bus.drain(timers=False)
    request_cancellation(order_id)
    assert sound(bus).status == "CANCELLED"
    assert shelves() == {"WEST": {1: (4, 0)}, "EAST": {1: (2, 0), 2: (3, 0)}}


def test_what_the_carrier_does_not_have_yet_is_cancelled(bus: Bus):
    order_id = place()
    bus.drain(timers=False)
    request_cancellation(order_id)
    report(1, "IN_TRANSIT")  # before delivery hears of it
    order = sound(bus)

    assert (order.status, statuses(order_id)) == ("COMPLETED", ["DELIVERED", "FAILED"])
    assert shelves() == {"WEST": {1: (0, 0)}, "EAST": {1: (2, 0), 2: (3, 0)}}
    assert Refund.objects.get().amount == 8 * PRICE


@pytest.mark.parametrize("seen", range(1, 16, 2))
def test_whenever_it_is_cancelled_it_adds_up(bus: Bus, seen: int):
    order_id = place()
    after(bus, seen)
    with suppress(NotCancellable):
        request_cancellation(order_id)
    assert sound(bus).status in ("COMPLETED", "CANCELLED")


@pytest.mark.parametrize("quantities", [{1: 1, 2: 3}, {1: 4, 2: 0}])
@pytest.mark.parametrize("seen", range(1, 13, 2))
def test_whenever_pieces_are_cancelled_they_add_up(bus: Bus, quantities: dict[int, int], seen: int):
    order_id = place()
    after(bus, seen)
    with suppress(NotChangeable):
        request_change(order_id, key="k", quantities=quantities)
    order = sound(bus)

    assert order.status == "COMPLETED"
    left = Counter({one.product_id: one.quantity for one in order.items.all()})
    sent: Counter[int] = Counter()
    for one in shown(order_id):
        sent.update({item["productId"]: item["quantity"] for item in one["items"]})
    assert sent == left


def test_a_shipment_of_which_nothing_is_left_is_not_sent(bus: Bus):
    order_id = place()
    bus.drain(timers=False)
    request_change(order_id, key="k", quantities={1: 4, 2: 0})
    bus.drain(timers=False)
    bus.tick("payments.settle_payments")
    bus.drain(timers=False)
    assert dict(Delivery.objects.values_list("number", "status")) == {1: "PREPARING", 2: "EMPTY"}
    assert sound(bus).total_price == 4 * PRICE
    assert shelves() == {"WEST": {1: (0, 0)}, "EAST": {1: (2, 0), 2: (3, 0)}}


def after(bus: Bus, seen: int) -> None:
    """So many messages are delivered."""
    for _ in range(seen):
        if not bus.messages:
            bus.relay()
            Delivery.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
            bus.tick("delivery.advance_deliveries")
        if bus.messages:
            bus.deliver()
