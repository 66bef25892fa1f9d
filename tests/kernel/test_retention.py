"""What is old goes, in portions; what is young, or not done, stays."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from notifications.models import Notification
from orders.models import Order
from sagas import purge_messages, retention
from sagas.events import uuid7
from sagas.registry import TIMERS, local_services
from tests.support.locks import in_another_session

pytestmark = pytest.mark.django_db(databases=local_services())

DAY = timedelta(days=1)
SERVICES = local_services()


@pytest.fixture
def old(settings: Any) -> datetime:
    """When what is old was young."""
    settings.SAGAS = replace(settings.SAGAS, retention=timedelta(days=30))
    return timezone.now() - 31 * DAY


@pytest.fixture
def young(old: datetime) -> datetime:
    return old + 2 * DAY


def handled(service: str, at: datetime, count: int = 1) -> None:
    inbox = apps.get_model(service, "Inbox")
    inbox.objects.bulk_create(
        inbox(step=f"{service}.step", event_id=uuid7(), event_type="E", correlation_id=1, handled_at=at)
        for _ in range(count)
    )


def emitted(service: str, at: datetime, *, published: bool) -> None:
    event = apps.get_model(service, "Outbox").objects.create(
        event_id=uuid7(), event_type="E", correlation_id=1, payload={}, created_at=at
    )
    if not published:
        apps.get_model(service, "Unsent").objects.create(outbox=event)


def failed(service: str, at: datetime, *, resolved_at: datetime | None) -> None:
    apps.get_model(service, "DeadLetter").objects.create(
        step=f"{service}.step", event_id=uuid7(), payload="{}", error="?", created_at=at, resolved_at=resolved_at
    )


def left(service: str) -> tuple[int, int, int]:
    """Rows of inbox, outbox and dead letters."""
    inbox, outbox, dead = (apps.get_model(service, name).objects.count() for name in ("Inbox", "Outbox", "DeadLetter"))
    return inbox, outbox, dead


@pytest.mark.parametrize("service", SERVICES)
def test_only_what_is_old_and_done_is_purged(service: str, old: datetime, young: datetime):
    for at in (old, young):
        handled(service, at)
        emitted(service, at, published=True)
        emitted(service, at, published=False)
        failed(service, at, resolved_at=at)
        failed(service, at, resolved_at=None)
    failed(service, old, resolved_at=young)  # it is the end that counts

    assert TIMERS[f"{service}.purge"]() == 3
    assert TIMERS[f"{service}.purge"]() == 0

    assert left(service) == (1, 3, 4)
    assert apps.get_model(service, "Unsent").objects.count() == 2
    assert apps.get_model(service, "DeadLetter").objects.filter(resolved_at=None).count() == 2


def test_it_goes_in_portions_until_nothing_is_left(old: datetime, young: datetime, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retention, "PORTION", 10)
    handled("payments", old, count=25)
    handled("payments", young, count=3)

    assert [purge_messages("payments") for _ in range(4)] == [10, 10, 5, 0]
    assert left("payments")[0] == 3


@pytest.mark.django_db(databases=["payments"], transaction=True)
def test_what_somebody_has_locked_is_left_for_the_next_time(old: datetime):
    """A purge that waited for it could deadlock with whoever locks in another order."""
    handled("payments", old, count=3)
    inbox = apps.get_model("payments", "Inbox").objects
    with ThreadPoolExecutor(1) as pool, transaction.atomic(using="payments"):  # which ends before the pool does
        inbox.select_for_update().get(pk=inbox.order_by("pk")[1].pk)
        assert pool.submit(in_another_session, lambda: purge_messages("payments")).result(timeout=10) == 2
    assert [purge_messages("payments") for _ in range(2)] == [1, 0]


def test_notifications_go_with_their_time_unless_they_wait_to_be_sent(old: datetime, young: datetime):
    for at, status in ((old, "SENT"), (old, "FAILED"), (old, "PENDING"), (young, "SENT")):
        Notification.objects.create(
            event_id=uuid7(), order_id=1, user_id=1, type="SHIPPED", channel="EMAIL", status=status, created_at=at
        )

    assert TIMERS["notifications.purge"]() == 2
    assert sorted(Notification.objects.values_list("status", flat=True)) == ["PENDING", "SENT"]


def test_orders_themselves_stay(old: datetime):
    order = Order.objects.create(
        user_id=1, currency="KRW", total_price=1, payment_gateway="TOSS_PAYMENTS", created_at=old, look_at=None
    )

    TIMERS["orders.purge"]()

    assert Order.objects.get().pk == order.pk


def test_the_command_purges_every_service(old: datetime):
    for service in SERVICES:
        handled(service, old)
    output = StringIO()

    call_command("purge", stdout=output)

    assert output.getvalue().splitlines() == [
        f"{service}: 1 rows that were over, or older than 30 days" for service in SERVICES
    ]
    assert [left(service)[0] for service in SERVICES] == [0] * len(SERVICES)
