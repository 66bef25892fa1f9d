"""Exchanges over HTTP: another order, which costs nothing, brings pieces for those taken back; what it does not bring
is refunded. After each, the strict audit finds nothing."""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from rest_framework.test import APIClient

from accounts.models import User
from delivery import privacy as delivery_privacy
from delivery.models import Delivery
from delivery.reports import take_carrier_event
from inventory.models import Location, StockItem
from inventory.services import seed_stock
from notifications.models import Notification
from orders import privacy as orders_privacy
from orders.models import Order, Refund, Return
from orders.open_orders import cancel_overdue
from payments.models import Payment, PaymentAttempt, PaymentOperation
from sagas.testing import Bus
from shop.calls import substituting
from shop.contracts.catalog import CatalogService, ProductSnapshot
from shop.contracts.events import CustomerErased, Line
from shop.contracts.reasons import NO_ADDRESS
from tests.conftest import SERVICES
from tests.support.ordering import ADDRESS, place_order
from tests.support.return_requests import API, PIECES, act, ask, clean, found

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting")]

SAME = {"items": [{"productId": 1, "quantity": 2}], "kind": "EXCHANGE"}
SIZE = 3  # another product that costs as much as product 1
DAY = timedelta(days=1)


class Sizes:
    """Products 1 and 3 cost 1,000 won, 2 twice as much, 4 costs 1,000 dollars; 5 is not sold any more."""

    def get_products(self, product_ids: Iterable[int]) -> dict[int, ProductSnapshot]:
        return {
            pk: ProductSnapshot(
                id=pk,
                name=f"Size {pk}",
                price=2000 if pk == 2 else 1000,
                currency="USD" if pk == 4 else "KRW",
                active=pk != 5,
            )
            for pk in product_ids
            if pk <= 5
        }


@pytest.fixture(autouse=True)
def sizes(bus: Bus) -> Iterator[None]:
    with substituting(CatalogService, Sizes()):
        yield


def other(product_id: int = SIZE, quantity: int = 2) -> Any:
    return {
        "items": [{"productId": 1, "quantity": quantity, "exchangeProductId": product_id}],
        "kind": "EXCHANGE",
    }


@pytest.fixture
def inspected(bus: Bus, hana: APIClient, clerk: APIClient, order_id: int) -> Callable[..., int]:
    """Two pieces, to be exchanged, have come and are inspected; the exchange is not sent yet. The return's number."""

    def inspect(body: Any = SAME, pieces: Any = None) -> int:
        answer = ask(hana, order_id, body)
        assert answer.status_code == 201, answer.json()
        number: int = answer.json()["id"]
        act(clerk, number, "approve")
        bus.drain()
        act(clerk, number, "inspect", pieces or found(accepted=1, written_off=1))
        bus.drain(timers=False)
        return number

    return inspect


def returned(number: int) -> Any:
    of = Return.objects.get(pk=number)
    return of.status, of.refund_due, of.kept, of.refunded


def exchange() -> Order:
    return Order.objects.get(exchange_for__isnull=False)


def shelf(product_id: int = 1) -> tuple[int, int]:
    item = StockItem.objects.get(product_id=product_id)
    return item.on_hand, item.reserved


def told() -> list[tuple[int, str]]:
    return list(Notification.objects.filter(channel="EMAIL").order_by("pk").values_list("order_id", "type"))


def test_the_same_product_is_sent_again(
    bus: Bus, hana: APIClient, clerk: APIClient, order_id: int, inspected: Callable[..., int]
):
    number = inspected()
    placed = exchange()
    assert returned(number) == ("EXCHANGING", 0, 0, 0)
    assert (placed.total_price, placed.user_id, placed.exchange_for_id) == (0, 1, number)
    bus.drain()
    shown = hana.get(f"{API}/returns/{number}").json()
    assert (shown["status"], shown["exchangeOrderId"]) == ("COMPLETED", placed.pk)
    assert shown["items"][0]["exchangeProductId"] == 1
    order = hana.get(f"{API}/orders/{placed.pk}").json()
    assert (order["status"], order["totalPrice"], order["exchangeFor"]) == ("COMPLETED", 0, number)
    assert [(one["productName"], one["unitPrice"], one["quantity"]) for one in order["items"]] == [("Size 1", 0, 2)]
    assert returned(number) == ("COMPLETED", 0, 0, 0)
    assert [delivery.address for delivery in Delivery.objects.all()] == [ADDRESS] * 2
    assert shelf() == (PIECES - 3 + 1 - 2, 0)
    paid, free = Payment.objects.order_by("order_id")
    assert (paid.captured, paid.refunded) == (5000, 0)
    assert (free.status, free.amount, free.gateway) == ("COMPLETED", 0, "")
    assert not PaymentOperation.objects.filter(payment=free).exists()
    assert not PaymentAttempt.objects.filter(payment=free).exists()
    assert told() == [
        *((order_id, kind) for kind in ("RETURN_APPROVED", "RETURN_RECEIVED", "RETURN_EXCHANGED")),
        *((placed.pk, kind) for kind in ("SHIPPED", "DELIVERED", "COMPLETED")),
    ]
    text = Notification.objects.get(type="RETURN_EXCHANGED", channel="EMAIL").body
    assert f"주문 {placed.pk}번" in text
    timeline = hana.get(f"{API}/orders/{order_id}").json()["timeline"]
    assert [(one["event"], one["detail"]) for one in timeline if "xchange" in one["event"]] == [
        ("ReturnExchanged", f"return {number}, order {placed.pk}"),
    ]
    (first, *_) = order["timeline"]
    assert (first["event"], first["detail"]) == ("OrderCreated", f"return {number}")
    (listed,) = clerk.get(f"{API}/orders/{order_id}/returns").json()["results"]
    assert listed["exchangeOrderId"] == placed.pk
    assert clean()


def test_another_product_that_costs_as_much_is_sent(bus: Bus, hana: APIClient, inspected: Callable[..., int]):
    seed_stock({SIZE: PIECES})
    number = inspected(other(), found(accepted=1, rejected=1))
    bus.drain()
    assert returned(number) == ("COMPLETED", 0, 0, 0)
    (line,) = exchange().lines
    assert (line.product_id, line.product_name, line.quantity) == (SIZE, f"Size {SIZE}", 1)
    assert (shelf(), shelf(SIZE)) == ((PIECES - 3 + 1, 0), (PIECES - 1, 0))
    assert clean()


def test_what_is_rejected_is_not_exchanged(bus: Bus, inspected: Callable[..., int]):
    number = inspected(pieces=found(rejected=2))
    bus.drain()
    assert returned(number) == ("COMPLETED", 0, 0, 0)
    assert Order.objects.count() == 1
    assert clean()


# --- What it does not bring is refunded -------------------------------------------------------------------------------
def refunded(number: int, order_id: int, kept: int = 0) -> None:
    """Two pieces were given back by the order that was paid, and none arrived."""
    assert exchange().status == "CANCELLED"
    assert returned(number) == ("COMPLETED", 2000 - kept, kept, 2000 - kept)
    assert (Refund.objects.get().order_id, Payment.objects.get(order_id=order_id).refunded) == (order_id, 2000 - kept)
    assert not Payment.objects.exclude(order_id=order_id).filter(captured__gt=0).exists()
    assert shelf() == (PIECES - 3 + 1, 0)
    assert clean()


def test_cancelled_by_its_customer_it_is_refunded(
    bus: Bus, hana: APIClient, order_id: int, inspected: Callable[..., int]
):
    number = inspected()
    assert hana.post(f"{API}/orders/{exchange().pk}/cancel").status_code == 202
    bus.drain()
    refunded(number, order_id)
    assert [kind for _, kind in told()][-2:] == ["CANCELLED", "RETURN_REFUNDED"]
    assert "2,000원" in Notification.objects.get(type="RETURN_REFUNDED", channel="EMAIL").body
    seen = [one["event"] for one in hana.get(f"{API}/orders/{order_id}").json()["timeline"]]
    assert seen[seen.index("ReturnExchanged") :] == [
        *("ReturnExchanged", "ReturnExchangeEnded", "OrderRefundRequested", "PaymentRefundCompleted"),
        "ReturnCompleted",
    ]


def test_what_the_rule_keeps_is_kept_only_of_a_refund(
    bus: Bus, hana: APIClient, order_id: int, inspected: Callable[..., int], settings: Any
):
    settings.RETURN_KEEPS = "tests.system.test_returns.shipping"
    number = inspected()
    assert returned(number) == ("EXCHANGING", 0, 0, 0)
    hana.post(f"{API}/orders/{exchange().pk}/cancel")
    bus.drain()
    refunded(number, order_id, kept=300)


def test_out_of_stock_it_is_refunded(bus: Bus, order_id: int, inspected: Callable[..., int]):
    number = inspected(other())  # of which there is none
    bus.drain()
    assert returned(number) == ("COMPLETED", 2000, 0, 2000)
    assert exchange().cancellation_reason.startswith("I002")
    refunded(number, order_id)


def test_refused_at_the_door_it_is_refunded(bus: Bus, order_id: int, inspected: Callable[..., int]):
    Delivery.objects.update(address="addr_refused_by_recipient")
    number = inspected()
    bus.drain()
    refunded(number, order_id)


def test_when_the_address_is_forgotten_it_is_refunded(bus: Bus, order_id: int, inspected: Callable[..., int]):
    Delivery.objects.update(address="")
    number = inspected()
    bus.drain()
    assert exchange().cancellation_reason == NO_ADDRESS
    refunded(number, order_id)


def test_past_its_deadline_it_is_refunded(bus: Bus, order_id: int, inspected: Callable[..., int], settings: Any):
    settings.ORDER_DEADLINE = 60
    number = inspected()
    placed = exchange()
    Order.objects.filter(pk=placed.pk).update(status="PENDING", created_at=placed.created_at - DAY)
    assert cancel_overdue() == 1
    bus.drain()
    refunded(number, order_id)


def test_of_several_shipments_only_what_failed_is_refunded(bus: Bus, order_id: int, inspected: Callable[..., int]):
    for priority, location in enumerate(("WEST", "EAST")):
        seed_stock({SIZE: 1}, location)
        Location.objects.filter(pk=location).update(priority=priority)
    number = inspected(other())
    for status, parcel in zip(
        ("FAILED", "DELIVERED"), Delivery.objects.filter(parts=2).order_by("number"), strict=True
    ):
        take_carrier_event(
            carrier=parcel.account,
            event_id=str(parcel.pk),
            tracking_number=str(parcel.tracking_number),
            status=status,
            reason="",
        )
    bus.drain()
    assert exchange().status == "COMPLETED"
    assert returned(number) == ("COMPLETED", 1000, 0, 1000)
    assert Payment.objects.get(order_id=order_id).refunded == 1000
    assert Refund.objects.get().for_return_id == number
    assert clean()


def test_a_refusal_of_its_refund_stands_at_staff(
    bus: Bus, hana: APIClient, clerk: APIClient, order_id: int, inspected: Callable[..., int]
):
    number = inspected()
    hana.post(f"{API}/orders/{exchange().pk}/cancel")
    clerk.post(
        f"{API}/orders/{order_id}/refunds", {"amount": 4000, "reason": "a scratch"}, headers={"Idempotency-Key": "k"}
    )
    bus.drain()
    assert returned(number) == ("REFUND_REFUSED", 2000, 0, 0)
    assert clean()
    act(clerk, number, "refund", {"amount": 1000})
    bus.drain()
    assert returned(number) == ("COMPLETED", 2000, 0, 1000)
    assert clean()


# --- What cannot be done with it --------------------------------------------------------------------------------------
def test_it_is_not_changed_refunded_or_returned(
    bus: Bus, hana: APIClient, clerk: APIClient, order_id: int, inspected: Callable[..., int]
):
    inspected()
    url, key = f"{API}/orders/{exchange().pk}", {"Idempotency-Key": "k"}
    one_less = {"items": [{"productId": 1, "quantity": 1}]}
    answer = hana.post(f"{url}/changes", one_less, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (409, "O005")
    assert "cancel it" in answer.json()["detail"]
    bus.drain()
    answer = clerk.post(f"{url}/refunds", {"amount": 1, "reason": "a scratch"}, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (409, "O007")
    answer = ask(hana, exchange().pk, one_less)
    assert (answer.status_code, answer.json()["code"]) == (409, "R007")
    assert answer.json()["detail"].endswith(f"order {order_id}.")
    assert clean()


@pytest.mark.parametrize(
    ("product_id", "status", "code"), [(2, 409, "R006"), (4, 409, "R006"), (5, 400, "P002"), (6, 404, "P001")]
)
def test_other_prices_and_what_is_not_sold_are_refused(
    hana: APIClient, order_id: int, product_id: int, status: int, code: str
):
    answer = ask(hana, order_id, other(product_id))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not Return.objects.exists()


def test_what_an_order_has_of_a_product_has_one_price(bus: Bus, customer: User, hana: APIClient, order_id: int):
    """…so that it is known what a piece of it has cost: 3 costs 1,000 won now, and has cost 3,000 in this order."""
    seed_stock({1: PIECES, SIZE: PIECES})
    with substituting(CatalogService, _Dear()):
        both = place_order(user_id=1, lines=[Line(1, 1), Line(SIZE, 1)]).pk
    bus.drain()
    assert ask(hana, both, other(quantity=1)).json()["code"] == "R006"
    assert ask(hana, order_id, other(quantity=1)).status_code == 201


class _Dear(Sizes):
    def get_products(self, product_ids: Iterable[int]) -> dict[int, ProductSnapshot]:
        return {
            pk: ProductSnapshot(id=pk, name=f"Size {pk}", price=1000 * pk, currency="KRW", active=True)
            for pk in product_ids
        }


@pytest.mark.parametrize(
    "body",
    [
        other() | {"kind": "REFUND"},
        {"items": other()["items"]},
        other(0),
        {"items": [{"productId": 1, "quantity": 1, "exchangeProductId": None}], "kind": "EXCHANGE"},
    ],
)
def test_what_cannot_be_meant_is_refused(hana: APIClient, order_id: int, body: Any):
    assert ask(hana, order_id, body).status_code == 400


def test_sent_again_it_is_made_once_though_the_catalogue_is_another(hana: APIClient, order_id: int):
    first = ask(hana, order_id, other(), key="k")
    assert first.status_code == 201
    with substituting(CatalogService, _Dear()):
        assert ask(hana, order_id, other(), key="k").json() == first.json()
    assert ask(hana, order_id, SAME, key="k").status_code == 422
    assert Return.objects.count() == 1


# --- Returning it again -----------------------------------------------------------------------------------------------
def test_what_was_given_in_exchange_can_be_returned_as_the_first_order(
    bus: Bus, hana: APIClient, clerk: APIClient, order_id: int, inspected: Callable[..., int]
):
    seed_stock({SIZE: PIECES})
    inspected(other())
    sizes = {"items": [{"productId": SIZE, "quantity": 2}]}
    assert ask(hana, order_id, sizes).json()["code"] == "R004"  # it has not come yet
    bus.drain()
    assert ask(hana, order_id, {"items": [{"productId": 1, "quantity": 2}]}).json()["code"] == "R004"
    again = ask(hana, order_id, sizes).json()
    assert again["items"][0]["unitPrice"] == 1000
    act(clerk, again["id"], "approve")
    bus.drain()
    act(clerk, again["id"], "inspect", {"items": [{"productId": SIZE, "accepted": 2}]})
    bus.drain()
    assert returned(again["id"]) == ("COMPLETED", 2000, 0, 2000)
    assert shelf(SIZE) == (PIECES, 0)
    assert Payment.objects.get(order_id=order_id).refunded == 2000
    assert clean()


def test_it_can_be_exchanged_again(bus: Bus, order_id: int, inspected: Callable[..., int]):
    for _ in range(3):
        inspected(pieces=found(accepted=2))
        bus.drain()
    assert set(Return.objects.values_list("status", flat=True)) == {"COMPLETED"}
    assert Order.objects.filter(exchange_for__isnull=False, status="COMPLETED").count() == 3
    assert shelf() == (PIECES - 3, 0)
    assert clean()


def test_its_days_are_counted_from_when_the_exchange_has_come(
    bus: Bus, hana: APIClient, order_id: int, inspected: Callable[..., int], settings: Any
):
    inspected(pieces=found(accepted=2))
    bus.drain()
    placed = exchange()
    Order.objects.filter(pk=order_id).update(progress_at=placed.progress_at - 8 * DAY)
    assert ask(hana, order_id, {"items": [{"productId": 2, "quantity": 1}]}).json()["code"] == "R003"
    assert ask(hana, order_id, {"items": [{"productId": 1, "quantity": 3}]}).json()["code"] == "R003"
    assert ask(hana, order_id, {"items": [{"productId": 1, "quantity": 1}]}).status_code == 201
    assert ask(hana, order_id, {"items": [{"productId": 1, "quantity": 2}]}).json()["code"] == "R003"
    Order.objects.filter(pk=placed.pk).update(progress_at=placed.progress_at - 8 * DAY)
    assert ask(hana, order_id, {"items": [{"productId": 1, "quantity": 1}]}).json()["code"] == "R003"


# --- Who sees what ----------------------------------------------------------------------------------------------------
def test_the_story_of_each_names_the_other(bus: Bus, order_id: int, inspected: Callable[..., int]):
    number = inspected()
    bus.drain()
    exchanged = f"Return {number} was exchanged for order {exchange().pk}: COMPLETED."
    given = f"Order {exchange().pk} is given in exchange for return {number} of order {order_id}."
    for pk, sentence in ((order_id, exchanged), (number, exchanged), (exchange().pk, given)):
        output = StringIO()
        call_command("saga", str(pk), stdout=output)
        assert output.getvalue().splitlines()[-1] == sentence


def test_a_customer_has_their_exchanges_and_leaves_no_address_with_them(
    bus: Bus, order_id: int, inspected: Callable[..., int]
):
    inspected()
    both = [order_id, exchange().pk]
    assert orders_privacy.LocalOrders().get_orders_of(1).running == both  # who cannot leave yet
    bus.drain()
    assert orders_privacy.LocalOrders().get_orders_of(1).ended == both
    known = orders_privacy.of_orders(both)
    assert [row["exchange_product_name"] for row in known["return_lines"]] == ["Size 1"]
    assert [row["order_id"] for row in known["addresses"]] == [order_id]
    parcels = delivery_privacy.of_orders(both)["deliveries"]
    assert [row["address"] for row in parcels] == [ADDRESS, ADDRESS]
    erased = [CustomerErased(user_id=1, order_ids=tuple(both))]
    for service, erase in (("orders", orders_privacy.erase), ("delivery", delivery_privacy.erase)):
        with transaction.atomic(using=service):
            erase(erased)
    assert set(Delivery.objects.values_list("address", flat=True)) == {""}


# --- Nothing is lost --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("step", ["inventory.reserve_stock", "orders.settle_exchange", "payments.enter_refund"])
def test_a_lost_message_is_sent_again(
    bus: Bus, hana: APIClient, clerk: APIClient, order_id: int, step: str, cancelled: bool
):
    lost = []

    def lose() -> None:
        lost.extend(one for one in bus.messages if one[0] == step)
        bus.messages[:] = [one for one in bus.messages if one[0] != step]

    number = ask(hana, order_id, SAME).json()["id"]
    act(clerk, number, "approve")
    bus.drain()
    act(clerk, number, "inspect", found(accepted=2))
    while bus.relay() or bus.messages:
        lose()
        if bus.messages:
            bus.deliver()
        if cancelled and not lost and Order.objects.filter(exchange_for__isnull=False, status="PENDING").exists():
            hana.post(f"{API}/orders/{exchange().pk}/cancel")
    for _ in range(4):
        bus.tick("delivery.advance_deliveries", "payments.settle_payments")
        while bus.relay() or bus.messages:
            lose()
            if bus.messages:
                bus.deliver()
    if step == "payments.enter_refund" and not cancelled:
        assert not lost
    else:
        assert lost
    for _ in range(4):
        bus.tick("orders.look_after_returns", "orders.look_after")
        bus.drain()
    assert Return.objects.get().status == "COMPLETED"
    assert not Return.objects.filter(look_at__isnull=False).exists()
    assert clean()
