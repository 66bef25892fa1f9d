"""Customers who pay on a page, in Chromium: the sandbox's page and a provider's, and back in the shop."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from inventory.models import StockItem
from lab.providers.books import CAPTURE
from lab.providers.toss import Toss
from payments import gateways
from shop.contracts.events import Line
from shop.contracts.payments import STAND_IN_OPTIONS, Configured
from tests.acceptance.pages.conftest import order
from tests.conftest import SERVICES
from tests.support.chromium import PHONE, fits, flaws
from tests.support.ordering import place_order

pytestmark = [pytest.mark.browser, pytest.mark.django_db(databases=SERVICES, transaction=True)]


@pytest.fixture(autouse=True)
def _own_address(shop: Any, settings: Any) -> None:
    settings.PUBLIC_URL = shop.url


@pytest.fixture
def toss(shop: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toss]:
    """The stand-in of Toss Payments, as the shop's only gateway."""
    with Toss() as stand_in:
        settings.PAYMENT_GATEWAYS = {"TOSS": Configured("toss", STAND_IN_OPTIONS["toss"] | {"url": stand_in.url})}
        monkeypatch.setattr(gateways, "_made", {})
        yield stand_in
        gateways.gateway("TOSS").provider.close()  # type: ignore[attr-defined]


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)
    assert fits(page)
    assert flaws(page) == []


def reserve_and_wait(shop: Any, page: Page) -> None:
    """Place an order that waits for its customer; the console shows it."""
    order(page, shop.url, "The customer pays on a page")
    shop.drain()
    expect(page.locator(".holdups")).to_contain_text("Waits for the customer to pay with TOSS_PAYMENTS, until")


def order_at(toss: Toss, shop: Any, page: Page) -> int:
    """Place an order that is paid at Toss, and go to its page there by the console's link."""
    order_id = place_order(user_id=2, lines=[Line(7, 1)], payment_gateway="TOSS", payment_token="").pk
    shop.drain()
    page.goto(f"{shop.url}/console/orders/{order_id}")
    page.get_by_role("link", name="payment page").click()
    assert page.url.startswith(toss.url)
    return order_id


def test_paid_on_the_sandboxs_page_and_back_again(shop: Any, page: Page):
    reserve_and_wait(shop, page)
    number, saga = page.url.rpartition("/")[2], page.url
    page.get_by_role("link", name="payment page").click()
    heading(page, f"Sandbox: pay for order {number}?")
    page.get_by_role("button", name="Pay").click()
    heading(page, f"Order {number} is paid")
    page.go_back()
    heading(page, f"Order {number} is paid")  # it cannot be paid twice
    shop.drain()
    page.goto(saga)
    expect(page.get_by_role("status")).to_have_text("Completed – The saga has ended.")


def test_given_up_on_a_phone_in_korean(shop: Any, page: Page, browser: Browser):
    reserve_and_wait(shop, page)
    number, url = page.url.rpartition("/")[2], page.get_by_role("link", name="payment page").get_attribute("href")
    context = browser.new_context(viewport=PHONE, locale="ko-KR")
    phone = context.new_page()
    phone.goto(url or "")
    heading(phone, f"샌드박스: 주문 {number}을 결제할까요?")
    phone.get_by_role("button", name="취소").click()
    heading(phone, f"주문 {number}이 결제되지 않았습니다")
    phone.reload()
    heading(phone, f"주문 {number}이 결제되지 않았습니다")
    context.close()
    shop.drain()
    expect(page.get_by_role("status")).to_have_text("Cancelled – The saga has ended.")
    assert StockItem.objects.get(pk=7).reserved == 0


def test_paid_at_the_provider_once_whatever_the_customer_does(shop: Any, page: Page, toss: Toss):
    order_id = order_at(toss, shop, page)
    page.get_by_role("button", name="Pay").click()
    heading(page, f"Order {order_id} is paid")
    page.goto(f"{toss.url}/pay/{toss.books.all('payment')[0]['paymentKey']}")
    expect(page.get_by_role("button")).to_have_count(0)
    page.go_back()
    heading(page, f"Order {order_id} is paid")
    shop.drain()
    page.goto(f"{shop.url}/console/orders/{order_id}")
    expect(page.get_by_role("status")).to_have_text("Completed – The saga has ended.")
    assert [(one.kind, one.amount) for one in toss.books.entries()] == [(CAPTURE, 7000)]


def test_cancelled_at_the_provider(shop: Any, page: Page, toss: Toss):
    order_id = order_at(toss, shop, page)
    page.get_by_role("button", name="Cancel").click()
    heading(page, f"Order {order_id} was not paid")
    shop.drain()
    page.goto(f"{shop.url}/console/orders/{order_id}")
    expect(page.get_by_role("status")).to_have_text("Cancelled – The saga has ended.")
    assert toss.books.entries() == []
