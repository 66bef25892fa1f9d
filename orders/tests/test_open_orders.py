"""The timer that sees to orders which stand still."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from orders.models import Order, Outbox, Unsent
from orders.open_orders import BUSY, LONGEST_PAUSE, cancel_overdue, look_after
from orders.services import advance
from sagas.testing import Bus, publishing_to
from shop.calls import substituting
from shop.contracts.catalog import CatalogService
from shop.contracts.events import InventoryReserved, Line
from tests.support.fakes import FakeCatalog
from tests.support.ordering import place_order
from tests.support.sagas import SAGA_TIMERS

pytestmark = pytest.mark.django_db(databases=["orders"], transaction=True)

SECOND = timedelta(seconds=1)


class CrowdedBus(Bus):
    """A broker with so many messages in its longest queue."""

    longest = 0

    def backlog(self) -> int:
        return self.longest


@pytest.fixture(autouse=True)
def bus() -> Iterator[CrowdedBus]:
    with publishing_to(CrowdedBus(SAGA_TIMERS)) as bus, substituting(CatalogService, FakeCatalog()):
        yield bus


def place(*, still_for: float) -> int:
    """An order whose first event is published, that has not moved for so many seconds, and whose time has come."""
    order_id = place_order(user_id=1, lines=[Line(1, 1)]).pk
    now = timezone.now()
    Order.objects.filter(pk=order_id).update(progress_at=now - still_for * SECOND, look_at=now)
    Unsent.objects.all().delete()
    return order_id


def emitted_again() -> list[int]:
    return list(Unsent.objects.values_list("outbox__correlation_id", flat=True))


def half_minutes_to_the_next_look(since: datetime) -> int:
    (look_at,) = Order.objects.values_list("look_at", flat=True)
    assert look_at is not None
    return (look_at - since) // (30 * SECOND)


def test_one_that_stands_still_is_emitted_again_with_growing_pauses():
    order_id, pauses = place(still_for=31), []
    for _ in range(7):
        now = timezone.now()
        assert look_after() == 1
        assert emitted_again() == [order_id]
        pauses.append(half_minutes_to_the_next_look(since=now))
        Unsent.objects.all().delete()
        assert look_after() == 0  # its time has not come
        Order.objects.update(look_at=timezone.now())
    assert pauses == [2, 4, 8, 16, 20, 20, 20]


def test_one_that_moves_is_left_alone_and_looked_at_when_it_could_be_standing_still():
    place(still_for=12)

    assert look_after() == 1

    assert emitted_again() == []
    order = Order.objects.get()
    assert order.look_at == order.progress_at + 30 * SECOND


def test_one_that_has_moved_on_is_soon_looked_at_again():
    order_id = place(still_for=31)
    look_after()
    Order.objects.update(looks=5, look_at=timezone.now() + 600 * SECOND)

    now = timezone.now()
    event = InventoryReserved(order_id=order_id, checkout=Outbox.objects.get().payload["checkout"])
    advance([event], to=Order.Status.INVENTORY_RESERVED)

    assert (Order.objects.get().looks, half_minutes_to_the_next_look(since=now)) == (0, 1)


def test_in_a_backlog_none_stands_still_it_only_waits_its_turn(bus: CrowdedBus):
    order_id = place(still_for=100)
    bus.longest = BUSY + 1
    assert look_after() == 0
    assert emitted_again() == []

    bus.longest = BUSY
    assert look_after() == 1
    assert emitted_again() == [order_id]


def test_a_backlog_that_does_not_end_is_not_waited_for(bus: CrowdedBus):
    order_id = place(still_for=1000)
    bus.longest = BUSY + 1
    Order.objects.update(look_at=timezone.now() - (LONGEST_PAUSE - 60) * SECOND)
    assert look_after() == 0

    Order.objects.update(look_at=timezone.now() - LONGEST_PAUSE * SECOND)
    assert look_after() == 1
    assert emitted_again() == [order_id]


@pytest.mark.parametrize(
    ("status", "moved", "overdue"),
    [
        ("INVENTORY_RESERVED", 2, False),  # it waits for its customer
        ("PAYMENT_COMPLETED", 2, True),  # who has paid, long before the time was over
        ("PAYMENT_AUTHORIZED", 2, True),
        ("PAYMENT_COMPLETED", 0.5, False),  # who has just paid
        ("DELIVERY_STARTED", 2, False),
    ],
)
def test_the_deadline_does_not_count_the_time_in_which_a_customer_is_waited_for(
    status: str, moved: float, overdue: bool, settings: Any
):
    place(still_for=0)
    now, deadline = timezone.now(), settings.ORDER_DEADLINE * SECOND
    waited = {"created_at": now - 3 * deadline, "action_until": now + timedelta(days=3)}
    Order.objects.update(status=status, progress_at=now - moved * deadline, **waited)

    assert cancel_overdue() == overdue


@pytest.mark.parametrize(("since_until", "overdue"), [(0.5, False), (2, True)])
def test_an_order_that_has_waited_in_vain_is_cancelled_a_deadline_later(
    since_until: float, overdue: bool, settings: Any
):
    place(still_for=0)
    now, deadline = timezone.now(), settings.ORDER_DEADLINE * SECOND
    Order.objects.update(created_at=now - 3 * deadline, action_until=now - since_until * deadline)

    assert cancel_overdue() == overdue


def test_two_timers_never_wait_for_each_other():
    first, second = place(still_for=31), place(still_for=31)
    with transaction.atomic(using="orders"):
        Order.objects.select_for_update().get(pk=first)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(_in_a_thread).result(timeout=20) == 1
    assert emitted_again() == [second]


def _in_a_thread() -> int:
    try:
        return look_after()
    finally:
        connections.close_all()
