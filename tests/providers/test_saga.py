"""Orders that are paid at the providers' stand-ins: from the API by the provider's page to the provider's own books."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from django.apps import apps
from django.db import connections
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from audit import Violation, audit
from inventory.models import StockItem
from inventory.services import seed_stock
from lab.providers.books import AUTHORIZE, CAPTURE, REFUND
from lab.providers.server import FAIL_BEFORE, LOSE_ANSWER, LOSE_REQUEST, OTHER_AMOUNT, StandIn
from orders.models import Order
from payments import gateways
from payments.gateways import Declined, Return
from payments.models import Payment
from payments.settling import come_back, settle_due
from sagas.registry import local_services
from sagas.testing import Bus, Crash, calling
from shop.contracts.payments import STAND_IN_OPTIONS, Configured
from tests.conftest import SERVICES
from tests.providers.accounts import ACCOUNTS, FAST, Account, declined
from tests.support.fakes import Caller
from tests.support.ordering import ADDRESS
from tests.support.sagas import crash_at

pytestmark = pytest.mark.django_db(databases=SERVICES)

PRICE = 2000  # two pieces of the fake catalogue's
PIECES = 10


@dataclass
class Shop:
    """A shop whose customers pay at one provider."""

    provider: str
    account: Account
    bus: Bus
    due_now: Any
    customer: APIClient
    staff: APIClient

    @property
    def stand_in(self) -> StandIn:
        return self.account.stand_in

    def place(self) -> int:
        """Place an order without a token; its number, once it waits for its customer."""
        wanted = {"productId": 1, "quantity": 2, "address": ADDRESS, "paymentGateway": self.provider.upper()}
        placed = self.customer.post("/api/v1/orders", wanted, format="json")
        assert placed.status_code == 202, placed.json()
        self.bus.drain()
        return placed.json()["id"]

    def order(self, order_id: int) -> Any:
        return self.customer.get(f"/api/v1/orders/{order_id}").json()

    def page(self, order_id: int) -> str:
        """Where the API sends the customer."""
        action = self.order(order_id)["nextAction"]
        assert action["url"].startswith(f"{self.stand_in.url}/")
        assert timezone.now().isoformat() < action["until"]
        return action["url"]

    def click(self, order_id: int, button: str = "pay") -> str:
        """Press a button on the provider's page; the address to which it sends the customer."""
        url = self.page(order_id)
        assert f'value="{button}"' in httpx.get(url).text
        sent = httpx.post(url, data={"action": button})
        assert sent.status_code == 303, sent.text
        return sent.headers["Location"]

    def come_back(self, address: str) -> str:
        """Follow the provider's redirect; what the customer then reads."""
        parts = urlsplit(address)
        shown = Client().get(f"{parts.path}?{parts.query}" if parts.query else parts.path, follow=True)
        assert shown.status_code == 200
        return shown.content.decode()

    def go_on(self, times: int = 1) -> None:
        """Let everybody work until nothing is left, and pauses pass as many times."""
        for _ in range(times):
            self.due_now()
            self.bus.drain()

    def notify(self) -> None:
        """Send what the provider tells by itself."""
        for headers, body in self.stand_in.notifications:
            url = f"/api/v1/payments/notifications/{self.provider.upper()}"
            told = Client().post(url, body, content_type="application/json", headers=headers)
            assert told.status_code == 202, told.content

    def booked(self) -> list[tuple[str, int]]:
        """What the provider's books say, without what Stripe notes of money that is held."""
        return [(one.kind, one.amount) for one in self.stand_in.books.entries() if one.kind != AUTHORIZE]

    def set_up_anew(self, *, next_order: int) -> None:
        """Begin with empty databases and the same account at the provider; the next order has this number."""
        for service in local_services():
            for model in reversed([*apps.get_app_config(service).get_models()]):  # those that refer to others first
                model.objects.all().delete()
        with connections["orders"].cursor() as cursor:
            cursor.execute("SELECT setval(pg_get_serial_sequence('orders_order', 'id'), %s, false)", [next_order])
        seed_stock({1: PIECES})

    def assert_unsold(self, order_id: int) -> None:
        """The order is cancelled, and its pieces are on the shelf."""
        assert self.order(order_id)["status"] == "CANCELLED"
        assert self.order(order_id)["nextAction"] is None
        stock = StockItem.objects.get(product_id=1)
        assert (stock.on_hand, stock.reserved) == (PIECES, 0)


@pytest.fixture(params=sorted(ACCOUNTS))
def shop(
    request: Any, bus: Bus, no_waiting: None, due_now: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    name = request.param
    with ACCOUNTS[name]() as account:
        settings.PAYMENT_GATEWAYS = {
            name.upper(): Configured(name, {**STAND_IN_OPTIONS[name], "url": account.stand_in.url, **FAST})
        }
        monkeypatch.setattr(gateways, "_made", {name.upper(): account.gateway})
        seed_stock({1: PIECES})
        customer, staff = APIClient(), APIClient()
        customer.force_authenticate(Caller(1))  # type: ignore[arg-type]
        staff.force_authenticate(Caller(2, staff=True))  # type: ignore[arg-type]
        yield Shop(name, account, bus, due_now, customer, staff)
        assert [found for found in audit() if isinstance(found, Violation)] == []


def test_paid_on_the_providers_page(shop: Shop):
    order_id = shop.place()
    assert "is paid" in shop.come_back(shop.click(order_id))
    shop.bus.drain()
    assert shop.order(order_id)["status"] == "COMPLETED"
    assert shop.order(order_id)["nextAction"] is None
    assert shop.booked() == [(CAPTURE, PRICE)]


def test_another_shops_payment_for_an_order_with_the_same_number_is_not_taken_for_ours(shop: Shop):
    order_id = shop.place()
    shop.come_back(shop.click(order_id))
    shop.bus.drain()
    shop.set_up_anew(next_order=order_id)
    assert shop.place() == order_id
    shop.go_on()
    assert shop.order(order_id)["status"] == "INVENTORY_RESERVED"
    assert "is paid" in shop.come_back(shop.click(order_id))
    shop.bus.drain()
    assert shop.order(order_id)["status"] == "COMPLETED"
    assert shop.booked() == [(CAPTURE, PRICE)] * 2


def test_the_order_is_told_once_that_it_waits(shop: Shop):
    order_id = shop.place()
    until = shop.order(order_id)["nextAction"]["until"]
    shop.go_on(3)
    assert shop.order(order_id)["nextAction"]["until"] == until
    told = [step for step, events in shop.bus.log if "PaymentActionRequired" in events]
    assert len(told) == len(set(told)) > 0


def test_cancelled_on_the_providers_page(shop: Shop):
    order_id = shop.place()
    shown = shop.come_back(shop.click(order_id, "cancel"))
    shop.bus.drain()
    if shop.account.reopens:
        assert "waits for your payment" in shown
        assert "is paid" in shop.come_back(shop.click(order_id))
        return
    assert "was not paid" in shown
    shop.assert_unsold(order_id)
    assert shop.booked() == []


def test_a_card_that_is_declined_on_the_providers_page_is_followed_by_another(shop: Shop):
    order_id = shop.place()
    if not shop.account.reopens:
        return  # who is declined there is sent back to us
    declined(shop.page(order_id))
    shop.notify()
    shop.go_on(2)
    assert "is paid" in shop.come_back(shop.click(order_id))
    shop.bus.drain()
    assert shop.order(order_id)["status"] == "COMPLETED"
    assert shop.booked() == [(CAPTURE, PRICE)]


def test_who_was_declined_and_cancels_cannot_pay_any_more(shop: Shop):
    order_id = shop.place()
    if not shop.account.reopens:
        return
    url = shop.page(order_id)
    declined(url)
    assert shop.customer.post(f"/api/v1/orders/{order_id}/cancel").status_code == 202
    shop.go_on(12)
    httpx.post(url, data={"action": "pay"})
    shop.assert_unsold(order_id)
    assert shop.booked() == []


@pytest.mark.parametrize("found_by", ["notification", "customer"])
def test_money_that_comes_for_an_order_that_was_given_up_is_given_back(
    shop: Shop, found_by: str, monkeypatch: pytest.MonkeyPatch
):
    order_id = shop.place()
    if not shop.account.reopens:
        return  # nothing is taken there before we approve it
    back = shop.click(order_id)
    with monkeypatch.context() as mistaken:
        mistaken.setattr(
            shop.account.gateway, "confirm", lambda returns: [Declined("PAY002: by mistake")] * len(returns)
        )
        shop.go_on()
    shop.assert_unsold(order_id)
    shop.notify() if found_by == "notification" else shop.come_back(back)
    shop.go_on(3)
    shop.assert_unsold(order_id)
    assert shop.booked() == [(CAPTURE, PRICE), (REFUND, PRICE)]


@pytest.mark.parametrize("found_by", ["notification", "timer"])
def test_the_window_is_closed_after_paying(shop: Shop, found_by: str):
    order_id = shop.place()
    shop.click(order_id)
    if found_by == "notification":
        shop.notify()
        shop.bus.drain()
    else:
        shop.go_on()
    if shop.account.needs_return:
        assert shop.order(order_id)["nextAction"]
        assert shop.booked() == []
    else:
        assert shop.order(order_id)["status"] == "COMPLETED"
        assert shop.booked() == [(CAPTURE, PRICE)]


def test_who_comes_back_twice_has_paid_once(shop: Shop):
    order_id = shop.place()
    page, back = shop.page(order_id), shop.click(order_id)
    for _ in range(2):
        assert "is paid" in shop.come_back(back)
        shop.bus.drain()
    assert shop.order(order_id)["status"] == "COMPLETED"
    again = httpx.post(page, data={"action": "pay"})  # the back button
    assert "is paid" in shop.come_back(again.headers["Location"])
    shop.go_on()
    assert shop.booked() == [(CAPTURE, PRICE)]


@pytest.mark.parametrize("fault", [LOSE_REQUEST, LOSE_ANSWER, FAIL_BEFORE])
def test_what_is_lost_when_they_come_back_is_asked_again(shop: Shop, fault: str):
    order_id = shop.place()
    shop.stand_in.faults.plan("confirm", fault)
    shown = shop.come_back(shop.click(order_id))
    assert "is being looked after" in shown or "is paid" in shown
    shop.go_on(3)
    assert shop.order(order_id)["status"] == "COMPLETED"
    assert shop.booked() == [(CAPTURE, PRICE)]


def test_an_answer_about_another_amount_pays_for_nothing(shop: Shop):
    order_id = shop.place()
    back = shop.click(order_id)
    for operation in ("confirm", "find"):
        shop.stand_in.faults.plan(operation, OTHER_AMOUNT, OTHER_AMOUNT)
    assert "is paid" not in shop.come_back(back)
    assert shop.order(order_id)["status"] != "COMPLETED"
    shop.stand_in.faults.planned.clear()
    shop.go_on(3)
    assert shop.order(order_id)["status"] == "COMPLETED"
    assert shop.booked() == [(CAPTURE, PRICE)]


def test_who_never_pays_is_waited_for_until_the_time_is_over(shop: Shop):
    order_id = shop.place()
    url = shop.page(order_id)
    past = timezone.now() - timedelta(hours=1)
    Payment.objects.update(created_at=past, action_until=past)
    shop.go_on(2)
    shop.assert_unsold(order_id)
    late = httpx.post(url, data={"action": "pay"})
    assert "was not paid" in shop.come_back(late.headers["Location"])
    shop.go_on(2)
    assert shop.booked() == []


def test_cancelled_while_it_waits(shop: Shop):
    order_id = shop.place()
    back = shop.click(order_id)
    assert shop.customer.post(f"/api/v1/orders/{order_id}/cancel").status_code == 202
    shop.bus.drain()
    shop.come_back(back)
    shop.go_on(12)
    shop.assert_unsold(order_id)
    assert shop.booked() in ([], [(CAPTURE, PRICE), (REFUND, PRICE)])


def test_who_comes_back_while_the_wait_is_being_ended_does_not_pay_for_nothing(shop: Shop):
    """The timer has begun to end it when the customer comes back, and their approval arrives when it has ended it."""
    order_id = shop.place()
    brought = dict(parse_qsl(urlsplit(shop.click(order_id)).query)) or {"came": "back"}
    past = timezone.now() - timedelta(hours=1)
    Payment.objects.update(created_at=past, action_until=past, due_at=past)

    def meanwhile(boundary: str) -> None:
        if boundary == "settle.claim_committed":
            with suppress(Crash), calling(crash_at("gateway.asking")):
                come_back(order_id, brought)

    with calling(meanwhile):
        settle_due()
    payment = Payment.objects.get()
    shop.account.gateway.confirm(
        [
            Return(
                payment.idempotency_key, payment.idempotency_key, payment.reference, PRICE, "KRW", capture=True,
                parameters=brought,
            )
        ]
    )  # fmt: skip
    shop.go_on(8)
    assert shop.order(order_id)["status"] == "COMPLETED"
    assert shop.booked() == [(CAPTURE, PRICE)]


def test_who_comes_back_when_the_wait_has_been_ended_is_not_charged(shop: Shop):
    order_id = shop.place()
    back = shop.click(order_id)
    if not shop.account.needs_return:
        return  # it was paid on the page, and is kept
    past = timezone.now() - timedelta(hours=1)
    Payment.objects.update(created_at=past, action_until=past, due_at=past)
    with calling(lambda boundary: boundary == "settle.operation_committed" and shop.come_back(back)):
        settle_due()
    shop.go_on(3)
    shop.assert_unsold(order_id)
    assert shop.booked() == []


@pytest.mark.parametrize("fault", ["", LOSE_ANSWER, FAIL_BEFORE])
def test_staff_give_a_part_back_and_the_rest_by_cancelling(shop: Shop, settings: Any, fault: str):
    settings.HANDOVER_AFTER = 3600
    order_id = shop.place()
    shop.come_back(shop.click(order_id))
    shop.bus.drain()
    shop.stand_in.faults.plan("refund", *[fault] * bool(fault))
    for _ in range(2):  # the request is repeated
        asked = shop.staff.post(
            f"/api/v1/orders/{order_id}/refunds", {"amount": 500, "reason": "scratched"}, format="json",
            headers={"Idempotency-Key": "scratch"},
        )  # fmt: skip
        assert asked.status_code == 202, asked.json()
    shop.go_on(3)
    assert shop.booked() == [(CAPTURE, PRICE), (REFUND, 500)]
    shop.stand_in.faults.plan("refund", *[fault] * bool(fault))
    assert shop.customer.post(f"/api/v1/orders/{order_id}/cancel").status_code == 202
    shop.go_on(3)
    shop.assert_unsold(order_id)
    assert shop.booked() == [(CAPTURE, PRICE), (REFUND, 500), (REFUND, PRICE - 500)]
    assert Order.objects.get().refunds.get().status == "COMPLETED"
