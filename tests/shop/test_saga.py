"""The whole saga, forward and back, over an in-memory bus: every way an order can end, and what is left then."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db.models import F

from audit import Violation, audit
from delivery.models import Delivery
from inventory.models import Reservation, StockItem, StockMovement
from inventory.services import seed_stock
from notifications.models import Notification
from orders import cancellation
from orders.cancellation import request_cancellation
from orders.changes.requests import request_change
from orders.models import Order, Outbox, Unsent
from payments.captures import capture_again, write_off
from payments.models import GatewayLedger, Payment
from sagas import Event
from sagas.conf import choreography
from sagas.events import decode
from sagas.testing import Bus, given, rolled_back
from shop.contracts.events import (
    DeliveryCompleted,
    DeliveryHandedOver,
    DeliveryPaymentDue,
    DeliveryStarted,
    InventoryReleased,
    InventoryReserved,
    Line,
    OrderCancelled,
    OrderCompleted,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCompleted,
    PaymentFailed,
)
from shop.contracts.reasons import BY_CUSTOMER, BY_STAFF, NOT_CAPTURED, OVERDUE
from shop.saga import ORDER
from tests.conftest import SERVICES
from tests.support.ordering import place_order
from tests.support.sagas import go_on

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting")]


@pytest.fixture(autouse=True)
def stock() -> None:
    seed_stock({1: 10, 2: 5})


def place(quantity: int = 2, **wishes: str) -> int:
    return place_order(user_id=1, lines=[Line(1, quantity), Line(2, 1)], **wishes).pk


def state(order_id: int) -> tuple[str, str]:
    order = Order.objects.get(pk=order_id)
    return order.status, order.cancellation_reason


def history(order_id: int) -> list[tuple[str, str]]:
    return list(Order.objects.get(pk=order_id).timeline.values_list("event", "status"))


def stock_of(product_id: int) -> tuple[int, int]:
    item = StockItem.objects.get(product_id=product_id)
    return item.on_hand, item.reserved


def ledger() -> list[tuple[str, int]]:
    return sorted(GatewayLedger.objects.values_list("kind", "amount"))


def told() -> set[str]:
    return set(Notification.objects.values_list("type", flat=True))


def violations() -> list[Violation]:
    return [found for found in audit(strict=True) if isinstance(found, Violation)]


def first_event(order_id: int) -> Event:
    """What has happened when an order was placed; nobody else publishes it."""
    Unsent.objects.all().delete()
    return decode(Outbox.objects.get(correlation_id=order_id).payload, choreography().events)


def test_forward_each_event_leads_to_the_next(bus: Bus):
    saga = given(first_event(place()))

    saga.expect("inventory.reserve_stock").emits(InventoryReserved)
    saga.expect("payments.charge_payment").emits(PaymentCompleted)
    saga.expect("delivery.start_delivery").emits(DeliveryStarted)
    saga.ticks("delivery.advance_deliveries").emits(DeliveryHandedOver)
    saga.ticks("delivery.advance_deliveries").emits(DeliveryCompleted)
    saga.expect("orders.complete_order").emits(OrderCompleted)


def test_backward_each_event_leads_to_the_one_before(bus: Bus):
    saga = given(first_event(place(payment_token="tok_declined")))

    saga.expect("inventory.reserve_stock").emits(InventoryReserved)
    saga.expect("payments.charge_payment").emits(PaymentFailed)
    saga.expect("inventory.release_stock").emits(InventoryReleased)
    saga.expect("orders.cancel_order").emits(OrderCancelled)


def test_an_order_runs_through_all_services(bus: Bus):
    order_id = place()

    bus.drain()

    assert state(order_id) == ("COMPLETED", "")
    assert history(order_id) == [
        ("OrderCreated", "PENDING"),
        ("InventoryReserved", "INVENTORY_RESERVED"),
        ("PaymentCompleted", "PAYMENT_COMPLETED"),
        ("DeliveryStarted", "DELIVERY_STARTED"),
        ("DeliveryHandedOver", "SHIPPED"),
        ("DeliveryCompleted", "COMPLETED"),
    ]
    assert (stock_of(1), stock_of(2)) == ((8, 0), (4, 0))
    assert ledger() == [("CHARGE", 4000)]
    assert told() == {"ORDER_RECEIVED", "SHIPPED", "DELIVERED", "COMPLETED"}
    assert violations() == []


def test_more_than_there_is_is_refused_and_nothing_is_touched(bus: Bus):
    order_id = place(quantity=11)

    bus.drain()

    assert state(order_id) == ("CANCELLED", "I002: insufficient stock of product 1")
    assert (stock_of(1), stock_of(2), ledger()) == ((10, 0), (5, 0), [])
    assert Payment.objects.count() == Delivery.objects.count() == 0
    assert told() == {"ORDER_RECEIVED", "CANCELLED"}
    assert violations() == []


@pytest.mark.parametrize("token", ["tok_declined", "tok_insufficient_funds"])
def test_a_declined_payment_gives_the_stock_back(bus: Bus, token: str):
    order_id = place(payment_token=token)

    bus.drain()

    status, reason = state(order_id)
    assert (status, reason.partition(":")[0]) == ("CANCELLED", "PAY002")
    assert (stock_of(1), ledger(), Delivery.objects.count()) == ((10, 0), [], 0)
    assert "CANCELLED" in told()
    assert violations() == []


@pytest.mark.parametrize(
    ("address", "reservation"), [("addr_refused_by_carrier", "RELEASED"), ("addr_refused_by_recipient", "RETURNED")]
)
def test_a_refused_delivery_is_refunded_and_restocked(bus: Bus, address: str, reservation: str):
    order_id = place(address=address)

    bus.drain()

    assert state(order_id)[0] == "CANCELLED"
    assert Reservation.objects.get(order_id=order_id).status == reservation
    assert (stock_of(1), stock_of(2)) == ((10, 0), (5, 0))
    assert ledger() == [("CHARGE", 4000), ("REFUND", 4000)]
    assert {"DELIVERY_FAILED", "CANCELLED"} <= told()
    assert violations() == []


@pytest.mark.parametrize("token", ["tok_timeout_charged", "tok_timeout_not_charged", "tok_flaky_3"])
def test_a_payment_whose_outcome_is_unknown_is_asked_for_until_it_is_known(bus: Bus, token: str, due_now):
    order_id = place(payment_token=token)

    bus.drain(until=lambda: not bus.messages and not due_now() and state(order_id)[0] == "COMPLETED")
    bus.drain(timers=False)  # what can wait

    assert (state(order_id)[0], ledger()) == ("COMPLETED", [("CHARGE", 4000)])
    assert violations() == []


# --- Money that is held until hand-over -------------------------------------------------------------------------------
@pytest.fixture
def at_hand_over(settings: Any) -> None:
    settings.PAYMENT_CAPTURE = "at_hand_over"


@pytest.mark.usefixtures("at_hand_over")
def test_held_money_is_taken_when_the_carrier_has_the_parcel(bus: Bus):
    saga = given(first_event(place()))
    saga.expect("inventory.reserve_stock").emits(InventoryReserved)
    saga.expect("payments.charge_payment").emits(PaymentAuthorized)
    saga.expect("delivery.start_delivery").emits(DeliveryStarted)
    saga.ticks("delivery.advance_deliveries").emits(DeliveryHandedOver, DeliveryPaymentDue)
    saga.expect("payments.capture_payment").emits(PaymentCaptured)
    saga.expect("orders.note_capture").emits()
    saga.ticks("delivery.advance_deliveries").emits(DeliveryCompleted)
    saga.expect("orders.complete_order").emits(OrderCompleted)


@pytest.mark.usefixtures("at_hand_over")
@pytest.mark.parametrize("delivered_first", [False, True])
def test_an_order_is_complete_when_it_is_both_delivered_and_paid(bus: Bus, delivered_first: bool):
    order_id = place()
    bus.drain(timers=False)
    bus.tick("delivery.advance_deliveries")
    bus.relay()
    late = [message for message in bus.messages if message[0] == "payments.capture_payment"]
    if delivered_first:
        bus.messages = [message for message in bus.messages if message not in late]
        bus.tick("delivery.advance_deliveries")
        bus.drain(timers=False)
        assert state(order_id) == ("UNPAID", "")
        bus.messages += late
    bus.drain()
    assert state(order_id) == ("COMPLETED", "")
    assert history(order_id)[2] == ("PaymentAuthorized", "PAYMENT_AUTHORIZED")
    completed_by = "PaymentCaptured" if delivered_first else "DeliveryCompleted"
    assert history(order_id)[-1] == (completed_by, "COMPLETED")
    assert ledger() == [("AUTHORIZE", 4000), ("CAPTURE", 4000)]
    assert told() == {"ORDER_RECEIVED", "SHIPPED", "DELIVERED", "COMPLETED"}
    assert violations() == []


@pytest.mark.usefixtures("at_hand_over")
@pytest.mark.parametrize("settled", ["captured", "written off"])
@pytest.mark.parametrize("pieces", [2, 1])
def test_an_order_whose_money_cannot_be_taken_is_for_staff_to_settle(bus: Bus, due_now: Any, settled: str, pieces: int):
    order_id = place(payment_token="tok_hold_lost")
    if pieces == 1:
        request_change(order_id, key="k", quantities={1: pieces})
    bus.drain()
    assert state(order_id) == ("UNPAID", "")
    assert Order.objects.get().capture == "FAILED"
    assert [(one.invariant, one.detail) for one in violations() if one.invariant != "orders_end"] == [
        ("unpaid_is_seen_to", "UNPAID, and its money could not be taken")
    ]
    payment_id = Payment.objects.get().pk
    if settled == "captured":
        GatewayLedger.objects.filter(kind="VOID").delete()
        assert capture_again([payment_id]) == 1
    else:
        assert write_off([payment_id], "a friend") == 1
    bus.drain()
    assert state(order_id) == ("COMPLETED", "")
    assert ("CAPTURE", 1000 * pieces + 2000) in ledger() or settled == "written off"
    assert violations() == []


@pytest.mark.usefixtures("at_hand_over")
def test_a_parcel_that_has_not_left_stays_when_the_hold_is_lost(bus: Bus, due_now: Any, settings: Any):
    settings.HANDOVER_AFTER = 3600
    order_id = place(payment_token="tok_hold_lost")
    bus.drain()
    assert state(order_id)[0] == "DELIVERY_STARTED"
    due_now()
    bus.drain(until=lambda: not bus.messages and state(order_id)[0] == "CANCELLED")
    bus.drain(timers=False)
    assert state(order_id) == ("CANCELLED", NOT_CAPTURED)
    assert (Delivery.objects.get().status, Payment.objects.get().status, stock_of(1)) == (
        "CANCELLED", "VOIDED", (10, 0),
    )  # fmt: skip
    assert violations() == []


@pytest.mark.usefixtures("at_hand_over")
@pytest.mark.parametrize("stage", [3, 4])
def test_what_is_held_is_let_go_of_when_the_customer_cancels(bus: Bus, stage: int):
    order_id = place()
    bus.relay()
    for step in STAGES["noted"][:stage]:
        deliver(bus, step)
    request_cancellation(order_id)
    bus.drain()
    assert state(order_id) == ("CANCELLED", BY_CUSTOMER)
    assert ledger() == [("AUTHORIZE", 4000), ("VOID", 4000)]
    assert (stock_of(1), stock_of(2)) == ((10, 0), (5, 0))
    assert violations() == []


@pytest.mark.usefixtures("at_hand_over")
def test_held_money_that_was_taken_is_given_back_when_the_recipient_refuses(bus: Bus):
    order_id = place(address="addr_refused_by_recipient")
    bus.drain()
    assert state(order_id)[0] == "CANCELLED"
    assert ledger() == [("AUTHORIZE", 4000), ("CAPTURE", 4000), ("REFUND", 4000)]
    assert violations() == []


# Each stage of the saga, by what to deliver before the customer cancels.
STAGES = {
    "before anything": [],
    "reserved": ["inventory.reserve_stock"],
    "paid": ["inventory.reserve_stock", "payments.charge_payment"],
    "being delivered": ["inventory.reserve_stock", "payments.charge_payment", "delivery.start_delivery"],
    "noted": [
        "inventory.reserve_stock",
        "payments.charge_payment",
        "delivery.start_delivery",
        "orders.mark_started",
    ],
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("cancellation_first", [True, False])
def test_a_customer_can_cancel_until_the_carrier_has_the_parcel(bus: Bus, stage: str, cancellation_first: bool):
    order_id = place()
    bus.relay()
    for step in STAGES[stage]:
        deliver(bus, step)
    request_cancellation(order_id)
    left = list(bus.messages)
    bus.messages.clear()
    if cancellation_first:  # the whole way back overtakes what is still under way forward
        bus.drain(timers=False)
        assert state(order_id)[0] == "CANCELLED"
    bus.messages.extend(left)

    bus.drain()

    assert state(order_id) == ("CANCELLED", BY_CUSTOMER)
    assert (stock_of(1), stock_of(2)) == ((10, 0), (5, 0))
    charged = sum(amount for kind, amount in ledger() if kind == "CHARGE")
    assert charged == sum(amount for kind, amount in ledger() if kind == "REFUND")
    assert violations() == []


@pytest.mark.parametrize("reason", [BY_CUSTOMER, BY_STAFF])
def test_a_cancellation_that_the_carrier_outran_lets_the_order_go_on(bus: Bus, reason: str):
    order_id = place()
    bus.drain(timers=False)
    bus.tick("delivery.advance_deliveries")  # handed over
    request_cancellation(order_id, reason=reason)
    assert state(order_id)[0] == "CANCELLING"

    bus.drain()

    assert state(order_id) == ("COMPLETED", "")
    assert ("DeliveryCancellationRefused", "SHIPPED") in history(order_id)
    assert (stock_of(1), ledger()) == ((8, 0), [("CHARGE", 4000)])
    assert violations() == []


def test_a_charge_that_lands_after_the_cancellation_is_refunded(bus: Bus, due_now):
    order_id = place(payment_token="tok_timeout_charged")
    bus.relay()
    deliver(bus, "inventory.reserve_stock")
    deliver(bus, "payments.charge_payment")  # charged, and nobody knows
    assert (ledger(), Payment.objects.get().status) == ([("CHARGE", 4000)], "PENDING")
    request_cancellation(order_id)

    bus.drain(until=lambda: not bus.messages and not due_now() and state(order_id)[0] == "CANCELLED")
    bus.drain(timers=False)  # what can wait

    assert ledger() == [("CHARGE", 4000), ("REFUND", 4000)]
    assert (Payment.objects.get().status, stock_of(1)) == ("REFUNDED", (10, 0))
    assert violations() == []


@pytest.mark.parametrize(
    ("then", "problem"),
    [
        (lambda bus: None, cancellation.AlreadyCancelled),
        (lambda bus: bus.drain(), cancellation.AlreadyCancelled),
    ],
)
def test_an_order_is_cancelled_once(bus: Bus, then: Callable[[Bus], None], problem: type[Exception]):
    order_id = place()
    request_cancellation(order_id)
    then(bus)

    with pytest.raises(problem):
        request_cancellation(order_id)


def test_a_completed_order_cannot_be_cancelled(bus: Bus):
    order_id = place()
    bus.drain()

    with pytest.raises(cancellation.NotCancellable):
        request_cancellation(order_id)


def test_what_a_wiped_broker_lost_is_emitted_again_by_the_timer(bus: Bus):
    """Wherever the saga stands when all messages are lost, the timer alone brings the order to its end."""
    for delivered in range(20):
        order_id = place(quantity=1)
        StockItem.objects.update(on_hand=F("on_hand") + 10)
        StockMovement.objects.create(product_id=1, location_id="MAIN", delta=10, kind="ADJUSTMENT")
        StockMovement.objects.create(product_id=2, location_id="MAIN", delta=10, kind="ADJUSTMENT")
        go_on(bus, delivered)
        bus.messages.clear()

        bus.tick("orders.look_after")
        bus.drain()
        assert (delivered, state(order_id)[0]) == (delivered, "COMPLETED")

        for _ in range(2):  # what no order waits for, a notification say, is missed when the order is closed
            bus.tick("orders.look_after")
            bus.drain()
        assert (delivered, Order.objects.get(pk=order_id).look_at) == (delivered, None)
    assert violations() == []


def test_a_batch_of_many_has_the_effect_of_many_batches_of_one(bus: Bus, settings):
    def outcome(limit: int) -> tuple:
        settings.SAGAS = replace(settings.SAGAS, batch_limit=limit)
        with rolled_back():
            seed_stock({3: 20})
            wishes = [
                {},
                {"payment_token": "tok_declined"},
                {"address": "addr_refused_by_carrier"},
                {"payment_token": "tok_insufficient_funds"},
                {"address": "addr_refused_by_recipient"},
                {},
            ] * 5
            placed = [place_order(user_id=1, lines=[Line(3, 1 + n % 3)], **wish).pk for n, wish in enumerate(wishes)]
            bus.drain()
            assert violations() == []
            return [state(order_id) for order_id in placed], stock_of(3), ledger(), len(bus.log)

    *together, few = outcome(100)
    bus.log.clear()
    *one_by_one, many = outcome(1)

    assert together == one_by_one
    assert many > 5 * few
    assert {status for status, _ in together[0]} == {"COMPLETED", "CANCELLED"}


def test_an_order_past_its_deadline_goes_back_by_itself(bus: Bus, settings):
    settings.ORDER_DEADLINE = -1
    waiting, delivered = place(), place()
    bus.relay()
    bus.messages.clear()
    Order.objects.filter(pk=delivered).update(status=Order.Status.DELIVERY_STARTED)  # with the carrier: not counted

    assert bus.tick("orders.cancel_overdue") == 1

    Order.objects.filter(pk=delivered).update(status=Order.Status.PENDING)
    bus.drain()
    assert state(waiting) == ("CANCELLED", OVERDUE)


def deliver(bus: Bus, step: str) -> None:
    """Deliver the oldest message for a step; one that can wait is told of by the relay."""
    if ORDER.steps[step].deferrable:
        bus.relay()
    bus.deliver([name for name, _ in bus.messages].index(step))
