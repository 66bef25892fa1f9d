"""The console in Chromium, as a person uses it."""

from typing import Any

import pytest
from django.apps import apps
from django.db import connections
from playwright.sync_api import Page, expect

from console import state as states
from orders.models import Order
from shop import faults
from tests.acceptance.pages.conftest import PASSWORD, order
from tests.conftest import SERVICES
from tests.support.chromium import PHONE, fits

pytestmark = [pytest.mark.browser, pytest.mark.django_db(databases=SERVICES, transaction=True)]


def test_an_order_is_placed_and_followed_to_its_end(shop: Any, page: Page):
    page.goto(shop.url)
    expect(page.get_by_role("status")).to_have_text("Everything answers.")
    expect(page.locator(".service")).to_have_count(len(SERVICES) + 2)
    expect(page.get_by_text("None yet.")).to_be_visible()
    order(page, shop.url, "All goes well")
    expect(page.get_by_role("status")).to_have_text("Pending – The saga is under way.")
    expect(page.locator(".row.waiting")).to_have_count(2)

    shop.relay()
    shop.deliver([step for step, _ in shop.messages].index("inventory.reserve_stock"))  # seen without a reload
    expect(page.locator(".row.handled").get_by_text("reserve_stock")).to_be_visible()
    shop.drain()

    expect(page.get_by_role("status")).to_have_text("Completed – The saga has ended.")
    expect(page.locator(".row")).to_have_count(17)
    expect(page.locator(".row.backward, .row.waiting")).to_have_count(0)
    expect(page.locator("[data-live][data-ended]")).to_be_attached()  # it has stopped asking
    page.get_by_role("link", name="Overview").click()
    expect(page.locator(".latest")).to_contain_text("Completed")


def test_an_order_that_is_compensated_on_a_phone_in_korean(shop: Any, page: Page):
    page.set_viewport_size(PHONE)
    page.goto(shop.url)
    page.get_by_role("link", name="한국어").click()
    expect(page.get_by_role("button", name="주문하기")).to_be_visible()
    assert fits(page)
    page.get_by_label("수령 거부").check()
    page.get_by_role("button", name="주문하기").click()
    expect(page.get_by_role("status")).to_contain_text("사가가 진행 중입니다.")

    shop.drain()

    expect(page.get_by_role("status")).to_have_text("취소됨 – 사가가 끝났습니다.")
    backward = page.locator(".row.backward b")
    assert [name for name in backward.all_inner_texts() if name in ("DeliveryFailed", "PaymentRefunded")]
    expect(page.locator(".facts")).to_contain_text("수령 거부")
    assert fits(page)
    lanes = page.locator(".row").evaluate_all("rows => rows.map(row => row.querySelector('.event').clientWidth)")
    assert min(lanes) > 150  # wide enough to read


def test_what_is_away_turns_red_and_comes_back(shop: Any, page: Page, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(states, "FRESH_FOR", 0.0)
    page.clock.install()
    page.goto(shop.url)
    expect(page.get_by_role("status")).to_have_text("Everything answers.")
    asked = states.backlog

    def refusing(service: str, **more: Any) -> Any:
        if service == "payments":
            raise connections["payments"].Database.OperationalError("away")
        return asked(service, **more)

    monkeypatch.setattr(states, "DatabaseError", connections["payments"].Database.Error)
    monkeypatch.setattr(states, "backlog", refusing)
    page.clock.run_for(2000)
    expect(page.locator(".service.down")).to_contain_text("The database does not answer.")
    expect(page.get_by_role("status")).to_have_text("Not answering: payments")
    monkeypatch.setattr(states, "backlog", asked)
    page.clock.run_for(2000)
    expect(page.get_by_role("status")).to_have_text("Everything answers.")


def test_staff_cancel_on_the_page_and_a_switch_is_set(shop: Any, page: Page, monkeypatch: pytest.MonkeyPatch):
    page.goto(f"{shop.url}/console/faults")
    page.get_by_label("Set duplicate-messages").locator("..").get_by_role("spinbutton").fill("0.5")
    page.get_by_label("Set duplicate-messages").click()
    expect(page.locator(".faults .late")).to_contain_text("duplicate-messages")

    order(page, shop.url, "All goes well")
    page.locator(".actions").get_by_role("link", name="Sign in").click()
    page.get_by_label("Email").fill("admin@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{shop.url}/console/orders/{Order.objects.get().pk}")
    page.get_by_text("Cancel the order").click()
    page.get_by_label("Reason, for the log").fill("ordered twice")
    page.get_by_role("button", name="Yes, cancel this order").click()
    expect(page.get_by_text("Cancellation asked for; delivery decides.")).to_be_visible()
    monkeypatch.setattr(faults.random, "random", lambda: 0.1)
    shop.relay()
    faults.clear()
    shop.drain()

    expect(page.get_by_role("status")).to_have_text("Cancelled – The saga has ended.")
    expect(page.locator(".again").first).to_contain_text("came again")
    page.get_by_role("link", name="Payment", exact=True).click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    assert apps.get_model("admin", "LogEntry").objects.count() == 1


def test_the_api_in_a_browser_and_its_documentation(shop: Any, page: Page):
    page.goto(shop.url)
    page.get_by_role("link", name="Browsable API").click()
    expect(page.get_by_text("클린 코드")).to_be_visible()
    page.get_by_role("link", name="shop", exact=True).click()
    page.get_by_role("link", name="API documentation").click()
    expect(page.locator("#operations-orders-order_place")).to_be_visible()
