"""The admin's home page: what today is like, as far as somebody may know, and whatever is away."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.services import make_groups
from catalog.services import seed_products
from console import state as states
from inventory.services import seed_stock
from notifications.webhooks.models import Webhook
from orders.models import Order
from orders.returns.requests import Wanted, request_return
from sagas.testing import Bus
from shop.contracts.events import Line
from tests.conftest import SERVICES
from tests.support.ordering import place_order

pytestmark = pytest.mark.django_db(databases=SERVICES)


@pytest.fixture(autouse=True)
def _asked_anew() -> None:
    states._known = None


def placed(number: int = 1, *, ago: float = 0, **fields: Any) -> None:
    at = timezone.now() - timedelta(seconds=ago)
    for _ in range(number):
        Order.objects.create(user_id=1, total_price=1000, payment_gateway="TOSS_PAYMENTS", created_at=at, **fields)


def home(*, group: str = "") -> dict[str, Any]:
    """{title: tile} for the boss, or for somebody of a group."""
    user = User.objects.create(
        email=f"{group or 'boss'}@example.com", name="Somebody", is_staff=True, is_superuser=not group
    )
    if group:
        make_groups()
        user.groups.set(Group.objects.filter(name=group))
    client = Client()
    client.force_login(user)
    answer = client.get("/admin/")
    assert not re.search(r"<svg[^>]* style=|<script>", answer.content.decode())
    return {tile.title: tile for tile in answer.context["tiles"]}


def test_orders_a_minute_of_the_last_hour(bus: Any):
    placed(2, ago=90)
    placed(4, ago=330)
    placed(9, ago=7200)
    tile = home()["Orders a minute"]
    assert tile.figure == "2"
    assert tile.bars == [(58, 10), (54, 20)]
    assert tile.said == "The last hour; at most 4 a minute."


def test_what_has_become_of_todays_orders(bus: Any):
    placed(3, status="COMPLETED")
    placed(status="PENDING")
    placed(status="CANCELLED", cancellation_reason="I002: insufficient stock of product 7")
    placed(status="CANCELLED", cancellation_reason="I002: no stock of product 8")
    placed(status="CANCELLING", cancellation_reason="cancelled by the customer")
    placed(5, ago=25 * 3600, status="COMPLETED")
    tiles = home()
    assert {title: tiles[title].figure for title in ("Orders today", "Paid today", "Cancelled today")} == {
        "Orders today": "7", "Paid today": "3", "Cancelled today": "3",
    }  # fmt: skip
    assert tiles["Cancelled today"].parts == [("not enough in stock", 2), ("cancelled by the customer", 1)]


def test_a_day_begins_at_midnight_in_the_shops_zone(bus: Any, settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.TIME_ZONE = "Asia/Seoul"
    noon = datetime(2026, 11, 28, 3, tzinfo=UTC)  # 12:00 in Seoul
    monkeypatch.setattr("django.utils.timezone.now", lambda: noon)
    for hour, day in ((14, 27), (16, 27), (1, 28)):  # 23:00 of the day before, 01:00 and 10:00 in Seoul
        at = datetime(2026, 11, day, hour, tzinfo=UTC)
        Order.objects.create(user_id=1, total_price=1, payment_gateway="TOSS_PAYMENTS", created_at=at)
    assert home()["Orders today"].figure == "2"


def test_what_is_low_stalled_and_dead(bus: Any, settings: Any):
    seed_products([{"id": 1, "name": "Book", "price": 10}, {"id": 2, "name": "Old book", "price": 10, "active": False}])
    seed_stock({1: 3, 2: 3})
    placed(2, ago=600, progress_at=timezone.now() - timedelta(minutes=10), look_at=timezone.now())
    placed(3, ago=600, progress_at=timezone.now() - timedelta(minutes=10), look_at=timezone.now(), status="UNPAID")
    tiles = home()
    assert [(tiles[title].figure, tiles[title].bad) for title in ("Low stock", "Stalled orders", "Dead letters")] == [
        ("1", True), ("2", True), ("0", False),
    ]  # fmt: skip


def test_what_is_unpaid_leads_to_those_orders(bus: Any):
    placed(capture="FAILED", status="CANCELLED")
    assert "Unpaid" not in home()
    placed(2, capture="FAILED", status="UNPAID")
    placed(capture="FAILED", status="SHIPPED")
    tile = home(group="payment clerks")["Unpaid"]
    assert (tile.figure, tile.bad, tile.link) == ("3", True, "/admin/orders/order/?progress=unpaid")


def test_a_service_that_is_away_takes_only_its_own(bus: Any, monkeypatch: pytest.MonkeyPatch):
    def away(*_: Any) -> Any:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr("console.today.query", away)
    tiles = home()
    assert [title for title, tile in tiles.items() if not tile.figure] == [
        "Orders a minute", "Orders today", "Paid today", "Cancelled today",
    ]  # fmt: skip
    assert tiles["Low stock"].figure == "0"


def test_what_waits_for_staff_is_shown_when_there_is_any(bus: Bus, no_waiting: None):
    seed_stock({7: 10})
    order = place_order(user_id=1, lines=[Line(7, 2)])
    bus.drain()
    Webhook.objects.create(owner_id=1, url="https://example.com", events=[], secret="x", enabled=False)
    assert not {"Returns to decide", "Dead webhooks"} & home().keys()
    request_return(order.pk, Wanted(lines=[Line(7, 1)]))
    Webhook.objects.update(disabled_reason="nobody answers")
    tiles = home(group="operators")
    for title, link in (
        ("Returns to decide", "/admin/orders/return/?waits=staff"),
        ("Dead webhooks", "/admin/notifications/webhook/?state=dead"),
    ):
        assert (tiles[title].figure, tiles[title].link) == ("1", link)


def test_what_staff_use_most_is_listed_first_and_what_goes_on_inside_last(bus: Bus):
    user = User.objects.create(email="boss@example.com", name="Boss", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    answer = client.get("/admin/")
    names = [app["name"] for app in answer.context["app_list"]]
    assert (names[:3], names[-1]) == (["Orders", "Catalog", "Inventory"], "What goes on inside")
    inside = [model["name"] for model in answer.context["app_list"][-1]["models"]]
    assert (inside[0], inside[-1]) == ("Dead letters: Accounts", "Staff actions: Payments")
    assert 'role="search" action="/admin/orders/order/"' in answer.content.decode()


@pytest.mark.parametrize(
    ("group", "seen"),
    [
        ("stock clerks", {"Low stock"}),
        ("order clerks", {"Orders a minute", "Orders today", "Paid today", "Cancelled today", "Low stock"}),
        ("nobody", set()),
    ],
)
def test_everybody_sees_what_is_theirs(bus: Any, group: str, seen: set[str]):
    assert home(group=group).keys() == seen
