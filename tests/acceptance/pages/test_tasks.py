"""What shop staff have to do in a day, in Chromium, as somebody would who was never shown how."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from accounts.services import LocalAccounts, LocalContacts
from catalog.models import Product
from catalog.services import LocalCatalog, seed_products
from console import state as states
from delivery.models import Delivery
from delivery.reports import take_carrier_event
from inventory.models import StockItem
from inventory.services import seed_stock
from notifications.webhooks.models import Webhook, WebhookMessage
from orders.models import Order, OrderLine
from orders.returns.requests import Wanted, request_return
from payments.models import GatewayLedger, Payment
from sagas.events import uuid7
from shop import faults
from shop.calls import substituting
from shop.contracts.accounts import AccountsService, ContactsService
from shop.contracts.catalog import CatalogService
from shop.contracts.events import Line
from tests.acceptance.pages.conftest import PASSWORD, order
from tests.conftest import SERVICES
from tests.support.chromium import DESKTOP, PHONE, flaws, keep, sign_in
from tests.support.ordering import place_order

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
    number = Order.objects.get(pk=wanted.pk).tracking_number
    for known in (email, "010-1000-0001", "김하나", "클린", number, str(wanted.pk)):
        admin.goto(f"{shop.url}/admin/")
        admin.get_by_label("Find an order").fill(known)
        admin.get_by_role("button", name="Search").click()
        expect(admin.locator("#result_list tbody tr"), known).to_have_count(1)
    admin.locator("#result_list tbody th").get_by_role("link").click()
    expect(admin.locator(".part", has_text="Customer")).to_contain_text(email)
    expect(admin.locator(".part", has_text="Payment")).to_contain_text("Completed")


def books(shop: Any, admin: Page, pieces: int = 3) -> str:
    """The admin's page of an order of so many books."""
    user = User.objects.get(email="customer1@example.com")
    placed = place_order(user_id=user.pk, lines=[Line(7, pieces)])
    return f"{shop.url}/admin/orders/order/{placed.pk}/change/"


def fill_in_return(admin: Page, page: str, pieces: int, reason: str) -> None:
    """On an order's page, a return of so many books is being asked for."""
    admin.goto(page)
    admin.get_by_role("link", name="Request a return").click()
    admin.get_by_label("Product 7").fill(str(pieces))
    admin.get_by_label("Reason").fill(reason)


def test_one_of_three_books_is_refunded(shop: Any, admin: Page):
    page = books(shop, admin)
    shop.drain()
    admin.goto(page)
    admin.get_by_role("link", name="Refund a part").click()
    admin.get_by_label("Product 7").fill("1")
    admin.get_by_label("Reason").fill("a page is torn")
    admin.get_by_role("button", name="Show the amount").click()
    expect(admin.get_by_role("status")).to_have_text("Give ₩7,000 back to the customer?")
    admin.get_by_role("button", name="Yes, refund this").click()
    expect(admin.get_by_text("Refund asked for: ₩7,000.")).to_be_visible()
    shop.drain()
    admin.reload()
    expect(admin.locator("#refunds-group")).to_contain_text("a page is torn")
    expect(admin.locator("#refunds-group")).to_contain_text("Completed")
    expect(admin.locator(".part", has_text="Payment")).to_contain_text("₩7,000")


def test_one_piece_is_cancelled_before_hand_over_and_a_note_kept(shop: Any, admin: Page):
    admin.goto(books(shop, admin))
    admin.get_by_text("Cancel pieces").click()
    admin.get_by_label("pieces to be left").fill("2")
    admin.locator("#why-change").fill("one too many")
    admin.get_by_role("button", name="Yes, change this order").click()
    expect(admin.get_by_text("Change asked for")).to_be_visible()
    admin.get_by_text("Add a note").click()
    admin.get_by_label("For staff").fill("Called twice.\nBe kind.")
    admin.get_by_role("button", name="Save note").click()
    shop.drain()
    admin.reload()
    expect(admin.locator("#notes")).to_contain_text("Be kind.")
    expect(admin.locator("#changes-group")).to_contain_text("-1 × Product 7")
    expect(admin.locator("#items-group .field-quantity p")).to_have_text("2")
    admin.goto(f"{shop.url}/console/orders/{Order.objects.get().pk}")
    expect(admin.locator(".row.lane-3", has_text="let_go")).to_be_visible()
    expect(admin.locator(".row.backward")).to_have_count(0)  # nothing of the order is undone


def test_a_return_is_requested_taken_in_and_inspected(shop: Any, admin: Page):
    page = books(shop, admin)
    shop.drain()
    fill_in_return(admin, page, 2, "the wrong book")
    admin.get_by_role("button", name="Yes, request this return").click()
    admin.goto(f"{shop.url}/admin/")
    admin.get_by_role("link", name="Returns to decide").click()
    admin.locator("#result_list tbody th").get_by_role("link").click()
    admin.get_by_role("button", name="Approve").click()
    expect(admin.get_by_role("heading")).to_have_text("Approve these returns?")
    admin.get_by_role("button", name="Yes").click()
    shop.drain(timers=False)
    admin.reload()
    admin.get_by_role("button", name="The parcel is here").click()
    admin.get_by_role("button", name="Yes").click()
    admin.get_by_role("button", name="Inspect").click()
    admin.get_by_label("accepted").fill("1")
    admin.get_by_role("button", name="Inspected").click()
    expect(admin.locator(".errorlist")).to_contain_text("Pieces to be inspected: 2.")
    admin.get_by_label("written off").fill("1")
    admin.get_by_role("button", name="Inspected").click()
    shop.drain()
    admin.reload()
    expect(admin.locator(".field-badge .status").first).to_have_text("Completed")
    expect(admin.locator(".field-given_back")).to_contain_text("₩14,000")
    expect(admin.locator(".asks")).to_have_count(0)
    admin.goto(page)
    expect(admin.locator("#refunds-group .field-what")).to_contain_text(": 2 × Product 7")
    admin.locator("#refunds-group .field-what").get_by_role("link").click()
    expect(admin).to_have_url(re.compile("/admin/orders/return/"))


def test_what_is_unpaid_is_found_and_captured_again(shop: Any, admin: Page, settings: Any):
    settings.PAYMENT_CAPTURE = "at_hand_over"
    user = User.objects.get(email="customer1@example.com")
    lines = [Line(7, 1)]
    place_order(user_id=user.pk, lines=lines, payment_token="tok_hold_lost")
    shop.drain()
    GatewayLedger.objects.filter(kind="VOID").delete()  # the money can be taken after all
    admin.goto(f"{shop.url}/admin/")
    tile = admin.locator(".tile", has_text="Unpaid")
    expect(tile.locator(".figure")).to_have_text("1")
    tile.get_by_role("link").click()
    expect(admin.locator("#result_list .status")).to_have_text("Unpaid")
    admin.locator("#result_list tbody th").get_by_role("link").click()
    admin.get_by_role("link", name="Settle the payment").click()
    admin.locator("#result_list tbody th").get_by_role("link").click()
    admin.get_by_text("Capture again").click()
    admin.get_by_role("button", name="Yes").locator("visible=true").click()
    expect(admin.get_by_text("To be captured again: 1.")).to_be_visible()
    Payment.objects.update(due_at=Payment.objects.get().created_at)
    shop.drain()
    assert Order.objects.get().status == "COMPLETED"


def test_a_product_is_added_with_its_first_stock(shop: Any, admin: Page):
    admin.goto(f"{shop.url}/admin/catalog/product/")
    admin.get_by_role("link", name="Add product").click()
    expect(admin.get_by_text("Currency:", exact=True)).to_be_visible()  # written as the other labels
    for field, value in (("Name", "The Tao of Programming"), ("Price", "12000"), ("Opening stock", "5")):
        admin.get_by_label(field, exact=False).first.fill(value)
    admin.locator("#id_category").select_option("BOOK")
    admin.locator("#id_image_url").fill(f"{shop.url}/favicon.ico")
    with substituting(CatalogService, LocalCatalog()):  # inventory asks it whether there is such a product
        admin.get_by_role("button", name="Save", exact=True).click()
    row = admin.locator("#result_list tr", has_text="The Tao of Programming")
    expect(row).to_contain_text("₩12,000")
    expect(row).to_contain_text("5 of 5")
    expect(row.locator("img.preview")).to_have_js_property("complete", True)
    expect(row.locator("img.preview")).not_to_have_js_property("naturalWidth", 0)  # as of one that is not there
    assert StockItem.objects.get(on_hand=5).reserved == 0


def test_a_dead_webhook_is_tried_and_enabled_again(shop: Any, admin: Page, settings: Any):
    settings.WEBHOOK_ALLOWED_NETWORKS = "127.0.0.0/8"
    owner = User.objects.get(is_superuser=True)
    webhook = Webhook.objects.create(
        owner_id=owner.pk, url="http://127.0.0.1:9/", events=["order.created"], secret="x", enabled=False,
        disabled_reason="Nobody answered for three days.",
    )  # fmt: skip
    WebhookMessage.objects.create(webhook=webhook, event_id=uuid7(), type="order.created", body="{}", status="FAILED")
    admin.goto(f"{shop.url}/admin/")
    admin.get_by_role("link", name="Dead webhooks").click()
    admin.locator("#result_list tbody th").get_by_role("link").click()
    expect(admin.locator(".field-disabled_reason")).to_contain_text("Nobody answered for three days.")
    admin.get_by_role("link", name="its messages").click()
    admin.locator("#result_list tbody th").get_by_role("link").click()
    admin.locator("summary", has_text="Send again").click()
    admin.get_by_role("button", name="Yes").locator("visible=true").click()
    expect(admin.get_by_text("Messages that will be sent again: 1.")).to_be_visible()
    assert WebhookMessage.objects.get().status == "PENDING"
    admin.goto(f"{shop.url}/admin/notifications/webhook/{webhook.pk}/change/")
    admin.locator("summary", has_text="Enable").click()
    admin.get_by_role("button", name="Yes").locator("visible=true").click()
    expect(admin.get_by_text("Webhooks changed: 1.")).to_be_visible()
    assert Webhook.objects.get().enabled


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


def test_a_hundred_prices_are_put_up_though_a_page_shows_fifty(shop: Any, admin: Page):
    seed_products(
        [{"id": pk, "name": f"Notebook {pk}", "price": 9000 + pk, "brand": "Paper"} for pk in range(100, 200)]
    )
    admin.goto(f"{shop.url}/admin/catalog/product/")
    admin.get_by_role("link", name="Paper").click()
    admin.locator("#action-toggle").check()
    admin.get_by_text("Select all 100 products").click()
    admin.locator("select[name=action]").select_option("change_prices")
    admin.locator("[name=index]").click()
    admin.get_by_label("By").fill("5")
    admin.get_by_role("button", name="Show what they become").click()
    expect(admin.locator("tbody tr")).to_have_count(100)
    admin.get_by_role("button", name="Yes, change these prices").click()
    expect(admin.get_by_text("Prices changed: 100.")).to_be_visible()
    assert Product.objects.get(pk=199).price == 9659  # 9,658.95
    assert Product.objects.get(pk=7).price == 7000


def test_an_exchange_to_its_end(shop: Any, admin: Page):
    page = books(shop, admin, 1)
    shop.drain()
    fill_in_return(admin, page, 1, "a page is torn")
    admin.locator("#id_kind").select_option("EXCHANGE")
    admin.get_by_role("button", name="Yes, request this return").click()
    admin.get_by_role("button", name="Approve").click()
    admin.get_by_role("button", name="Yes").click()
    shop.drain()  # the carrier brings it
    admin.reload()
    admin.get_by_role("button", name="Inspect").click()
    admin.get_by_label("accepted").fill("1")
    admin.get_by_role("button", name="Inspected").click()
    shop.drain()
    admin.reload()
    expect(admin.locator(".field-badge .status").first).to_have_text("Completed")
    admin.locator(".field-exchanged_for").get_by_role("link").click()
    expect(admin.locator(".field-badge .status")).to_have_text("Completed")
    expect(admin.locator(".fieldBox.field-total")).to_contain_text("₩0")
    assert StockItem.objects.get(product_id=7).on_hand == 9  # one is on the shelf again, another has left it


def two_shipments(shop: Any) -> int:
    """An order of six books, four of which lie in the west and two in the east; both parcels are under way."""
    for location, pieces in (("WEST", 4), ("EAST", 2)):
        seed_stock({7: pieces}, location)
    StockItem.objects.filter(product_id=7).exclude(location__in=["WEST", "EAST"]).delete()
    user = User.objects.get(email="customer1@example.com")
    placed = place_order(user_id=user.pk, lines=[Line(7, 6)])
    OrderLine.objects.update(product_name="클린 코드")
    shop.drain(timers=False)
    return placed.pk


def carrier_says(order_id: int, number: int, status: str, reason: str = "") -> None:
    parcel = Delivery.objects.get(order_id=order_id, number=number)
    take_carrier_event(
        carrier=parcel.account, event_id=f"{number} {status}", tracking_number=str(parcel.tracking_number),
        status=status, reason=reason,
    )  # fmt: skip


def test_one_of_two_shipments_fails(shop: Any, admin: Page, browser: Browser):
    of = two_shipments(shop)
    page = f"{shop.url}/admin/orders/order/{of}/change/"
    east, west = (admin.locator(".part", has_text=f"Delivery {one}") for one in ("1/2, EAST", "2/2, WEST"))
    offered = admin.locator(".asks").locator(".ask > summary, .act")
    admin.goto(page)
    expect(east).to_contain_text("2 × 클린 코드")
    expect(west).to_contain_text("4 × 클린 코드")
    expect(offered).to_have_text(
        ["Cancel order", "Cancel pieces", "Change the address", "Resume", "Refund a part", "Add a note"]
    )

    carrier_says(of, 1, "IN_TRANSIT")
    carrier_says(of, 2, "FAILED", "lost")
    shop.drain(timers=False)
    admin.reload()
    expect(east.locator(".status")).to_have_text("In Transit")
    expect(west.locator(".status")).to_have_text("Failed")
    expect(west).to_contain_text("carrier: lost")
    expect(offered).to_have_text(["Resume", "Refund a part", "Add a note"])  # the carrier has a part of it
    refund = admin.locator("#refunds-group")
    expect(refund).to_contain_text("₩28,000")
    expect(refund).to_contain_text("a shipment of the order does not arrive")
    expect(refund).to_contain_text("4 × 클린 코드")
    found: dict[str, list[str]] = {}
    for locale in ("en-US", "ko-KR"):
        context = browser.new_context(locale=locale)
        other = context.new_page()
        sign_in(other, shop.url, PASSWORD)
        other.goto(page)
        look(other, "shipments", locale, found)
        heights = [box["height"] for row in other.locator(".form-multiline > div").all() if (box := row.bounding_box())]
        assert max(heights) < 100, heights  # on a phone
        context.close()
    assert found == {}

    carrier_says(of, 1, "DELIVERED")
    shop.drain()
    admin.reload()
    expect(admin.locator(".field-badge .status")).to_have_text("Completed")
    expect(refund).to_contain_text("Completed")
    expect(east.locator(".status")).to_have_text("Delivered")
    admin.get_by_role("link", name="Request a return").click()
    expect(admin.get_by_label("클린 코드")).to_have_attribute("max", "2")  # what has arrived
    admin.goto(page)
    west.get_by_role("link").click()
    expect(admin.locator(".fieldBox.field-badge")).to_contain_text("Failed")


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
    expect(admin.locator(".holdups")).to_contain_text("TOSS_PAYMENTS cannot be reached")
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
    assert StockItem.objects.get(product_id=7).on_hand == 10
    admin.get_by_role("button", name="Confirm import").click()
    expect(admin.locator(".messagelist")).to_contain_text("1 updated")
    assert StockItem.objects.get(product_id=7).on_hand == 15


def test_products_come_in_by_a_file_whose_errors_are_read_and_mended(shop: Any, admin: Page, tmp_path: Any):
    def upload(text: str) -> None:
        admin.goto(f"{shop.url}/admin/catalog/product/")
        admin.get_by_role("link", name="Import").click()
        file = {"name": "products.csv", "mimeType": "text/csv", "buffer": text.encode()}
        admin.locator("#id_import_file").set_input_files(file)  # type: ignore[arg-type]
        admin.get_by_role("button", name="Submit").click()

    admin.set_viewport_size(PHONE)  # where nothing can be pointed at with a mouse
    upload("id,price\n7,7350\n8,cheap\n9,20.999\n")
    lines = admin.locator(".import-preview tbody tr")
    expect(lines).to_have_count(2)
    expect(lines.first.locator("td").first).to_have_text("3")  # as a spreadsheet numbers it
    expect(lines.first.get_by_text("Give an amount as on a price tag, without separators.")).to_be_visible()
    expect(lines.last.get_by_text("The currency has no such unit.")).to_be_visible()
    upload("id,price\n7,7350\n8,37800\n9,20.99\n")
    expect(admin.locator(".import-preview")).to_contain_text("19.99 → 20.99")
    admin.get_by_role("button", name="Confirm import").click()
    expect(admin.locator(".messagelist")).to_contain_text("3 updated")
    with admin.expect_download() as export:
        admin.get_by_role("link", name="Export").click()
    export.value.save_as(tmp_path / "products.csv")
    written = (tmp_path / "products.csv").read_text("utf-8-sig")
    assert "9,Tennis racket,,20.99,USD," in written
    upload(written)
    expect(admin.locator(".import-preview tbody tr.skip, .import-preview tr.skip")).to_have_count(3)


def test_a_return_that_is_refused_keeps_what_was_typed(shop: Any, admin: Page):
    page = books(shop, admin)
    seed_stock({8: 10})
    shop.drain()
    fill_in_return(admin, page, 2, "the wrong book")
    admin.get_by_label("exchanged for product").fill("8")
    admin.locator("#id_kind").select_option("EXCHANGE")
    admin.get_by_role("button", name="Yes, request this return").click()
    expect(admin.locator(".errorlist")).to_contain_text("does not cost what was paid")
    expect(admin.get_by_label("Reason")).to_have_value("the wrong book")
    admin.get_by_label("exchanged for product").fill("")
    admin.get_by_role("button", name="Yes, request this return").click()
    expect(admin.locator(".fieldBox.field-kind")).to_contain_text("Exchange")
    admin.locator(".fieldBox.field-customer").get_by_role(
        "link"
    ).click()  # from a return to its customer, to all their orders
    admin.get_by_role("link", name="all orders of this customer").click()
    expect(admin.locator("#result_list tbody tr")).to_have_count(1)


def test_another_address_begins_with_the_present_one(shop: Any, admin: Page):
    admin.goto(books(shop, admin))
    admin.get_by_text("Change the address").click()
    expect(admin.locator(".fieldBox.field-next_check")).not_to_contain_text("+00:00")  # as people read a time
    expect(admin.get_by_label("New address")).not_to_have_value("")
    admin.get_by_label("New address").fill("3 Market Square")
    admin.locator("#why-address").fill("the customer has moved")
    admin.get_by_role("button", name="Yes, send it there").click()
    shop.drain()
    admin.reload()
    expect(admin.locator("#changes-group")).to_contain_text("another address")
    admin.locator(".part", has_text="Delivery").get_by_role("link").first.click()
    expect(admin.locator(".field-address")).to_contain_text("3 Market Square")
    admin.locator(".fieldBox.field-of_order").get_by_role("link").click()  # and back to the order
    expect(admin).to_have_url(re.compile("/admin/orders/order/"))


@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_pages_that_ask_back_fit(shop: Any, admin: Page, browser: Browser, locale: str):
    file = {"name": "products.csv", "mimeType": "text/csv", "buffer": b"id,price\n7,7350\n8,37800\n9,2099\n"}
    order(admin, shop.url, "All goes well")
    shop.drain()
    of = request_return(Order.objects.get().pk, Wanted(lines=[Line(7, 1)], reason="the wrong book"))
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
    order_page = f"{shop.url}/admin/orders/order/{of.order_id}"
    page.goto(f"{order_page}/change/")
    page.locator(".ask summary").last.click()
    look(page, "order-asks", locale, found)
    page.goto(f"{order_page}/refund/")
    page.locator("#id_other").fill("500")
    page.locator("#id_reason").fill("late")
    page.locator("[name=agreed]").click()
    look(page, "refund", locale, found)
    page.goto(f"{shop.url}/admin/orders/return/{of.pk}/change/")
    look(page, "return", locale, found)
    page.locator(".act").first.click()
    look(page, "approve", locale, found)
    context.close()
    assert found == {}


def look(page: Page, name: str, locale: str, found: dict[str, list[str]]) -> None:
    for width, size in (("desk", DESKTOP), ("phone", PHONE)):
        page.set_viewport_size(size)
        keep(page, f"{name}-{locale[:2]}-{width}")
        if wrong := flaws(page):
            found[f"{name} {width}"] = wrong
