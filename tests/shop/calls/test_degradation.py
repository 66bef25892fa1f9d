"""When something is away the rest goes on, as far as is defined, and afterwards everything is as it should be."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import amqp.exceptions
import kombu.exceptions
import pytest
from celery import current_app
from celery.exceptions import Reject
from django.apps import apps
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from audit import Violation, audit
from inventory.models import DeadLetter, Reservation, StockItem
from inventory.services import seed_stock
from notifications.models import Notification
from orders.cancellation import request_cancellation
from orders.models import Order, Unsent
from orders.open_orders import look_after
from payments.models import GatewayLedger, Payment, SandboxSwitch
from sagas import Unavailable
from sagas.execution import run_timer
from sagas.outages import OUTAGES
from sagas.publisher import Broker
from sagas.registry import TIMERS, local_services
from sagas.relay import publish_deferred, publish_outbox
from sagas.testing import Bus, publishing_to
from shop import locks
from shop.calls import substituting
from shop.contracts.accounts import AccountsService
from shop.contracts.catalog import CatalogService
from shop.contracts.events import Line
from shop.contracts.messages import MessagesService
from shop.contracts.reasons import OVERDUE
from tests.conftest import SERVICES
from tests.support.fakes import FakeAccounts, FakeCatalog
from tests.support.ordering import PAID_AND_SENT, place_order
from tests.support.sagas import SAGA_TIMERS

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting")]


@pytest.fixture(autouse=True)
def stock() -> None:
    seed_stock({1: 10, 2: 10})


@pytest.fixture
def port_of_nobody() -> Iterator[int]:
    """A port where nobody listens, and nobody will as long as the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def place(quantity: int = 2, **wishes: str) -> int:
    return place_order(user_id=1, lines=[Line(1, quantity), Line(2, 1)], **wishes).pk


def status(order_id: int) -> str:
    return Order.objects.get(pk=order_id).status


def stock_of(product_id: int) -> tuple[int, int]:
    item = StockItem.objects.get(product_id=product_id)
    return item.on_hand, item.reserved


def ledger() -> list[tuple[str, int]]:
    return sorted(GatewayLedger.objects.values_list("kind", "amount"))


def violations() -> list[Violation]:
    return [found for found in audit(strict=True) if isinstance(found, Violation)]


def dead_letters() -> list[str]:
    return [
        str(letter) for service in local_services() for letter in apps.get_model(service, "DeadLetter").objects.all()
    ]


# —— Redis ————————————————————————————————————————————————————————————————————————————————————————————————————————————
@pytest.fixture
def redis_away(settings: Any, port_of_nobody: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_ask_again_at", 0.0)  # and as it was, afterwards
    away = {
        name: config | {"LOCATION": f"redis://127.0.0.1:{port_of_nobody}/0", "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 0.5}}
        for name, config in settings.CACHES.items()
    }
    settings.CACHES = away


def worked_without_lock() -> float:
    return locks.WITHOUT_LOCK.labels("redis_away")._value.get()


def test_without_redis_stock_moves_on_row_locks(bus: Bus, redis_away: None):
    before = worked_without_lock()
    fitting, too_many = place(quantity=6), place(quantity=6)
    bus.relay()

    with CaptureQueriesContext(connections["inventory"]) as captured:
        bus.deliver([step for step, _ in bus.messages].index("inventory.reserve_stock"))

    assert worked_without_lock() == before + 1  # once for the batch
    executed = [one["sql"] for one in captured.captured_queries]
    with connections["inventory"].cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE strpos(%s, name) > 0", [" ".join(executed)])
        executed = [statement for (statement,) in cursor.fetchall()]
    assert any("FROM inventory_stockitem" in sql and "FOR UPDATE" in sql for sql in executed)
    assert dict(Reservation.objects.values_list("order_id", "status")) == {fitting: "RESERVED", too_many: "REFUSED"}
    assert (stock_of(1), stock_of(2)) == ((10, 6), (10, 1))


def test_without_redis_nothing_else_notices(bus: Bus, redis_away: None):
    good, declined = place(), place(payment_token="tok_declined")

    bus.drain()

    assert (status(good), status(declined)) == ("COMPLETED", "CANCELLED")
    assert (dead_letters(), violations()) == ([], [])


# —— The broker ———————————————————————————————————————————————————————————————————————————————————————————————————————
@pytest.fixture
def broker_away(settings: Any, monkeypatch: pytest.MonkeyPatch, port_of_nobody: int) -> Iterator[None]:
    settings.SAGAS = replace(settings.SAGAS, confirm_timeout=0.2)
    monkeypatch.setattr(current_app.conf, "broker_write_url", f"amqp://guest:guest@127.0.0.1:{port_of_nobody}//")
    with publishing_to(Broker()):
        yield


def test_without_the_broker_orders_are_taken_and_the_outbox_keeps_them(broker_away: None):
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(SimpleNamespace(id=1, pk=1, is_staff=False, is_authenticated=True))
    with substituting(CatalogService, FakeCatalog()), substituting(AccountsService, FakeAccounts()):
        answer = client.post("/api/v1/orders", {"productId": 1, "quantity": 2, **PAID_AND_SENT}, format="json")
        assert (answer.status_code, answer.json()["status"]) == (202, "PENDING")
        order_id = answer.json()["id"]

        with pytest.raises(OUTAGES):
            publish_outbox("orders")
        run_timer("orders.look_after", TIMERS["orders.look_after"])  # which wants to know the queues' lengths

        assert client.get(f"/api/v1/orders/{order_id}").status_code == 200
        row = Unsent.objects.get()
        assert row.outbox.correlation_id == order_id
        assert row.leased_until < timezone.now()  # any relay may take it

        with publishing_to(Bus(SAGA_TIMERS)) as bus:  # it is back
            bus.drain()
    assert status(order_id) == "COMPLETED"
    assert violations() == []


def test_a_step_that_cannot_publish_hands_its_message_back_with_its_work_done(bus: Bus, broker_away: None):
    order_id = place()
    with publishing_to(bus):
        bus.relay()
    position = [step for step, _ in bus.messages].index("inventory.reserve_stock")

    with pytest.raises(Reject) as rejected:
        bus.deliver(position, keep=True)

    assert rejected.value.requeue
    assert isinstance(rejected.value.reason, kombu.exceptions.OperationalError | amqp.exceptions.AMQPError | OSError)
    assert Reservation.objects.get().status == "RESERVED"
    with publishing_to(bus):
        bus.drain()
    assert status(order_id) == "COMPLETED"
    assert (dead_letters(), violations()) == ([], [])


# —— A payment gateway ————————————————————————————————————————————————————————————————————————————————————————————————
@contextmanager
def gateway_away(name: str = "TOSS_PAYMENTS") -> Iterator[None]:
    SandboxSwitch.objects.update_or_create(gateway=name, defaults={"away": True})
    yield
    SandboxSwitch.objects.filter(gateway=name).update(away=False)


def test_an_order_waits_for_its_gateway_and_others_do_not(bus: Bus, due_now: Callable[[], int]):
    with gateway_away():
        waiting, other = place(), place(payment_gateway="KAKAO_PAY")
        bus.drain()
        for _ in range(3):  # it is asked again and again
            due_now()
            bus.drain()
        assert (status(waiting), status(other)) == ("INVENTORY_RESERVED", "COMPLETED")
        assert Payment.objects.get(order_id=waiting).status == "PENDING"
        assert ledger() == [("CHARGE", 4000)]

    due_now()
    bus.drain()

    assert status(waiting) == "COMPLETED"
    assert (dead_letters(), violations()) == ([], [])


def test_an_order_whose_gateway_stays_away_is_cancelled_at_its_deadline_and_nothing_is_kept(
    bus: Bus, settings: Any, due_now: Callable[[], int]
):
    with gateway_away():
        order_id = place()
        bus.drain()
        settings.ORDER_DEADLINE = -1
        assert bus.tick("orders.cancel_overdue") == 1
        for _ in range(3):
            bus.drain()
            due_now()
        # Whether it has been charged nobody knows, so it is not called cancelled.
        assert (status(order_id), Payment.objects.get().status) == ("CANCELLING", "REFUNDING")
        assert stock_of(1) == (10, 2)

    due_now()
    bus.drain()

    assert (status(order_id), Order.objects.get().cancellation_reason) == ("CANCELLED", OVERDUE)
    assert (ledger(), stock_of(1), Payment.objects.get().status) == ([], (10, 0), "VOIDED")
    assert (dead_letters(), violations()) == ([], [])


def test_a_refund_waits_for_its_gateway(bus: Bus, due_now: Callable[[], int]):
    order_id = place()
    bus.drain(timers=False)
    with gateway_away():
        request_cancellation(order_id)
        bus.drain()
        assert (status(order_id), Payment.objects.get().status) == ("CANCELLING", "REFUNDING")
        assert ledger() == [("CHARGE", 4000)]

    due_now()
    bus.drain()

    assert status(order_id) == "CANCELLED"
    assert ledger() == [("CHARGE", 4000), ("REFUND", 4000)]
    assert violations() == []


# —— One service's database ———————————————————————————————————————————————————————————————————————————————————————————
@contextmanager
def database_away(service: str) -> Iterator[list[str]]:
    """Every statement on a service's database fails within the block; yields those that were tried."""
    tried: list[str] = []

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "SAVEPOINT" in sql:  # the test's own: outside a test there is none
            return execute(sql, params, many, context)
        tried.append(sql)
        raise OperationalError("the database system is shutting down")

    with connections[service].execute_wrapper(refuse):
        yield tried


def play(bus: Bus) -> None:
    """Let everything happen that can; messages whose step waits stay on the bus, as they would in their queue."""
    waiting: list[Any] = []
    while True:
        if bus.messages:
            message = bus.messages[0]
            try:
                bus.deliver()
            except Reject:
                waiting.append(message)
        elif not sum(_in_spite_of_outages(work) for work in _chores()):
            bus.messages.extend(waiting)
            return


RELAYING = (publish_outbox, publish_deferred)


def _chores() -> list[Callable[[], int]]:
    return [
        *(lambda service=service, once=once: once(service) for service in local_services() for once in RELAYING),
        *(TIMERS[one] for one in SAGA_TIMERS),
    ]


def _in_spite_of_outages(work: Callable[[], int]) -> int:
    try:
        return work()
    except OUTAGES:
        return 0


# How far an order comes while a service's database is away, and one that there is not enough in stock for.
REACHED = {
    "inventory": ("PENDING", "PENDING"),
    "payments": ("INVENTORY_RESERVED", "CANCELLED"),
    "delivery": ("PAYMENT_COMPLETED", "CANCELLED"),
    "notifications": ("COMPLETED", "CANCELLED"),
}


@pytest.mark.parametrize("service", REACHED)
def test_while_one_database_is_away_only_its_steps_wait(bus: Bus, service: str):
    with database_away(service) as tried:
        order_id, too_many = place(), place(quantity=11)
        play(bus)
        assert tried
        assert (status(order_id), status(too_many)) == REACHED[service]
        assert {step.partition(".")[0] for step, _ in bus.messages} == {service}

    play(bus)

    assert (status(order_id), status(too_many)) == ("COMPLETED", "CANCELLED")
    assert (dead_letters(), violations()) == ([], [])
    assert Notification.objects.filter(order_id=order_id).count() == 4


def test_while_the_orders_database_is_away_the_others_go_on(bus: Bus):
    order_id = place()
    bus.relay()

    with database_away("orders") as tried:
        play(bus)
        assert tried
        assert ledger() == [("CHARGE", 4000)]
        assert stock_of(1) == (8, 0)
        assert {step.partition(".")[0] for step, _ in bus.messages} == {"orders"}

    assert status(order_id) == "PENDING"
    play(bus)
    assert status(order_id) == "COMPLETED"
    assert (dead_letters(), violations()) == ([], [])


def test_an_outage_makes_no_dead_letter_however_often_a_message_comes_back(bus: Bus):
    place()
    with database_away("inventory") as tried:
        for _ in range(5):
            play(bus)
        assert len(tried) >= 5

    assert DeadLetter.objects.count() == 0
    play(bus)
    assert violations() == []


# —— One service that cannot be asked —————————————————————————————————————————————————————————————————————————————————
# tests/system/test_split.py kills accounts and catalogue for real.
class Away:
    def get_messages(self, *args: Any) -> Any:
        raise Unavailable("payments is away")


def test_while_a_service_cannot_be_asked_no_order_is_closed_and_stalled_ones_go_on(bus: Bus):
    refused = place(quantity=11)
    bus.drain(timers=False)
    stalled = place()
    bus.relay()
    bus.messages.clear()  # the broker has lost them
    assert (status(refused), status(stalled)) == ("CANCELLED", "PENDING")

    with substituting(MessagesService, Away()), pytest.raises(Unavailable):
        look_after()

    assert Order.objects.filter(look_at=None).count() == 0
    assert Unsent.objects.filter(outbox__correlation_id=stalled).count() == 1
    play(bus)
    look_after()
    assert Order.objects.filter(look_at=None).count() == 2
    assert (status(stalled), violations()) == ("COMPLETED", [])
