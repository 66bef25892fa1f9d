"""The kernel's conformance tests, over the saga of a return. What people do is done by a timer of this test."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.utils import timezone

from audit import Violation, audit
from delivery.models import Delivery, ReturnParcel
from delivery.reports import take_carrier_event
from inventory.models import StockItem, StockMovement
from inventory.services import seed_stock
from orders.cancellation import can_be_cancelled, request_cancellation
from orders.models import Order, Refund, Return
from orders.refunds import request_refund
from orders.returns import decisions
from orders.returns.decisions import Found
from orders.returns.models import FINAL
from orders.returns.requests import Wanted, request_return, withdraw
from payments.models import Payment
from sagas.registry import TIMERS
from sagas.testing import Bus, Conformance
from shop.contracts.events import Line
from shop.return_saga import RETURN
from tests.conftest import SERVICES
from tests.support.ordering import place_order
from tests.support.sagas import SAGA_TIMERS

PEOPLE = "people.decide"
PIECES = 10
PRICE = 1000
MONTH = timedelta(days=30)


def requested(story: str) -> Callable[[], int]:
    """A scenario: two pieces of the order are to come back, and what people do then."""

    def begin() -> int:
        TestReturn.story = story
        kind = Return.Kind.EXCHANGE if story.startswith("exchange") else Return.Kind.REFUND
        number = request_return(paid_for().pk, Wanted(lines=[Line(1, 2)], kind=kind)).pk
        if story == "exchange refused at the door":
            Delivery.objects.update(address="addr_refused_by_recipient")
        if story == "withdrawn while it arrives":
            decisions.approve(number)
            withdraw(number)
        return number

    return begin


def paid_for() -> Order:
    """The order that is not given in exchange."""
    return Order.objects.get(exchange_for=None)


def decide() -> int:
    """What staff, the customer and the carrier do next about the return; whether it was something."""
    story = TestReturn.story
    of, parcel = Return.objects.first(), ReturnParcel.objects.first()
    match of and of.status, parcel and parcel.status:
        case None, _:
            return 0
        case "REQUESTED", _:
            decisions.refuse(of.pk, reason="worn") if story == "refused" else decisions.approve(of.pk)
        case "APPROVED", "EXPECTED" | "CANCELLED" if story == "withdrawn":
            withdraw(of.pk)
        case "APPROVED", "EXPECTED" if story == "lost":
            number = parcel.tracking_number or ""
            take_carrier_event(
                carrier=parcel.account, event_id="1", tracking_number=number, status="FAILED", reason="wet"
            )
        case "APPROVED", _ if story == "never arrives":
            return TIMERS["orders.look_after_returns"]()
        case (("RECEIVED" | "LOST"), _):
            found = {"rejected": Found(0, 0, 2), "lost": Found(0, 2, 0)}.get(story, Found(1, 1, 0))
            decisions.inspect(of.pk, {1: found})
        case "EXCHANGING", _ if story == "exchange cancelled" and can_be_cancelled(exchange := of.exchanges.get()):
            request_cancellation(exchange.pk)
        case "REFUND_REFUSED", _:
            decisions.refund_again(of.pk, amount=0)
        case _:
            return 0
    return 1


@pytest.mark.django_db(databases=SERVICES)
@pytest.mark.usefixtures("bus", "no_waiting", "gateways_answer_soon")
class TestReturn(Conformance):
    saga = RETURN
    scenarios = {
        name: requested(name)
        for name in (
            *("refunded", "rejected", "refused", "lost", "never arrives", "withdrawn", "withdrawn while it arrives"),
            *("refund refused", "exchanged", "exchange cancelled", "exchange refused at the door"),
        )
    }
    troubled = {"refunded", "withdrawn while it arrives", "exchange refused at the door"}
    # With the parcel, with another refund, and with the carrier.
    races = {"withdrawn while it arrives", "refund refused", "exchange cancelled"}
    story = ""
    timers = (*SAGA_TIMERS, PEOPLE)
    orders, crashes = 1, 1

    @pytest.fixture(autouse=True)
    def order(self, bus: Bus, no_waiting: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """Three pieces, delivered."""
        monkeypatch.setitem(TIMERS, PEOPLE, decide)
        seed_stock({1: PIECES})
        place_order(user_id=1, lines=[Line(1, 3)])
        bus.drain()

    def state(self, key: int) -> Any:
        of, stock = Return.objects.get(pk=key), StockItem.objects.get(product_id=1)
        payment = Payment.objects.get(order_id=of.order_id)
        moved: Counter[str] = Counter()
        for kind, delta in StockMovement.objects.filter(return_id=key).values_list("kind", "delta"):
            moved[kind] += delta
        return {
            "return": (of.status, of.refund_due, of.refunded),
            "parcel": list(ReturnParcel.objects.values_list("status", flat=True)),
            "moved": moved,
            "stock": (stock.on_hand, stock.reserved),
            "payment": (payment.captured, payment.refunded),
            "exchange": list(of.exchanges.values_list("status", flat=True)),
            "refunds": sorted(Refund.objects.values_list("status", "amount")),
        }

    def assert_sound(self, key: int) -> None:
        state = self.state(key)
        status, _, refunded = state["return"]
        assert status in FINAL, state
        given = 2 if state["exchange"] == ["COMPLETED"] else 0
        assert state["stock"] == (PIECES - 3 + state["moved"]["RETURN"] + state["moved"]["WRITE_OFF"] - given, 0), state
        assert state["exchange"] in ([], ["COMPLETED"], ["CANCELLED"]), state
        before = 3 * PRICE if TestReturn.story == "refund refused" else 0
        assert state["payment"] == (3 * PRICE, refunded + before), state
        assert [found for found in audit(strict=True) if isinstance(found, Violation)] == []

    def let_time_pass(self) -> None:
        now = timezone.now()
        apps.get_model("payments.Payment").objects.filter(due_at__gt=now).update(due_at=now)
        stays_away = TestReturn.story in ("lost", "never arrives", "withdrawn")
        ReturnParcel.objects.filter(due_at__isnull=False).update(due_at=None if stays_away else now)
        Delivery.objects.filter(due_at__gt=now).update(due_at=now)
        if TestReturn.story == "never arrives":
            Return.objects.filter(status="APPROVED").update(approved_at=now - MONTH, look_at=now)
        if TestReturn.story == "refund refused" and not Refund.objects.exists():
            request_refund(paid_for().pk, key="all", amount=3 * PRICE, reason="a scratch")
