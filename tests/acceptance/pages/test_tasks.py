"""What shop staff have to do in a day, in Chromium, as somebody would who was never shown how."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from accounts.services import LocalAccounts, LocalContacts
from catalog.services import seed_products
from console import state as states
from inventory.models import StockItem
from orders.models import Order
from shop import faults
from shop.calls import substituting
from shop.contracts.accounts import AccountsService, ContactsService
from tests.acceptance.pages.conftest import PASSWORD, order
from tests.conftest import SERVICES
from tests.support.chromium import DESKTOP, PHONE, flaws, keep, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(databases=SERVICES, transaction=True)]


@pytest.fixture
def admin(shop: Any, page: Page) -> Iterator[Page]:
    """Signed in, on the admin's first page; with three products."""
    seed_products(
        [
            {"id": 8, "name": "이펙티브 자바", "price": 36000},
            {"id": 9, "name": "Tennis racket", "price": 1999, "currency": "USD"},
        ]
    )
    sign_in(page, shop.url, PASSWORD)
    with substituting(AccountsService, LocalAccounts()), substituting(ContactsService, LocalContacts()):
        yield page


def test_the_order_of_a_customer_who_calls(shop: Any, admin: Page):
    order(admin, shop.url, "All goes well")
    shop.drain()
    wanted = Order.objects.get()
    Order.objects.create(user_id=wanted.user_id + 1, total_price=1000, payment_gateway="TOSS_PAYMENTS")
    email = User.objects.get(pk=wanted.user_id).email

    admin.goto(f"{shop.url}/admin/")
    admin.get_by_role("link", name="Orders today").click()
    expect(admin.locator("#result_list tbody tr")).to_have_count(2)
    admin.locator("#searchbar").fill(email)
    admin.get_by_role("button", name="Search").click()
    expect(admin.locator("#result_list tbody tr")).to_have_count(1)
    admin.locator("#result_list tbody th").get_by_role("link").click()
    expect(admin.locator(".part", has_text="Customer")).to_contain_text(email)
    expect(admin.locator(".part", has_text="Payment")).to_contain_text("Completed")


def test_prices_are_put_up_by_five_per_cent(shop: Any, admin: Page):
    admin.goto(f"{shop.url}/admin/catalog/product/")
    admin.locator("#action-toggle").check()
    admin.locator("select[name=action]").select_option("change_prices")
    admin.locator("[name=index]").click()
    admin.get_by_label("By").fill("5")
    admin.get_by_role("button", name="Show what they become").click()
    row = admin.locator("tbody tr", has_text="Tennis racket")
    expect(row).to_contain_text("19.99 USD")
    expect(row).to_contain_text("20.99 USD")
    admin.get_by_role("button", name="Yes, change these prices").click()
    expect(admin.get_by_text("Prices changed: 3.")).to_be_visible()
    expect(admin.locator("#result_list")).to_contain_text("₩37,800")


def test_why_an_order_is_late(shop: Any, admin: Page, settings: Any):
    faults.turn("gateway-away", 1)
    order(admin, shop.url, "All goes well")
    shop.drain()
    faults.clear()
    states._known = None
    admin.goto(f"{shop.url}/admin/")
    expect(admin.locator(".tile", has_text="Stalled orders").locator(".figure")).to_have_text("1")
    admin.get_by_role("link", name="Stalled orders").click()
    admin.locator("#result_list").get_by_role("link", name="timeline").click()
    expect(admin.locator(".holdups")).to_contain_text("TOSS_PAYMENTS is away")
    admin.locator(".cause a").last.click()  # from the step that is late to what led to it
    assert admin.url.partition("#")[2]


def test_stock_comes_in_by_a_file(shop: Any, admin: Page):
    def upload(text: str) -> None:
        admin.goto(f"{shop.url}/admin/inventory/stockitem/")
        admin.get_by_role("link", name="Import").click()
        admin.locator("#id_import_file").set_input_files(
            {"name": "stock.csv", "mimeType": "text/csv", "buffer": text.encode()}
        )
        admin.get_by_role("button", name="Submit").click()

    upload("product_id,delta,reason\n7,5,delivery\n7,-900,theft\n")
    expect(admin.locator(".import-preview tbody tr")).to_have_count(1)
    expect(admin.locator(".import-preview")).to_contain_text("0 of 15 units are reserved")
    upload("product_id,delta,reason\n7,5,delivery\n")
    expect(admin.locator(".import-preview")).to_contain_text("10 → 15")
    assert StockItem.objects.get(pk=7).on_hand == 10
    admin.get_by_role("button", name="Confirm import").click()
    expect(admin.locator(".messagelist")).to_contain_text("1 updated")
    assert StockItem.objects.get(pk=7).on_hand == 15


@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_pages_that_ask_back_fit(shop: Any, admin: Page, browser: Browser, locale: str):
    file = {"name": "products.csv", "mimeType": "text/csv", "buffer": b"id,price\n7,7350\n8,37800\n9,2099\n"}
    order(admin, shop.url, "All goes well")
    context = browser.new_context(locale=locale)
    page, found = context.new_page(), {}
    sign_in(page, shop.url, PASSWORD)
    page.goto(f"{shop.url}/admin/catalog/product/")
    page.locator("#action-toggle").check()
    page.locator("select[name=action]").select_option("change_prices")
    page.locator("[name=index]").click()
    page.locator("#id_by").fill("5")
    page.locator("[name=preview]").click()
    look(page, "prices", locale, found)
    page.goto(f"{shop.url}/admin/catalog/product/import/")
    look(page, "import", locale, found)
    page.locator("#id_import_file").set_input_files(file)
    page.locator("[type=submit].default").click()
    look(page, "import-preview", locale, found)
    context.close()
    assert found == {}


def look(page: Page, name: str, locale: str, found: dict[str, list[str]]) -> None:
    for width, size in (("desk", DESKTOP), ("phone", PHONE)):
        page.set_viewport_size(size)
        keep(page, f"{name}-{locale[:2]}-{width}")
        if wrong := flaws(page):
            found[f"{name} {width}"] = wrong
