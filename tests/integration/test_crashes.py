"""Processes that die at the worst moments. What has been done stays done, once, and the saga goes on."""

import os
import signal

import pytest
from django.apps import apps

from inventory.models import Reservation
from sagas.relay import publish_outbox
from tests.support.processes import eventually
from tests.support.running_shop import PRICE, Queues, Shop, booked, relay_everything, stock_of, told

WAITING = 5  # messages


def test_a_worker_killed_between_commit_and_acknowledgement(shop: Shop, queues: Queues):
    order_id = shop.place(2)
    doomed = shop.processes.worker(
        "doomed", queues=("inventory",), CRASH_POINTS="1", CRASH_AT="step.committed", LOCK_LEASE="1"
    )
    assert publish_outbox("orders") == 1
    doomed.says("CRASH_AT step.committed")
    doomed.kill()
    inbox = apps.get_model("inventory.Inbox").objects
    assert inbox.filter(correlation_id=order_id).count() == 1  # it was done,
    assert (queues.waiting("payments"), queues.waiting("orders")) == (0, 0)  # and nobody knows
    (before,) = inbox.values("event_id", "emitted", "handled_at")

    shop.processes.worker("healthy")

    assert shop.ends(order_id, meanwhile=shop.relay_and_carry) == [("COMPLETED", "")]
    assert inbox.filter(step="inventory.reserve_stock").values("event_id", "emitted", "handled_at").get() == before
    assert Reservation.objects.count() == 1
    assert stock_of(shop.products[0]) == (8, 0)
    assert booked() == [("CHARGE", 2 * PRICE)]
    assert told() == sorted(["COMPLETED", "DELIVERED", "ORDER_RECEIVED", "SHIPPED"] * 2)  # by e-mail and by SMS


def test_a_broker_that_lost_everything(shop: Shop, queues: Queues):
    orders = [shop.place() for _ in range(3)]
    relay_everything()
    assert [queues.waiting(name) for name in ("inventory", "notifications")] == [1, 1]
    queues.delete()

    shop.open()
    shop.orders_stand_still()

    assert shop.ends(*orders) == [("COMPLETED", "")] * 3
    assert booked() == [("CHARGE", PRICE)] * 3


@pytest.mark.parametrize("dies", [False, True], ids=["", "its process dies"])
def test_messages_that_wait_in_a_worker_are_one_batch(shop: Shop, queues: Queues, dies: bool):
    """All of them are acknowledged, or none: then each comes again, by itself."""
    mortal = {"CRASH_POINTS": "1", "CRASH_AT": "step.written:2", "LOCK_LEASE": "1"} if dies else {}
    worker = shop.processes.worker("merging", queues=("inventory",), **mortal)
    orders = [shop.place()]
    relay_everything()
    inbox = apps.get_model("inventory.Inbox").objects.filter(step="inventory.reserve_stock")
    eventually(lambda: inbox.count() == 1)  # from now on it fetches ahead
    os.kill(worker.pid, signal.SIGSTOP)
    for _ in range(WAITING):
        orders.append(shop.place())
        publish_outbox("orders")
    os.kill(worker.pid, signal.SIGCONT)

    eventually(lambda: inbox.count() == len(orders))
    if dies:
        worker.says("CRASH_AT step.written")
    else:
        assert inbox.values("handled_at").distinct().count() < len(orders)  # a row has the time of its transaction
    shop.processes.stop(worker)
    assert queues.waiting("inventory") == 0  # what is not acknowledged would be there again
    assert sorted(inbox.values_list("correlation_id", flat=True)) == orders
    assert Reservation.objects.count() == len(orders)
    assert queues.waiting("inventory.dead") == 0
