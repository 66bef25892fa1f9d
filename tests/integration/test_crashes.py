"""Processes that die at the worst moments. What has been done stays done, once, and the saga goes on."""

from typing import Any

from django.apps import apps
from django.utils import timezone

from inventory.models import Reservation
from orders.models import Order
from shop.messaging.relay import relay_once
from shop.messaging.topology import DELIVERY_LIMIT
from tests.integration.shop import PRICE, Queues, Shop, booked, events_in, outcome, stock_of, told
from tests.processes import eventually

ENOUGH = 10  # orders, to kill everybody by
LIFETIME = 6  # passes of a boundary after which a process dies there

# Between the effect and its acknowledgement, in the order in which they are passed.
BOUNDARIES = ("step.committed", "publisher.confirmed", "step.finished")


def test_a_worker_killed_between_commit_and_acknowledgement(shop: Shop, queues: Queues):
    order_id = shop.place(2)
    doomed = shop.processes.worker(
        "doomed", queues=("inventory",), CRASH_POINTS="1", CRASH_AT="step.committed", LOCK_LEASE="1"
    )
    assert relay_once("orders") == 1
    doomed.says("CRASH_AT step.committed")
    doomed.kill()
    inbox = apps.get_model("inventory.Inbox").objects
    assert inbox.filter(order_id=order_id).count() == 1  # it was done,
    assert (queues.waiting("payments"), queues.waiting("orders")) == (0, 0)  # and nobody knows
    (before,) = inbox.values("event_id", "emitted", "handled_at")

    shop.processes.worker("healthy")

    assert shop.ends(order_id, meanwhile=shop.relay_and_carry) == [("COMPLETED", "")]
    assert inbox.filter(step="inventory.reserve_stock").values("event_id", "emitted", "handled_at").get() == before
    assert Reservation.objects.count() == 1
    assert stock_of(shop.products[0]) == (8, 0)
    assert booked() == [("CHARGE", 2 * PRICE)]
    assert told() == sorted(["COMPLETED", "DELIVERED", "ORDER_RECEIVED", "SHIPPED"] * 2)  # by e-mail and by SMS


def test_workers_that_die_again_and_again(shop: Shop, settings: Any):
    settings.BATCH_LIMIT = 1
    doomed = {
        boundary: shop.processes.worker(boundary, CRASH_POINTS="1", CRASH_AT=f"{boundary}:{LIFETIME}", BATCH_LIMIT="1")
        for boundary in BOUNDARIES
    }
    for process in doomed.values():
        process.says("ready.")
    orders: list[int] = []

    while not all(f"CRASH_AT {boundary}" in process.log for boundary, process in doomed.items()):
        assert len(orders) < ENOUGH
        orders.append(shop.place())
        shop.ends(*orders, meanwhile=shop.relay_and_carry)

    assert [outcome(order_id) for order_id in orders] == [("COMPLETED", "")] * len(orders)
    assert booked() == [("CHARGE", PRICE)] * len(orders)
    assert stock_of(shop.products[0]) == (10 - len(orders), 0)


def test_a_message_that_nobody_survives_is_set_aside(shop: Shop, queues: Queues):
    """A worker notices the end of a child within five seconds, twenty times are too long: here nobody really dies."""
    order_id = shop.place()
    assert relay_once("orders") == 1
    deaths = 0

    def dead_lettered() -> bool:
        nonlocal deaths
        deaths += queues.take_and_die("inventory")
        return queues.waiting("inventory.dead") == 1

    eventually(dead_lettered)

    assert deaths == DELIVERY_LIMIT + 1
    (message,) = queues.take("inventory.dead")
    assert [event["order_id"] for event in events_in([message])] == [order_id]
    assert message.headers["x-first-death-reason"] == "delivery_limit"
    assert queues.waiting("notifications") == 1  # its neighbours are where they were


def test_a_broker_that_lost_everything(shop: Shop, queues: Queues):
    orders = [shop.place() for _ in range(3)]
    assert relay_once("orders") == 3
    assert [queues.waiting(name) for name in ("inventory", "notifications")] == [1, 1]
    queues.delete()

    shop.open()
    Order.objects.update(look_at=timezone.now())  # they have not moved for a while

    assert shop.ends(*orders) == [("COMPLETED", "")] * 3
    assert booked() == [("CHARGE", PRICE)] * 3
