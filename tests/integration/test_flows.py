"""The saga through real processes: every way an order can end, in the right order and in the wrong one."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.db import connections
from django.utils import timezone
from django_redis import get_redis_connection

from delivery.models import Delivery, ReturnParcel
from inventory.models import Reservation, StockMovement
from notifications.models import Notification
from orders.cancellation import NotCancellable, request_cancellation
from orders.changes.requests import request_change
from orders.models import OrderChange, Return
from orders.returns import decisions
from orders.returns.requests import Wanted, request_return, withdraw
from payments.models import Payment
from shop.contracts.events import (
    DeliveryCancelled,
    DeliveryHandedOver,
    InventoryReserved,
    Line,
    OrderCancellationRequested,
    OrderCreated,
    PaymentCompleted,
    PaymentFailed,
    PaymentRefunded,
)
from tests.support.processes import eventually
from tests.support.running_shop import PRICE, Queues, Shop, booked, history, outcome, stock_of, told

BUYERS = 100
FORWARD = (
    "OrderCreated",
    "InventoryReserved",
    "PaymentCompleted",
    "DeliveryStarted",
    "DeliveryHandedOver",
    "DeliveryCompleted",
)


def test_an_order_runs_through_all_processes(running_shop: Shop):
    order_id = running_shop.place(2)

    assert running_shop.ends(order_id) == [("COMPLETED", "")]
    seen = history(order_id)
    assert seen == [event for event in FORWARD if event in seen]  # of two workers one may hear what is news no more
    assert (seen[0], seen[-1]) == (FORWARD[0], FORWARD[-1])
    assert stock_of(running_shop.products[0]) == (8, 0)
    assert booked() == [("CHARGE", 2 * PRICE)]
    assert set(told()) == {"ORDER_RECEIVED", "SHIPPED", "DELIVERED", "COMPLETED"}
    assert eventually(lambda: not Notification.objects.exclude(status="SENT").exists())
    for beat in running_shop.standing("beat"):  # two of them, and neither did harm
        beat.says("Sending due task delivery.advance_deliveries")


def test_workers_declare_nothing_for_delayed_messages(running_shop: Shop, queues: Queues):
    assert running_shop.standing("worker")
    assert queues.has_exchange("shop.dead")
    assert not queues.has_exchange("celery_delayed_delivery")


@pytest.mark.parametrize(
    ("wishes", "quantity", "reason", "kinds"),
    [
        pytest.param({}, 11, "I002: insufficient stock", [], id="no stock"),
        pytest.param({"payment_token": "tok_declined"}, 1, "PAY002: declined", [], id="declined"),
        pytest.param({"address": "addr_refused_by_carrier"}, 1, "인수 거부", ["CHARGE", "REFUND"], id="no carrier"),
        pytest.param({"address": "addr_refused_by_recipient"}, 1, "수령 거부", ["CHARGE", "REFUND"], id="no recipient"),
    ],
)
def test_a_refusal_undoes_what_was_done(
    running_shop: Shop, wishes: dict[str, Any], quantity: int, reason: str, kinds: list[str]
):
    order_id = running_shop.place(quantity, **wishes)

    ((status, why),) = running_shop.ends(order_id)

    assert status == "CANCELLED"
    assert reason in why
    assert [kind for kind, _ in booked()] == kinds
    assert stock_of(running_shop.products[0]) == (10, 0)
    assert "COMPLETED" not in told()
    assert told().count("CANCELLED") == Notification.objects.filter(type="CANCELLED").count() > 0


def test_a_customer_cancels_before_the_payment_is_known(running_shop: Shop):
    with running_shop.gateway_away():
        order_id = running_shop.place()
        running_shop.comes_to(order_id, "INVENTORY_RESERVED")
        eventually(lambda: Payment.objects.filter(status="PENDING", attempts__gt=0).exists())
        request_cancellation(order_id)
        eventually(lambda: Payment.objects.filter(status="REFUNDING").exists())
        assert outcome(order_id)[0] == "CANCELLING"  # not before it is known whether there is money to give back

    assert running_shop.ends(order_id) == [("CANCELLED", "cancelled by the customer")]
    assert booked() == []
    assert stock_of(running_shop.products[0]) == (10, 0)


def test_a_customer_cancels_after_everything_was_done(running_shop: Shop):
    order_id = running_shop.place(3)
    running_shop.comes_to(order_id, "DELIVERY_STARTED")
    assert stock_of(running_shop.products[0]) == (10, 3)

    request_cancellation(order_id)
    running_shop.comes_to(order_id, "CANCELLED")

    assert running_shop.ends(order_id) == [("CANCELLED", "cancelled by the customer")]
    assert booked() == [("CHARGE", 3 * PRICE), ("REFUND", 3 * PRICE)]
    assert stock_of(running_shop.products[0]) == (10, 0)
    assert Delivery.objects.get(order_id=order_id).status == "CANCELLED"


def test_a_customer_cancels_some_of_the_pieces(running_shop: Shop):
    order_id = running_shop.place(3)
    running_shop.comes_to(order_id, "DELIVERY_STARTED")

    request_change(order_id, key="k", quantities={running_shop.products[0]: 1})
    assert running_shop.ends(order_id) == [("COMPLETED", "")]

    assert OrderChange.objects.get(order=order_id).status == "MADE"
    assert booked() == [("CHARGE", 3 * PRICE), ("REFUND", 2 * PRICE)]
    assert stock_of(running_shop.products[0]) == (9, 0)
    assert "ORDER_CHANGED" in told()


def test_a_customer_cancels_when_the_carrier_has_the_parcel(running_shop: Shop):
    order_id = running_shop.place()
    running_shop.comes_to(order_id, "DELIVERY_STARTED")
    running_shop.time_passes()
    running_shop.comes_to(order_id, "SHIPPED")
    eventually(lambda: stock_of(running_shop.products[0]) == (9, 0))

    with pytest.raises(NotCancellable):
        request_cancellation(order_id)
    running_shop.tell(OrderCancellationRequested(order_id=order_id, reason="cancelled by the customer"))

    assert running_shop.ends(order_id) == [("COMPLETED", "")]
    assert booked() == [("CHARGE", PRICE)]


def test_a_hundred_buyers_of_one_piece(running_shop: Shop):
    product = running_shop.products[1]
    before = _reservations_by_worker()
    running_shop.set_stock(product, 1)

    orders = [running_shop.place(product=1) for _ in range(BUYERS)]

    outcomes = Counter(running_shop.ends(*orders))
    assert outcomes == {
        ("COMPLETED", ""): 1,
        ("CANCELLED", f"I002: insufficient stock of product {product}"): BUYERS - 1,
    }
    assert stock_of(product) == (0, 0)
    assert booked() == [("CHARGE", PRICE)]
    assert list(get_redis_connection("locks").scan_iter(f"{settings.PREFIX}inventory:lock:*")) == []
    after = _reservations_by_worker()
    assert all(after[worker] > before[worker] for worker in ("worker1@test", "worker2@test")), (before, after)


def _reservations_by_worker() -> Counter[str]:
    """How many batches each worker has taken to reserve."""
    replies = current_app.control.broadcast("stats", reply=True, limit=2, timeout=20) or []
    counts = {name: stats["total"].get("inventory.reserve_stock", 0) for one in replies for name, stats in one.items()}
    assert len(counts) == 2
    return Counter(counts)


# —— Undo before do —————————————————————————————————————————————————————————————————————————————————————————————————
def test_a_release_before_its_reservation(running_shop: Shop):
    order_id, checkout = running_shop.write_order()

    running_shop.tell(PaymentFailed(order_id=order_id, reason="PAY002: declined"))
    running_shop.comes_to(order_id, "CANCELLED")
    running_shop.tell(OrderCreated(order_id=order_id, checkout=checkout))

    reservation = Reservation.objects.get(order_id=order_id)
    assert (reservation.status, reservation.lines.count()) == ("RELEASED", 0)
    assert stock_of(running_shop.products[0]) == (10, 0)
    assert not Payment.objects.exists()
    assert outcome(order_id) == ("CANCELLED", "PAY002: declined")


def test_a_refund_before_its_charge(running_shop: Shop):
    order_id, checkout = running_shop.write_order()

    running_shop.tell(DeliveryCancelled(order_id=order_id, reason="too late"))
    running_shop.comes_to(order_id, "CANCELLED")
    running_shop.tell(InventoryReserved(order_id=order_id, checkout=checkout))

    assert Payment.objects.get(order_id=order_id).status == "VOIDED"
    assert booked() == []
    assert not Delivery.objects.exists()
    assert outcome(order_id) == ("CANCELLED", "too late")


def test_a_cancellation_before_its_delivery(running_shop: Shop):
    order_id, checkout = running_shop.write_order()

    running_shop.tell(OrderCancellationRequested(order_id=order_id, reason="cancelled by the customer"))
    running_shop.comes_to(order_id, "CANCELLED")
    running_shop.tell(PaymentCompleted(order_id=order_id, checkout=checkout))

    delivery = Delivery.objects.get(order_id=order_id)
    assert (delivery.status, delivery.tracking_number) == ("CANCELLED", None)
    assert "DeliveryStarted" not in history(order_id)
    assert outcome(order_id) == ("CANCELLED", "cancelled by the customer")


def test_a_release_before_its_shipment(running_shop: Shop):
    with running_shop.gateway_away():
        order_id = running_shop.place(2)
        running_shop.comes_to(order_id, "INVENTORY_RESERVED")
        assert stock_of(running_shop.products[0]) == (10, 2)

        running_shop.tell(PaymentRefunded(order_id=order_id, reason="too late"))
        handed_over = DeliveryHandedOver(order_id=order_id, user_id=running_shop.customer, tracking_number="CJ1")
        running_shop.tell(handed_over, "inventory.ship_stock")

        assert Reservation.objects.get(order_id=order_id).status == "RELEASED"
        assert stock_of(running_shop.products[0]) == (10, 0)
        assert not StockMovement.objects.filter(order_id=order_id).exists()


def test_a_charge_that_lands_after_the_cancellation_is_refunded(running_shop: Shop):
    with _charges_take_long():
        order_id = running_shop.place()
        running_shop.comes_to(order_id, "INVENTORY_RESERVED")
        eventually(_charge_is_under_way)
        request_cancellation(order_id)
        running_shop.comes_to(order_id, "CANCELLED")
        assert Payment.objects.get(order_id=order_id).status == "VOIDED"
        assert _charge_is_under_way()
        assert booked() == []

    def refunded() -> None:
        assert Payment.objects.get(order_id=order_id).status == "REFUNDED"

    assert running_shop.ends(order_id, meanwhile=refunded) == [("CANCELLED", "cancelled by the customer")]
    assert booked() == [("CHARGE", PRICE), ("REFUND", PRICE)]
    assert stock_of(running_shop.products[0]) == (10, 0)


@contextmanager
def _charges_take_long() -> Iterator[None]:
    """Within the block the gateway can be asked, and whoever has it charge waits."""
    gateway = connections["payments"].copy()
    gateway.set_autocommit(False)
    with gateway.cursor() as cursor:
        cursor.execute("LOCK TABLE payments_gatewayledger IN SHARE MODE")
    try:
        yield
    finally:
        gateway.rollback()
        gateway.close()


def _charge_is_under_way() -> bool:
    with connections["payments"].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'payments_gatewayledger'::regclass"
        )
        return cursor.fetchone()[0] > 0


# —— Returns ——————————————————————————————————————————————————————————————————————————————————————————————————————————
def test_a_return_runs_through_all_processes(running_shop: Shop):
    """One is inspected and refunded, one is exchanged, another one withdrawn before its parcel comes."""
    order_id = running_shop.place(3)
    running_shop.ends(order_id)
    lines = [Line(running_shop.products[0], 1)]
    kinds = ("REFUND", "EXCHANGE", "REFUND")
    returned, exchanged, withdrawn = (request_return(order_id, Wanted(lines=lines, kind=kind)).pk for kind in kinds)

    def comes_to(pk: int, status: str) -> None:
        def there() -> bool:
            awaited = ReturnParcel.objects.filter(return_id__in=(returned, exchanged), due_at__isnull=False)
            awaited.update(due_at=timezone.now())
            running_shop.time_passes()
            return Return.objects.filter(pk=pk, status=status).exists()

        eventually(there)

    for pk in (returned, exchanged):
        decisions.approve(pk)
    for pk in (returned, exchanged):
        comes_to(pk, "RECEIVED")
        decisions.inspect(pk, {running_shop.products[0]: decisions.Found(1, 0, 0)})
    withdraw(withdrawn)
    for pk in (returned, exchanged):
        comes_to(pk, "COMPLETED")
    comes_to(withdrawn, "WITHDRAWN")

    exchange = Return.objects.get(pk=exchanged).exchange_order_id
    assert exchange is not None
    assert running_shop.ends(order_id, exchange) == [("COMPLETED", "")] * 2  # and the audit is clean
    assert booked() == [("CHARGE", 3 * PRICE), ("REFUND", PRICE)]
    assert stock_of(running_shop.products[0]) == (8, 0)
    returns = {"RETURN_APPROVED", "RETURN_RECEIVED", "RETURN_REFUNDED", "RETURN_EXCHANGED", "RETURN_CLOSED"}
    assert returns <= set(told())


# —— Looking on ——————————————————————————————————————————————————————————————————————————————————————————————————————
def test_following_an_order_to_its_end(running_shop: Shop):
    with running_shop.gateway_away():
        order_id = running_shop.place()
        follower = running_shop.processes.manage("saga", "saga", str(order_id), "--follow", COLUMNS="200")
        follower.says("reserve_stock")
        assert follower.runs

    running_shop.ends(order_id)

    assert follower.ends() == 0
    lines = [line for line in follower.log.splitlines() if "ms" in line]
    assert "OrderCreated" in lines[0]
    assert "OrderCompleted" in follower.log
