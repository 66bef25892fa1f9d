"""What tests of pages begin with: a shop with samples on a development machine, and an order placed there."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.services import seed_users
from catalog.models import Product
from commands.samples import USERS
from console import state as states
from inventory.services import seed_stock
from shop import faults
from tests.support.chromium import chromium

PASSWORD = "for-this-test"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One for all tests of this folder: to start it takes a second."""
    with chromium() as started:
        yield started


@pytest.fixture
def shop(bus: Any, no_waiting: None, settings: Any, live_server: Any) -> Iterator[Any]:
    """A shop with samples, on a development machine; its messages wait on the bus until the test delivers them."""
    settings.DEBUG = True
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    seed_users(USERS, password=PASSWORD)
    Product.objects.create(pk=7, name="클린 코드", price=7000, category="BOOK", brand="인사이트")
    seed_stock({7: 10})
    faults.clear()
    states._known = None
    bus.url = live_server.url
    yield bus
    settings.DEBUG = True
    faults.clear()


def order(page: Page, url: str, outcome: str) -> None:
    """Place an order on the landing page."""
    page.goto(url)
    page.get_by_label(outcome).check()
    page.get_by_role("button", name="Order").click()
    expect(page.get_by_role("heading", name="Order")).to_be_visible()
