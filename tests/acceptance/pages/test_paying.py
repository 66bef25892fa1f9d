"""Customers who pay on a page, in Chromium: the sandbox's page and a provider's, and back in the shop."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from inventory.models import StockItem
from lab.providers.books import CAPTURE, REFUND
from lab.providers.run import STAND_INS
from lab.providers.server import StandIn
from orders.cancellation import request_cancellation
from payments import gateways
from shop.contracts.payments import STAND_IN_OPTIONS, Configured
from tests.acceptance.pages.conftest import order
from tests.conftest import SERVICES
from tests.support.chromium import PHONE, fits, flaws, keep

pytestmark = [pytest.mark.browser, pytest.mark.django_db(databases=SERVICES, transaction=True)]

PRICE, PIECES = 7_000, 10  # of the product that `shop` sells


@pytest.fixture(autouse=True)
def _own_address(shop: Any, settings: Any) -> None:
    settings.PUBLIC_URL = shop.url


@pytest.fixture
def provider(request: pytest.FixtureRequest, shop: Any, settings: Any, monkeypatch: Any) -> Iterator[StandIn]:
    """A provider's stand-in, as the shop's only gateway."""
    name = request.param
    with STAND_INS[name]() as stand_in:
        options = STAND_IN_OPTIONS[name] | {"url": stand_in.url}
        settings.PAYMENT_GATEWAYS = {name.upper(): Configured(name, options)}
        settings.DEFAULT_PAYMENT_GATEWAY = name.upper()
        monkeypatch.setattr(gateways, "_made", {})
        yield stand_in
        if name.upper() in gateways._made:
            gateways.gateway(name.upper()).provider.close()  # type: ignore[attr-defined]


at = partial(pytest.mark.parametrize, "provider", indirect=True)


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)
    assert fits(page)
    assert flaws(page) == []


def reserve_and_wait(shop: Any, page: Page) -> None:
    """Place an order that waits for its customer; the console shows it."""
    order(page, shop.url, "The customer pays on a page")
    shop.drain()
    expect(page.locator(".holdups")).to_contain_text("Waits for the customer to pay with TOSS_PAYMENTS, until")


def order_at(provider: StandIn, shop: Any, page: Page, outcome: str = "All goes well") -> str:
    """Place an order on the landing page, and go on to the provider's page by the console's link; its saga's URL."""
    order(page, shop.url, outcome)
    saga = page.url
    shop.drain()
    page.reload()
    page.get_by_role("link", name="payment page").click()
    page.wait_for_url(f"{provider.url}/**")
    assert fits(page)
    keep(page, f"paying-at-{provider.name}")
    return saga


def press(page: Page, button: str, saga: str, becomes: str) -> None:
    """Press a button on the provider's page, which sends the customer back to the shop."""
    page.get_by_role("button", name=button).click()
    heading(page, f"Order {saga.rpartition('/')[2]} {becomes}")


def ends(shop: Any, page: Page, saga: str, status: str) -> None:
    """Let everybody work, and look at the order's saga."""
    shop.drain()
    page.goto(saga)
    expect(page.get_by_role("status")).to_have_text(f"{status} – The saga has ended.")
    stock = StockItem.objects.get(product_id=7)
    assert (stock.on_hand, stock.reserved) == (PIECES - (status == "Completed"), 0)


def booked(provider: StandIn) -> list[tuple[str, int]]:
    """Which way money went at the provider."""
    return [(one.kind, one.amount) for one in provider.books.entries() if one.kind in (CAPTURE, REFUND)]


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
    assert StockItem.objects.get(product_id=7).reserved == 0


# --- The flows of the demo, at a provider each ------------------------------------------------------------------------
@at(argvalues=["kakao"])
def test_paid_and_delivered(shop: Any, page: Page, provider: StandIn):
    saga = order_at(provider, shop, page)
    press(page, "Pay", saga, "is paid")
    ends(shop, page, saga, "Completed")
    assert booked(provider) == [(CAPTURE, PRICE)]


@at(argvalues=["naver"])
def test_declined_on_the_providers_page(shop: Any, page: Page, provider: StandIn):
    saga = order_at(provider, shop, page)
    press(page, "Cancel", saga, "was not paid")
    ends(shop, page, saga, "Cancelled")
    assert booked(provider) == []


@at(argvalues=["stripe"])
def test_out_of_stock_nobody_is_sent_to_the_provider(shop: Any, page: Page, provider: StandIn):
    order(page, shop.url, "Out of stock")
    ends(shop, page, page.url, "Cancelled")
    assert not provider.requests


@at(argvalues=["stripe"])
def test_cancelled_before_hand_over_the_money_is_back(shop: Any, page: Page, provider: StandIn, settings: Any):
    settings.HANDOVER_AFTER = 3600
    saga = order_at(provider, shop, page)
    press(page, "Pay", saga, "is paid")
    shop.drain()
    assert booked(provider) == [(CAPTURE, PRICE)]
    request_cancellation(int(saga.rpartition("/")[2]))
    ends(shop, page, saga, "Cancelled")
    assert booked(provider) == [(CAPTURE, PRICE), (REFUND, PRICE)]


@at(argvalues=["toss"])
def test_refused_at_the_door_and_paid_only_once_whatever_the_customer_does(shop: Any, page: Page, provider: StandIn):
    saga = order_at(provider, shop, page, "The recipient refuses the parcel")
    away = page.url
    press(page, "Pay", saga, "is paid")
    page.goto(away)
    expect(page.get_by_role("button")).to_have_count(0)
    page.go_back()
    heading(page, f"Order {saga.rpartition('/')[2]} is paid")
    ends(shop, page, saga, "Cancelled")
    assert booked(provider) == [(CAPTURE, PRICE), (REFUND, PRICE)]
