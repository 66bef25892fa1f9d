"""The kernel's conformance tests, over the saga of an order."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.utils import timezone

from audit import Violation, audit
from delivery.models import Delivery
from inventory.models import Reservation, StockItem
from inventory.services import seed_stock
from orders.cancellation import request_cancellation
from orders.changes.requests import request_change
from orders.models import Order
from payments.gateways import pages
from payments.models import GatewayLedger, Payment, SandboxPage
from sagas.testing import Conformance
from shop.contracts.events import Line
from shop.saga import ORDER
from tests.conftest import SERVICES
from tests.support.carriers import asked_carrier
from tests.support.ordering import place_order
from tests.support.sagas import SAGA_TIMERS

PIECES = 10
QUANTITY = 2
ELSEWHERE = "2 Low Street"


def place(quantity: int = QUANTITY, **wishes: str) -> int:
    return place_order(user_id=1, lines=[Line(1, quantity)], **wishes).pk


def place_with_page(customer: str) -> int:
    TestOrder.customer = customer
    return place(payment_token="tok_action")


def cancelled() -> int:
    order_id = place()
    request_cancellation(order_id)
    return order_id


def changed() -> int:
    """One piece is cancelled."""
    order_id = place()
    request_change(order_id, key="k", quantities={1: QUANTITY - 1})
    return order_id


def sent_elsewhere() -> int:
    """It was to go to somebody who would refuse it; and a piece of it is cancelled."""
    order_id = place(address="addr_refused_by_recipient")
    request_change(order_id, key="k", quantities={1: QUANTITY - 1}, address=ELSEWHERE)
    return order_id


@pytest.mark.django_db(databases=SERVICES)
@pytest.mark.usefixtures("bus", "no_waiting", "gateways_answer_soon")
class TestOrder(Conformance):
    saga = ORDER
    scenarios = {
        "paid": place,
        "out of stock": lambda: place(quantity=PIECES + 1),
        "declined": lambda: place(payment_token="tok_declined"),
        "refused by the carrier": lambda: place(address="addr_refused_by_carrier"),
        "refused by the recipient": lambda: place(address="addr_refused_by_recipient"),
        "paid on a page": lambda: place_with_page("pays"),
        "given up on a page": lambda: place_with_page("gives up"),
        "not paid in time": lambda: place_with_page("stays away"),
        "cancelled": cancelled,
        "changed": changed,
        "sent elsewhere": sent_elsewhere,
    }
    troubled = {"paid", "refused by the recipient", "paid on a page", "not paid in time"}  # the others are below
    customer = ""  # what they do when they are on a payment page
    races = {"cancelled", "changed", "sent elsewhere"}  # with a charge, and with the carrier
    timers = SAGA_TIMERS
    orders, crashes = 3, 1  # test_schedules plays hundreds of random ones, and test_every_crash kills real processes

    @pytest.fixture(autouse=True)
    def stock(self) -> None:
        seed_stock({1: PIECES})

    def state(self, key: int) -> Any:
        order = Order.objects.get(pk=key)
        stock = StockItem.objects.get(product_id=1)
        return {
            "order": order.status,
            **{
                model.__name__: list(model.objects.filter(order_id=key).values_list("status", flat=True))
                for model in (Payment, Delivery)
            },
            "sent to": set(Delivery.objects.filter(order_id=key).values_list("address", flat=True)),
            "given back": Reservation.objects.filter(order_id=key, status__in=["RELEASED", "RETURNED"]).exists(),
            "stock": (stock.on_hand, stock.reserved),
            "ledger": sorted(GatewayLedger.objects.values_list("kind", "amount")),
        }

    def assert_sound(self, key: int) -> None:
        state = self.state(key)
        assert state["order"] in ("COMPLETED", "CANCELLED"), state
        completed = Order.objects.filter(status="COMPLETED")
        sold = sum(line.quantity for order in completed for line in order.lines)
        assert state["stock"] == (PIECES - sold, 0), state
        balance = sum(amount * {"CHARGE": 1, "REFUND": -1}.get(kind, 0) for kind, amount in state["ledger"])
        assert balance == sum(order.total_price for order in completed), state
        assert [found for found in audit(strict=True) if isinstance(found, Violation)] == []

    def let_time_pass(self) -> None:
        now = timezone.now()
        apps.get_model("payments.Payment").objects.filter(due_at__gt=now).update(due_at=now)
        Delivery.objects.filter(due_at__gt=now).update(due_at=now)
        for page in SandboxPage.objects.filter(decision="OPEN"):
            if TestOrder.customer == "stays away":
                Payment.objects.update(created_at=now - timedelta(days=1))
            else:
                pages.decide(page.gateway, page.payment, paid=TestOrder.customer == "pays")


class TestOrderInShipments(TestOrder):
    """Its pieces come from two locations. One shipment may be refused at the door, and the other not."""

    scenarios = {
        "paid": place,
        "refused by the carrier": lambda: place(address="addr_refused_by_carrier"),
        "one refused by the recipient": lambda: place(address="addr_second_refused"),
        "cancelled": cancelled,
        "changed": changed,
        "sent elsewhere": sent_elsewhere,
    }
    troubled = {"one refused by the recipient", "cancelled", "changed"}
    orders = 2

    @pytest.fixture(autouse=True)
    def stock(self) -> None:
        seed_stock({1: QUANTITY - 1}, "EAST")
        seed_stock({1: QUANTITY - 1}, "WEST")

    def state(self, key: int) -> Any:
        return {
            "order": Order.objects.get(pk=key).status,
            "shipments": list(
                Delivery.objects.filter(order_id=key).order_by("number").values_list("status", flat=True)
            ),
            "stock": sorted(StockItem.objects.values_list("location_id", "on_hand", "reserved")),
            "ledger": sorted(GatewayLedger.objects.values_list("kind", "amount")),
        }

    def assert_sound(self, key: int) -> None:
        state = self.state(key)
        assert state["order"] in ("COMPLETED", "CANCELLED"), state
        assert [found for found in audit(strict=True) if isinstance(found, Violation)] == []


class TestShipmentsWithACarrierThatIsAsked(TestOrderInShipments):
    """Each is booked, cancelled and followed by timers."""

    scenarios = {
        name: TestOrderInShipments.scenarios[name]
        for name in ("paid", "refused by the carrier", "cancelled", "changed", "sent elsewhere")
    }
    troubled = {"cancelled", "changed"}

    @pytest.fixture(autouse=True)
    def carrier(self, settings: Any) -> Iterator[None]:
        with asked_carrier(settings):
            yield

    @pytest.mark.soak
    def test_a_lost_message(self) -> None:
        super().test_a_lost_message()


class TestOrdersTogether(TestOrder):
    """Two at once, whose messages are merged."""

    together = 2
    scenarios = {name: TestOrder.scenarios[name] for name in ("changed", "cancelled")}
    troubled = {"cancelled"}
    orders = 2
    test_a_lost_message = None  # it is lost before it could be merged


class TestOrderWithACarrierThatIsAsked(TestOrder):
    """Its parcels are booked, cancelled and followed by timers, after the steps that would have them."""

    scenarios = {
        name: TestOrder.scenarios[name]
        for name in ("paid", "refused by the carrier", "cancelled", "changed", "sent elsewhere")
    }
    troubled = {"cancelled", "changed"}
    orders = 2

    @pytest.fixture(autouse=True)
    def carrier(self, settings: Any) -> Iterator[None]:
        with asked_carrier(settings):
            yield

    @pytest.mark.soak
    def test_a_lost_message(self) -> None:
        super().test_a_lost_message()
