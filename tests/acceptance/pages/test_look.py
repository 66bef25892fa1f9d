"""Every page at the width of a desk and of a phone, in English and Korean: nothing overlaps, is cut, or sticks out.

`make pictures` keeps them in var/pictures, for people to look at.
"""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from sagas import dead_letters
from sagas.events import encode
from shop import faults
from shop.contracts.events import OrderCreated
from tests.acceptance.pages.conftest import PASSWORD, order
from tests.conftest import SERVICES
from tests.support.chromium import DESKTOP, PHONE, flaws, keep, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(databases=SERVICES, transaction=True)]

SIZES = {"phone": PHONE, "desk": DESKTOP}  # in this order: the next page is loaded at the width of a desk
OURS = {
    "landing": "/",
    "orders-list": "/console/orders",
    "letters": "/console/dead-letters",
    "faults": "/console/faults",
}
CARDS = ("products", "stock", "orders", "payments", "deliveries")  # lists that a phone shows without scrolling sideways
ADMIN = {
    "admin": "/admin/",
    "products": "/admin/catalog/product/",
    "product": "/admin/catalog/product/7/change/",
    "stock": "/admin/inventory/stockitem/",
    "stock-item": "/admin/inventory/stockitem/?product_id=7",
    "movements": "/admin/inventory/stockmovement/",
    "orders": "/admin/orders/order/",
    "payments": "/admin/payments/payment/",
    "deliveries": "/admin/delivery/delivery/",
    "notifications": "/admin/notifications/notification/",
    "dead-letters": "/admin/inventory/deadletter/",
    "no-dead-letters": "/admin/orders/deadletter/",
    "log": "/admin/admin/logentry/",
}


@pytest.fixture
def busy(shop: Any, page: Page) -> Any:
    """A shop with three orders: completed, undone, and under way with a dead letter; and with a fault switch on."""
    shop.orders = {}
    wanted = {"completed": "All goes well", "compensated": "The recipient refuses", "under-way": "All goes well"}
    for name, outcome in wanted.items():
        order(page, shop.url, outcome)
        shop.orders[name] = int(page.url.rpartition("/")[2])
        if name != "under-way":
            shop.drain()
    shop.relay()
    position = [step for step, _ in shop.messages].index("inventory.reserve_stock")
    shop.deliver(position, keep=True)
    shop.deliver(position)
    event = encode(OrderCreated(order_id=shop.orders["under-way"], checkout=None))
    dead_letters.record(
        "inventory", "inventory.reserve_stock", event, ValueError("a checkout that nobody can read " * 4)
    )
    faults.turn("step-delay", 0.5)
    return shop


def test_every_page(busy: Any, browser: Browser):
    sagas = {name: f"/console/orders/{pk}" for name, pk in busy.orders.items()}
    order_page = {"order": f"/admin/orders/order/{busy.orders['compensated']}/change/"}
    found = {}
    for locale in ("en-US", "ko-KR"):
        context = browser.new_context(viewport=DESKTOP, locale=locale)
        page = context.new_page()
        sign_in(page, busy.url, PASSWORD)
        for name, path in (OURS | sagas | ADMIN | order_page).items():
            page.goto(f"{busy.url}{path}")
            expect(page.locator("html")).to_have_attribute("lang", locale[:2])
            if name == "landing":
                expect(page.locator(".service")).to_have_count(len(SERVICES) + 2)
            for width, size in SIZES.items():
                page.set_viewport_size(size)
                keep(page, f"{name}-{locale[:2]}-{width}")
                if width == "phone" and name in CARDS:
                    assert page.locator(".results").evaluate("one => one.scrollWidth <= one.clientWidth"), name
                if wrong := flaws(page):
                    found[name, locale, width] = wrong
        context.close()
    assert found == {}
