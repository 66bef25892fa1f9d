"""Faults that are more than a crash: a process that stops and goes on, locks and databases lost at work, poison."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import stamina
from django.apps import apps
from django.conf import settings as configured
from django.db import connections
from django_redis import get_redis_connection

from inventory.models import DeadLetter, Reservation
from inventory.services import lock_key, seed_stock
from orders.cancellation import request_cancellation
from orders.changes.requests import request_change
from orders.models import Order
from orders.refunds import request_refund
from payments.models import Payment
from sagas import dead_letter_queue, dead_letters
from sagas.events import encode
from sagas.execution import execute
from sagas.publisher import broker
from sagas.registry import STEPS, local_services
from sagas.testing import Bus, calling, publishing_to
from sagas.testing.crashes import EXIT_CODE
from sagas.topology import DELIVERY_LIMIT
from shop.contracts.events import OrderCreated, OrderEvent
from shop.contracts.payments import AT_HAND_OVER
from shop.saga import ORDER
from tests.integration.conftest import LOGS
from tests.support.forks import Fork, inventory_worker, worker
from tests.support.processes import eventually
from tests.support.proxy import Proxy
from tests.support.running_shop import (
    PRICE,
    Queues,
    Shop,
    booked,
    history,
    outcome,
    relay_everything,
    stock_of,
    told,
    violations,
)
from tests.support.sagas import SAGA_TIMERS

SLOW = "tok_slow_2s"
PATIENCE = 20.0


class Forks:
    """Forked processes, ended with the test."""

    def __init__(self, logs: Path) -> None:
        self.all: list[Fork] = []
        self._logs = logs

    def __call__(self, role: Callable[[], None], **environment: str) -> Fork:
        self.all.append(Fork(role, self._logs / f"{role.__name__} {len(self.all)}.log", **environment))
        return self.all[-1]


@pytest.fixture
def fork(shop: Shop, forking: None, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Forks]:
    fork = Forks(tmp_path)
    request.node.stash[LOGS] = fork
    broker.disconnect()
    broker.backlog()  # which declares all queues
    yield fork
    for one in fork.all:
        one.kill()


# —— A worker whose gateway takes its time ————————————————————————————————————————————————————————————————————————————
def asking() -> bool:
    """Whether it is written down what a gateway is asked for, and it has not answered yet."""
    return Payment.objects.filter(status="PENDING").exists() and booked() == []


def one_charge_and_one_end(shop: Shop, order_id: int) -> None:
    assert shop.ends(order_id, meanwhile=shop.relay_and_carry) == [("COMPLETED", "")]
    inbox = apps.get_model("payments.Inbox").objects
    assert inbox.filter(correlation_id=order_id, step="payments.charge_payment").count() == 1
    assert booked() == [("CHARGE", PRICE)]


def test_a_worker_whose_parent_is_killed_while_its_child_works(shop: Shop):
    order_id = shop.place(payment_token=SLOW)
    orphaned = shop.processes.worker("orphaned", DEBUG="1")  # else no gateway sleeps
    eventually(lambda: relay_everything() or asking())
    (child,) = psutil.Process(orphaned.pid).children()

    os.kill(orphaned.pid, signal.SIGKILL)

    assert orphaned.ends() == -signal.SIGKILL
    assert (child.is_running(), asking()) == (True, True)  # what it does nobody will acknowledge
    shop.processes.worker("healthy")
    one_charge_and_one_end(shop, order_id)
    psutil.wait_procs([child], timeout=PATIENCE)
    assert not child.is_running()


def test_a_worker_that_is_stopped_and_goes_on(shop: Shop, fork: Forks):
    """It sleeps for longer than its broker waits. That takes two missed heartbeats, twenty seconds and more; here its
    connections are cut instead, which is what the broker then does: it gives the message to another worker."""
    parts = urlsplit(configured.BROKER_URL)
    user, at, _ = parts.netloc.rpartition("@")
    with Proxy(parts.hostname or "localhost", parts.port or 5672) as proxy:
        order_id = shop.place(payment_token=SLOW)
        stopped = fork(worker, BROKER_URL=parts._replace(netloc=f"{user}{at}127.0.0.1:{proxy.port}").geturl())
        eventually(lambda: relay_everything() or asking())

        os.kill(stopped.pid, signal.SIGSTOP)
        eventually(lambda: psutil.Process(stopped.pid).status() == psutil.STATUS_STOPPED)
        assert proxy.cut() >= 1
        fork(worker)
        eventually(lambda: Payment.objects.get().status == "COMPLETED")  # another one has done it
        os.kill(stopped.pid, signal.SIGCONT)

        one_charge_and_one_end(shop, order_id)
        eventually(lambda: "onnection to broker lost" in stopped.log)  # it has woken up, and did no harm


# —— A lock that is lost while its holder works ———————————————————————————————————————————————————————————————————————
@pytest.mark.parametrize("how", ["flushed", "lease over"])
def test_two_in_the_lock_sell_the_last_piece_once(shop: Shop, settings: Any, how: str):
    settings.LOCK_LEASE = 60 if how == "flushed" else 0.2
    redis, key = get_redis_connection("locks"), configured.PREFIX + lock_key(shop.products[0])
    shop.set_stock(shop.products[0], 1)
    (first, checkout), (second, _) = shop.write_order(), shop.write_order()
    working, go_on = threading.Event(), threading.Event()

    def pause(point: str) -> None:
        if point == "step.written" and not working.is_set():
            working.set()
            assert go_on.wait(PATIENCE)

    with publishing_to(Bus(SAGA_TIMERS)), calling(pause), ThreadPoolExecutor(2) as threads:
        done = [threads.submit(reserve, OrderCreated(order_id=first, checkout=checkout))]
        try:
            assert working.wait(PATIENCE)
            assert redis.exists(key) or how == "lease over"
            eventually(lambda: not redis.exists(key) or (how == "flushed" and redis.flushdb()))
            done.append(threads.submit(reserve, OrderCreated(order_id=second, checkout=checkout)))
            eventually(lambda: redis.exists(key) and waiting_for_a_row("inventory"))  # it is in the lock, too
        finally:
            go_on.set()
        for one in done:
            one.result(PATIENCE)

    assert dict(Reservation.objects.values_list("order_id", "status")) == {first: "RESERVED", second: "REFUSED"}
    assert stock_of(shop.products[0]) == (1, 1)


def reserve(event: OrderEvent) -> None:
    try:
        execute(STEPS["inventory.reserve_stock"], [encode(event)])
    finally:
        connections.close_all()


def waiting_for_a_row(service: str) -> bool:
    with connections[service].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0] == 1


# —— A database that restarts ————————————————————————————————————————————————————————————————————————————————————————
def restart(service: str) -> int:
    """End all connections to a service's database, and take none for a tenth of a second; how many there were."""
    name = connections[service].settings_dict["NAME"]
    with connections["accounts"]._nodb_cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        cursor.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s", [name])
        (ended,) = cursor.fetchone()
    threading.Timer(0.1, come_back, [name]).start()
    return ended


def come_back(name: str) -> None:
    with connections["accounts"]._nodb_cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_a_database_that_restarts_in_the_middle_of_each_step(shop: Shop, settings: Any):
    settings.HANDOVER_AFTER = settings.DELIVERED_AFTER = 0
    bus, lost = Bus(SAGA_TIMERS), {}

    def restart_once(point: str) -> None:
        if point == "step.written" and (step := bus.log[-1][0]) not in lost:
            lost[step] = restart(step.partition(".")[0])

    with publishing_to(bus), calling(restart_once), stamina.set_testing(True, attempts=100_000):
        orders = [shop.place(), shop.place(payment_token="tok_declined"), shop.place(), shop.place()]
        request_cancellation(orders[2])
        orders.append(shop.place(payment_token="tok_action"))  # nobody comes to the page
        orders += [shop.place(2), shop.place(2)]
        seed_stock({shop.products[1]: 1}, "EAST")
        in_shipments = shop.place(11, product=1, address="addr_second_refused")
        bus.drain(timers=False)
        settings.PAYMENT_CAPTURE = AT_HAND_OVER
        orders.append(shop.place())
        request_change(orders[5], key="in time", quantities={shop.products[0]: 1})
        bus.drain(timers=False)
        request_cancellation(orders[4])
        request_refund(orders[0], key="a part", amount=1, reason="a scratch")
        bus.tick("delivery.advance_deliveries")
        request_cancellation(orders[3])  # too late
        request_change(orders[6], key="too late", quantities={shop.products[0]: 1})
        bus.drain()

    assert lost.keys() == ORDER.steps.keys()
    assert all(lost.values()), lost
    ends = ["COMPLETED", "CANCELLED", "CANCELLED", "COMPLETED", "CANCELLED", *["COMPLETED"] * 3]
    assert [outcome(pk)[0] for pk in [*orders, in_shipments]] == [*ends, "COMPLETED"]
    assert [service for service in local_services() if apps.get_model(service, "DeadLetter").objects.exists()] == []
    assert violations() == []


# —— Poison ———————————————————————————————————————————————————————————————————————————————————————————————————————————
def test_a_message_that_kills_whoever_takes_it_is_set_aside_alone(shop: Shop, queues: Queues, fork: Forks):
    poisoned = shop.place()
    relay_everything()
    others = [shop.place(), shop.place()]
    relay_everything()

    for _ in range(DELIVERY_LIMIT + 1):
        assert fork(inventory_worker, CRASH_POINTS="1", CRASH_AT="step.received").ends() == EXIT_CODE
    eventually(lambda: queues.waiting("inventory.dead") == 1)
    fork(worker)
    assert shop.ends(*others, meanwhile=shop.relay_and_carry, audited=False) == [("COMPLETED", "")] * 2

    assert outcome(poisoned) == ("PENDING", "")
    assert dead_letter_queue.drain("inventory") == 1
    letter = DeadLetter.objects.get()
    assert (letter.correlation_id, letter.step) == (poisoned, "inventory.reserve_stock")
    assert "delivery_limit" in letter.error
    dead_letters.replay(letter)
    assert shop.ends(poisoned, meanwhile=shop.relay_and_carry) == [("COMPLETED", "")]

    before = history(poisoned), booked(), stock_of(shop.products[0]), told()
    handled = apps.get_model("inventory.Inbox").objects.get(event_id=letter.event_id)
    dead_letters.replay(letter)  # once more
    eventually(lambda: queues.waiting("inventory") == 0)
    assert shop.ends(poisoned, *others, meanwhile=shop.relay_and_carry) == [("COMPLETED", "")] * 3
    assert (history(poisoned), booked(), stock_of(shop.products[0]), told()) == before
    assert apps.get_model("inventory.Inbox").objects.get(pk=handled.pk).handled_at == handled.handled_at
    assert Order.objects.count() == 3
