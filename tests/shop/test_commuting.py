"""Messages that come three times, in the wrong order, or ten minutes late: every order ends as it would have anyway.

What `test_schedules` finds by chance is here one by one, with the exact end.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db.models import DateTimeField, F
from django.utils import timezone
from msgspec import to_builtins

from audit import Violation, audit
from delivery.models import Delivery
from inventory.models import StockItem
from inventory.services import seed_stock
from notifications.models import Notification
from orders.cancellation import request_cancellation
from orders.changes.requests import request_change
from orders.models import FINAL, Order, Refund
from orders.refunds import request_refund
from payments.gateways import pages
from payments.models import GatewayLedger, Payment, SandboxPage
from sagas.registry import local_services
from sagas.testing import Bus, publishing_to, rolled_back
from shop.contracts.events import Line
from shop.contracts.reasons import OVERDUE
from shop.saga import ORDER
from tests.conftest import SERVICES
from tests.support.ordering import place_order
from tests.support.sagas import SAGA_TIMERS, go_on

pytestmark = [
    pytest.mark.django_db(databases=SERVICES),
    pytest.mark.usefixtures("bus", "no_waiting", "gateways_answer_soon", "one_gateway_holds"),
]

STEPS = sorted({step for steps in ORDER.heard_by.values() for step in steps})
LATE = timedelta(minutes=10)
PRICE, PIECES, PART, ELSEWHERE = 1000, 20, 100, "2 Low Street"

# An order of each kind, and what its customer is told in the end.
WISHES: dict[str, dict[str, str]] = {
    "plain": {},
    "charged, and nobody knows": {"payment_token": "tok_timeout_charged"},
    "paid on a page": {"payment_token": "tok_action"},
    "held until hand-over": {"payment_gateway": "KAKAO_PAY"},
    "held, and nobody knows": {"payment_gateway": "KAKAO_PAY", "payment_token": "tok_timeout_charged"},
    "declined": {"payment_token": "tok_declined"},
    "no carrier takes it": {"address": "addr_refused_by_carrier"},
    "nobody accepts it": {"address": "addr_refused_by_recipient"},
    "not enough in stock": {},
    "cancelled": {},  # and to be changed before that
    "changed": {},  # to one piece of two, and another address, unless the carrier is faster
    "in two shipments": {"address": "addr_second_refused"},
    "refunded in part": {},  # unless payments hears of that before it has charged
}
GOOD_END = ["COMPLETED", "DELIVERED", "ORDER_RECEIVED", "SHIPPED"]
REFUSED = ["CANCELLED", "ORDER_RECEIVED"]
OF_CHANGES = {"ADDRESS_CHANGED", "CHANGE_REFUSED"}
TOLD = {
    "plain": GOOD_END,
    "charged, and nobody knows": GOOD_END,
    "paid on a page": GOOD_END,
    "held until hand-over": GOOD_END,
    "held, and nobody knows": GOOD_END,
    "declined": REFUSED,
    "no carrier takes it": ["CANCELLED", "DELIVERY_FAILED", "ORDER_RECEIVED"],
    "nobody accepts it": ["CANCELLED", "DELIVERY_FAILED", "ORDER_RECEIVED", "SHIPPED"],
    "not enough in stock": REFUSED,
    "cancelled": REFUSED,
    "changed": GOOD_END,
    "in two shipments": GOOD_END,
    "refunded in part": GOOD_END,
}


class TroubledBus(Bus):
    """Carries each message `copies` times, the newest first if `backwards`, and holds those for a step `held_for`.

    What each copy's step says again comes once more, and not as often again: that would be thousands of messages.
    """

    def __init__(self, *, copies: int = 1, backwards: bool = False, held_for: str = "") -> None:
        super().__init__(SAGA_TIMERS)
        self.copies, self.backwards, self.held_for = copies, backwards, held_for
        self.held: list[Any] = []
        self.carried: Counter[Any] = Counter()

    def send(self, step: str, payload: Sequence[Any], summary: str) -> None:
        events = to_builtins(payload)
        message = step, *(event["event_id"] for event in events)
        copies = 1 if message in self.carried else self.copies
        self.carried[message] += copies
        to = self.held if step == self.held_for else self.messages
        to.extend((step, [*events]) for _ in range(copies))

    def deliver(self, position: int = 0, *, keep: bool = False) -> None:
        super().deliver(len(self.messages) - 1 if self.backwards else position, keep=keep)


@pytest.fixture
def orders() -> dict[str, int]:
    """An order of each kind, by its kind; one of them cancelled by its customer before anything happens."""
    seed_stock({1: PIECES})
    seed_stock({2: 1}, "EAST")
    pieces = {"not enough in stock": PIECES + 1, "changed": 2, "cancelled": 2}
    placed = {
        kind: place_order(
            user_id=1,
            lines=[Line(1, pieces.get(kind, 1)), *[Line(2, 1)] * (kind == "in two shipments")],
            **wishes,
        ).pk
        for kind, wishes in WISHES.items()
    }
    for kind in ("changed", "cancelled"):
        request_change(placed[kind], key="k", quantities={1: 1}, address=ELSEWHERE)
    request_refund(placed["refunded in part"], key="k", amount=PART, reason="a scratch")
    request_cancellation(placed["cancelled"])
    return placed


def ten_minutes_pass() -> None:
    """To the shop it is all the same whether the clock goes forward or everything it remembers goes back."""
    for service in local_services():
        for model in apps.get_app_config(service).get_models():
            times = [field.name for field in model._meta.fields if isinstance(field, DateTimeField)]
            model.objects.update(**{name: F(name) - LATE for name in times})


def end(bus: Bus, orders: dict[str, int]) -> None:
    """Let everything come to rest, and see that every order has ended as its kind does."""
    for _ in range(3):
        bus.drain()
        for page in SandboxPage.objects.filter(decision="OPEN"):
            pages.decide(page.gateway, page.payment, paid=True)
            Payment.objects.filter(status="WAITING").update(due_at=timezone.now())
        bus.drain()
        bus.tick("orders.look_after")
    bus.drain()
    assert not Order.objects.filter(look_at__isnull=False).exists()
    for kind, order_id in orders.items():
        completed = TOLD[kind] is GOOD_END
        assert (kind, Order.objects.get(pk=order_id).status) == (kind, "COMPLETED" if completed else "CANCELLED")
        given_back = sum(Refund.objects.filter(order_id=order_id, status="COMPLETED").values_list("amount", flat=True))
        total = Order.objects.get(pk=order_id).total_price
        assert (kind, kept_of(order_id)) == (kind, total - given_back if completed else 0)
        told = sorted(Notification.objects.filter(order_id=order_id).values_list("type", flat=True))
        if kind == "cancelled":  # perhaps only after it was shipped
            told = [news for news in told if news != "SHIPPED"]
        changed = [news for news in told if news in OF_CHANGES]
        sent_to = set(Delivery.objects.filter(order_id=order_id, status="DELIVERED").values_list("address", flat=True))
        assert (kind, ELSEWHERE in sent_to) == (kind, completed and "ADDRESS_CHANGED" in changed)
        assert len(changed) == 1 if kind == "changed" else len(changed) <= (kind == "cancelled")
        more = ["PAYMENT_DUE"] * (kind == "paid on a page") + ["REFUNDED"] * bool(given_back)
        more += ["SHIPMENT_FAILED", "SHIPPED"] * (kind == "in two shipments")
        assert (kind, [news for news in told if news not in OF_CHANGES]) == (kind, sorted([*TOLD[kind], *more]))
    stock = StockItem.objects.get(product_id=1)
    completed = Order.objects.filter(status="COMPLETED", items__product_id=1)
    sold = sum(completed.values_list("items__quantity", flat=True))
    assert (stock.on_hand, stock.reserved) == (PIECES - sold, 0)
    assert violations() == []


def kept_of(order_id: int) -> int:
    """What the gateway has taken for an order and not given back; it has taken it once at most."""
    taken = GatewayLedger.objects.filter(payment__startswith=f"order-{order_id}-").values_list("kind", "amount")
    assert sum(kind in ("CHARGE", "CAPTURE") for kind, _ in taken) <= 1
    return sum(amount * {"CHARGE": 1, "CAPTURE": 1, "REFUND": -1}.get(kind, 0) for kind, amount in taken)


def violations() -> list[Violation]:
    return [found for found in audit(strict=True) if isinstance(found, Violation)]


def test_without_trouble(bus: Bus, orders: dict[str, int]):
    end(bus, orders)
    assert {step for step, _ in bus.log} == set(STEPS) - {"orders.resume_order"}


@pytest.mark.parametrize("backwards", [False, True])
def test_every_message_three_times(orders: dict[str, int], backwards: bool):
    with publishing_to(TroubledBus(copies=3, backwards=backwards)) as bus:
        end(bus, orders)
    assert min(bus.carried.values()) == 3
    assert len(bus.log) == sum(bus.carried.values())


def test_the_newest_message_first(orders: dict[str, int]):
    with publishing_to(TroubledBus(backwards=True)) as bus:
        end(bus, orders)
    assert bus.log[0][1] == ("OrderCancellationRequested",)


@pytest.mark.parametrize("step", [step for step in STEPS if step != "orders.resume_order"])
def test_ten_minutes_late(orders: dict[str, int], step: str):
    with publishing_to(TroubledBus(held_for=step)) as bus:
        if step == "delivery.cancel_delivery":
            del orders["cancelled"]  # by then the carrier has it: see the next test
        bus.drain()
        late = len(bus.held)
        assert late > 0
        ten_minutes_pass()
        bus.tick("orders.look_after", "orders.cancel_overdue")  # what is missed is emitted again, and comes late, too
        bus.drain()
        assert len(bus.held) > late
        bus.held_for = ""
        bus.messages += bus.held
        end(bus, orders)


def test_a_deadline_against_a_completion(bus: Bus, settings: Any):
    """Whenever the deadline falls, and whichever way its messages take: one winner, and nothing kept by the loser."""
    seed_stock({1: PIECES})
    winners: Counter[str] = Counter()
    for delivered in range(12):
        for cancellation_first in (True, False):
            with rolled_back():
                winners[_overdue_after(bus, settings, delivered, cancellation_first)] += 1
    assert set(winners) == {"COMPLETED", "CANCELLED"}


def _overdue_after(bus: Bus, settings: Any, delivered: int, cancellation_first: bool) -> str:
    bus.messages.clear()
    order_id = place_order(user_id=1, lines=[Line(1, 1)]).pk
    go_on(bus, delivered)
    settings.ORDER_DEADLINE = -1
    overdue = bus.tick("orders.cancel_overdue")
    settings.ORDER_DEADLINE = 900
    if cancellation_first:
        under_way = list(bus.messages)
        bus.messages.clear()
        bus.drain(timers=False)
        bus.messages += under_way
    bus.drain()
    order = Order.objects.get(pk=order_id)
    assert order.status in FINAL
    completed = order.status == "COMPLETED"
    assert completed or (overdue, order.cancellation_reason) == (1, OVERDUE)
    assert kept_of(order_id) == (PRICE if completed else 0)
    stock = StockItem.objects.get(product_id=1)
    assert (stock.on_hand, stock.reserved) == (PIECES - completed, 0)
    assert violations() == []
    return order.status
