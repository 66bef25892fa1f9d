"""Reserving, shipping and releasing stock: each step as a plain function, in every order in which it may run."""

import pytest
from django.db import IntegrityError, connections, transaction
from django.test.utils import CaptureQueriesContext

from inventory import services
from inventory.models import Reservation, StockItem, StockMovement
from inventory.tasks import product_locks, release_stock, reserve_stock, ship_stock
from shop.contracts.events import (
    Checkout,
    DeliveryHandedOver,
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    Line,
    OrderCreated,
    PaymentFailed,
    PaymentRefunded,
)

pytestmark = pytest.mark.django_db(databases=["inventory"])


@pytest.fixture(autouse=True)
def stock() -> None:
    services.seed_stock({1: 10, 2: 5, 3: 1})


def created(order_id: int, *lines: tuple[int, int]) -> OrderCreated:
    checkout = Checkout(
        user_id=7,
        amount=1000,
        currency="KRW",
        payment_gateway="TOSS_PAYMENTS",
        payment_token="tok_ok",
        lines=tuple(Line(*line) for line in lines),
    )
    return OrderCreated(order_id=order_id, checkout=checkout)


def shipped(order_id: int) -> DeliveryHandedOver:
    return DeliveryHandedOver(order_id=order_id, user_id=7, tracking_number=f"T{order_id}")


def refunded(order_id: int) -> PaymentRefunded:
    return PaymentRefunded(order_id=order_id, reason="changed my mind")


def on_shelf(product_id: int) -> tuple[int, int]:
    """Return (on hand, reserved)."""
    item = StockItem.objects.get(product_id=product_id)
    return item.on_hand, item.reserved


def status(order_id: int) -> str:
    return Reservation.objects.get(order_id=order_id).status


def told(events: list) -> list[tuple[type, int]]:
    return [(type(event), event.order_id) for event in events]


def test_reserving_sets_all_lines_aside_and_leaves_the_shelf_alone():
    event = created(1, (1, 3), (2, 2))

    (reserved,) = reserve_stock([event])

    assert reserved == InventoryReserved(order_id=1, event_id=reserved.event_id, checkout=event.checkout)
    assert (on_shelf(1), on_shelf(2)) == ((10, 3), (5, 2))
    assert StockMovement.objects.filter(order_id=1).count() == 0


def test_all_lines_or_none():
    (refused,) = reserve_stock([created(1, (1, 3), (2, 6))])

    assert isinstance(refused, InventoryReservationFailed)
    assert refused.reason == "I002: insufficient stock of product 2"
    assert (on_shelf(1), on_shelf(2), status(1)) == ((10, 0), (5, 0), "REFUSED")


def test_a_product_without_a_stock_record_is_refused():
    (refused,) = reserve_stock([created(1, (99, 1))])

    assert isinstance(refused, InventoryReservationFailed)
    assert refused.reason == "I002: no stock of product 99"


def test_first_come_first_served_within_a_batch():
    outcome = reserve_stock([created(8, (3, 1)), created(2, (3, 1)), created(5, (1, 10)), created(6, (1, 1))])

    assert told(outcome) == [
        (InventoryReserved, 8),
        (InventoryReservationFailed, 2),
        (InventoryReserved, 5),
        (InventoryReservationFailed, 6),
    ]
    assert (on_shelf(3), on_shelf(1)) == ((1, 1), (10, 10))


def test_an_order_is_decided_once():
    reserve_stock([created(1, (1, 3))])

    assert reserve_stock([created(1, (1, 3))]) == []
    assert on_shelf(1) == (10, 3)


def test_shipping_takes_the_pieces_off_the_shelf_once():
    reserve_stock([created(1, (1, 3))])

    ship_stock([shipped(1)])
    ship_stock([shipped(1)])

    assert (on_shelf(1), status(1)) == ((7, 0), "SHIPPED")
    assert list(StockMovement.objects.filter(order_id=1).values_list("kind", "delta")) == [("SHIPMENT", -3)]


@pytest.mark.parametrize(
    "undo", [refunded, lambda order_id: PaymentFailed(order_id=order_id, reason="changed my mind")]
)
def test_releasing_frees_what_was_set_aside_once(undo):
    reserve_stock([created(1, (1, 3))])

    (released,) = release_stock([undo(1)])

    assert released == InventoryReleased(order_id=1, event_id=released.event_id, reason="changed my mind")
    assert (on_shelf(1), status(1)) == ((10, 0), "RELEASED")
    assert release_stock([undo(1)]) == []
    assert on_shelf(1) == (10, 0)


def test_releasing_what_was_shipped_returns_it_to_the_shelf():
    reserve_stock([created(1, (1, 3))])
    ship_stock([shipped(1)])

    assert told(release_stock([refunded(1)])) == [(InventoryReleased, 1)]

    assert (on_shelf(1), status(1)) == ((10, 0), "RETURNED")
    assert sorted(StockMovement.objects.filter(order_id=1).values_list("kind", "delta")) == [
        ("RETURN", 3),
        ("SHIPMENT", -3),
    ]


def test_an_undo_that_comes_first_leaves_a_tombstone():
    assert told(release_stock([refunded(1)])) == [(InventoryReleased, 1)]

    assert reserve_stock([created(1, (1, 3))]) == []
    ship_stock([shipped(1)])
    assert (on_shelf(1), status(1)) == ((10, 0), "RELEASED")


def test_shipping_after_the_release_does_nothing():
    reserve_stock([created(1, (1, 3))])
    release_stock([refunded(1)])

    ship_stock([shipped(1)])

    assert (on_shelf(1), status(1)) == ((10, 0), "RELEASED")


def test_releasing_a_refused_order_does_nothing():
    reserve_stock([created(1, (3, 2))])

    assert release_stock([refunded(1)]) == []
    assert (on_shelf(3), status(1)) == ((1, 0), "REFUSED")


def test_a_batch_does_what_its_events_do_one_by_one():
    orders = [created(order_id, (1, order_id), (2, 1)) for order_id in (4, 3, 2, 1, 5)]
    with transaction.atomic(using="inventory"):
        together = told(reserve_stock(orders))
        shelf = on_shelf(1), on_shelf(2)
        transaction.set_rollback(True, using="inventory")

    one_by_one = [answer for order in orders for answer in told(reserve_stock([order]))]

    assert together == one_by_one
    assert shelf == (on_shelf(1), on_shelf(2)) == ((10, 10), (5, 4))


@pytest.mark.parametrize(
    ("step", "event", "before", "statements"),
    [
        (reserve_stock, lambda n: created(n, (1, 1)), [], 4),
        (ship_stock, shipped, [reserve_stock], 4),
        (release_stock, refunded, [reserve_stock], 4),
    ],
)
def test_a_batch_of_a_hundred_takes_as_many_statements_as_one_of_one(step, event, before, statements):
    StockItem.objects.filter(product_id=1).update(on_hand=1000)
    for size, first in ((1, 1), (100, 1000)):
        orders = range(first, first + size)
        for earlier in before:
            earlier([created(n, (1, 1)) for n in orders])
        with CaptureQueriesContext(connections["inventory"]) as captured:
            step([event(n) for n in orders])
        assert len([q for q in captured if "SAVEPOINT" not in q["sql"]]) == statements


def test_the_locks_of_a_batch_are_its_products_each_once():
    assert product_locks([created(1, (2, 1), (1, 1)), created(2, (2, 1))]) == ["inventory:lock:1", "inventory:lock:2"]


@pytest.mark.parametrize("wrong", [{"reserved": -1}, {"reserved": 11}, {"on_hand": -1}])
def test_the_database_refuses_impossible_stock(wrong):
    with pytest.raises(IntegrityError), transaction.atomic(using="inventory"):
        StockItem.objects.filter(product_id=1).update(**wrong)
