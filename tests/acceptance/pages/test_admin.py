"""The admin in Chromium, as shop staff use it."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from catalog.models import Product
from inventory.models import DeadLetter, StockItem, StockMovement
from inventory.services import seed_stock
from orders.models import Order
from sagas import dead_letters
from sagas.events import uuid7
from tests.acceptance.pages.conftest import PASSWORD, order
from tests.conftest import SERVICES
from tests.support.chromium import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(databases=SERVICES, transaction=True)]


@pytest.fixture
def admin(shop: Any, page: Page) -> Page:
    """Signed in; with a second product, of which there is little."""
    Product.objects.create(pk=8, name="이펙티브 자바", price=36000, category="BOOK", brand="인사이트")
    Product.objects.create(pk=9, name="Tennis racket", price=250000, category="SPORTS", brand="Wilson")
    seed_stock({8: 3, 9: 40})
    sign_in(page, shop.url, PASSWORD)
    return page


def lists(page: Page, *ids: str) -> None:
    """These are the ids in a list, once the page is there."""
    expect(page.locator("#result_list tbody th")).to_have_text(ids)


def act(page: Page, action: str, *rows: int, reason: str = "") -> None:
    """Choose rows of a list by their ids, and an action."""
    for row in rows:
        page.locator(f'.action-select[value="{row}"]').check()
    page.locator("select[name=action]").select_option(action)
    if reason:
        page.get_by_label("Reason, to discard").fill(reason)
    page.locator("[name=index]").click()  # "Go", in whatever language


def test_the_catalogue_is_searched_narrowed_and_changed(shop: Any, admin: Page):
    admin.goto(f"{shop.url}/admin/catalog/product/")
    lists(admin, "7", "8", "9")
    expect(admin.locator("tr", has_text="Tennis")).to_contain_text("40 of 40")
    admin.locator("#searchbar").fill("tennis")
    admin.get_by_role("button", name="Search").click()
    lists(admin, "9")
    admin.locator("#searchbar").fill("nothing like it")
    admin.get_by_role("button", name="Search").click()
    expect(admin.locator(".nothing")).to_have_text("Nothing matches the search and the filters.")

    admin.goto(f"{shop.url}/admin/catalog/product/")
    admin.locator("#changelist-filter").get_by_role("link", name="Books").click()
    lists(admin, "7", "8")
    act(admin, "deactivate", 7)
    expect(admin.get_by_text("Taken off sale: 1.")).to_be_visible()
    admin.locator("#changelist-filter").get_by_role("link", name="No", exact=True).click()
    lists(admin, "7")

    admin.locator("#result_list").get_by_role("link", name="클린 코드").click()
    admin.get_by_label("Price").fill("8500")
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.locator("#result_list")).to_contain_text("₩8,500")
    admin.locator("#result_list").get_by_role("link", name="클린 코드").click()
    admin.get_by_role("link", name="History").click()
    expect(admin.locator("#change-history")).to_contain_text("price: 7000 → 8500")
    assert Product.objects.get(pk=7).price == 8500


def test_stock_is_booked_with_a_reason_and_its_movements_read(shop: Any, admin: Page):
    admin.goto(f"{shop.url}/admin/inventory/stockitem/")
    admin.get_by_role("link", name="low, and on sale").click()
    lists(admin, "8")
    admin.get_by_role("link", name="Product 8").click()
    admin.get_by_label("Pieces to book").fill("-4")
    admin.get_by_label("Reason").fill("stock-taking")
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.locator(".errorlist").first).to_have_text("From -3 to a billion pieces can be booked, but not 0.")
    assert StockItem.objects.get(product_id=8).on_hand == 3

    admin.get_by_label("Pieces to book").fill("20")
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.locator(".nothing")).to_be_visible()  # nothing is low any more
    admin.goto(f"{shop.url}/admin/inventory/stockitem/?product_id=8")
    expect(admin.locator(".field-movements tr").nth(1)).to_contain_text("+20")
    admin.get_by_role("link", name="all movements").click()
    expect(admin.locator("#result_list tbody tr")).to_have_count(2)
    expect(admin.locator("#result_list")).to_contain_text("stock-taking")
    assert StockMovement.objects.filter(product_id=8).count() == 2


def test_dead_letters_are_replayed_and_discarded(shop: Any, admin: Page):
    order(admin, shop.url, "All goes well")
    shop.relay()
    (event,) = next(payload for step, payload in shop.messages if step == "inventory.reserve_stock")
    shop.messages.clear()
    for letter in (event, {**event, "event_id": str(uuid7()), "order_id": 4711, "checkout": None}):
        dead_letters.record("inventory", "inventory.reserve_stock", letter, ValueError("a bad day"))
    kept, hopeless = DeadLetter.objects.order_by("pk")
    expect(admin.locator(".row.dead")).to_contain_text("ValueError: a bad day")

    admin.goto(f"{shop.url}/console/dead-letters")
    admin.get_by_role("listitem").filter(
        has=admin.get_by_role("link", name=f"Order {kept.correlation_id}")
    ).get_by_role("checkbox").check()
    admin.get_by_role("button", name="Replay what is ticked").click()
    expect(admin.get_by_text("Sent to their steps again: 1.")).to_be_visible()
    shop.drain()
    act(admin, "discard", hopeless.pk)
    expect(admin.get_by_text("Nothing was discarded: say why")).to_be_visible()
    act(admin, "discard", hopeless.pk, reason="made by a test")
    expect(admin.get_by_text("Discarded: 1.")).to_be_visible()
    expect(admin.locator(".nothing")).to_be_visible()

    kept.refresh_from_db()
    assert kept.resolution == "HANDLED"
    assert Order.objects.get().status == "COMPLETED"
    admin.goto(f"{shop.url}/console/orders/{Order.objects.get().pk}")
    expect(admin.locator(".row.dead")).to_contain_text("handled after all")


def test_the_admin_in_korean(shop: Any, admin: Page):
    admin.get_by_role("button", name="한국어").click()
    expect(admin.locator("h1")).to_have_text("오늘")
    admin.locator(".model-product").get_by_role("link", name="상품", exact=True).click()
    act(admin, "deactivate", 9)
    expect(admin.get_by_text("판매 중지: 1개.")).to_be_visible()
    admin.get_by_role("button", name="English").click()
    expect(admin.locator("h1")).to_have_text("Select product to change")


def test_an_order_is_cancelled_from_the_list(shop: Any, admin: Page):
    order(admin, shop.url, "All goes well")
    admin.goto(f"{shop.url}/admin/orders/order/")
    act(admin, "cancel", Order.objects.get().pk)
    admin.get_by_label("Reason, for the log").fill("ordered twice")
    admin.get_by_role("button", name="Yes, cancel these orders").click()
    expect(admin.get_by_text("Cancellations asked for: 1. Delivery decides.")).to_be_visible()
    shop.drain()
    admin.reload()
    expect(admin.locator("#result_list .status")).to_have_text("Cancelled")
    expect(admin.locator("#result_list")).to_contain_text("cancelled by the shop's staff")
