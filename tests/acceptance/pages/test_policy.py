"""No page has a script or a style inline, and in a sandbox each says that it is one."""

import re
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Page, expect

from tests.acceptance.pages.conftest import PASSWORD, order
from tests.conftest import SERVICES
from tests.support.chromium import keep, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(databases=SERVICES, transaction=True)]

SAYS = "Sandbox: no money is taken here, and nothing is delivered."
FOR_ANYBODY = ("/", "/account/forgot", "/admin/login/", "/api-auth/login/", "/docs/", "/api/v1/products?format=api")
FOR_STAFF = (
    "/api/v1/orders?format=api",
    "/api/v1/products/7?format=api",
    "/console/orders",
    "/admin/",
    "/admin/catalog/product/",
    "/admin/catalog/product/7/change/",
)
INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*(?: src=|type=.application/json.))")


def test_pages_run_without_anything_inline(shop: Any, page: Page):
    """The page fails the test for whatever Chromium refuses."""
    page.goto(f"{shop.url}/docs/")
    page.get_by_role("button", name="Authorize").click()
    page.get_by_placeholder("bearer").or_(page.get_by_label("auth-bearer-value")).first.fill("a-token")
    page.get_by_role("button", name="Apply credentials").first.click()
    page.reload()
    expect(page.get_by_text("order_place")).to_have_count(0)  # closed, but drawn
    expect(page.locator(".opblock").first).to_be_visible()
    assert page.evaluate("localStorage.length") == 0  # the token is not kept
    order(page, shop.url, "All goes well")
    shop.drain(timers=False)
    page.goto(f"{shop.url}/api/v1/products?format=api")
    page.goto(f"{shop.url}/api-auth/login/")
    expect(page.locator(".sign-in")).to_have_css("width", "320px")


def test_no_page_has_anything_inline(shop: Any):
    client = Client()
    client.login(email="admin@example.com", password=PASSWORD)
    for path in (*FOR_ANYBODY, *FOR_STAFF):
        answer = client.get(path, headers={"Accept": "text/html"})
        text = answer.content.decode()
        assert (answer.status_code in (200, 302), INLINE.findall(text)) == (True, []), path
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"], path
        assert "unsafe" not in answer.headers["Content-Security-Policy"], path


def test_a_sandbox_says_so_on_every_page(shop: Any, settings: Any, page: Page):
    for path in FOR_ANYBODY:
        page.goto(shop.url + path)
        expect(page.get_by_text(SAYS)).to_have_count(0)  # a development machine needs no telling
    settings.DEBUG = False
    for path in FOR_ANYBODY:
        page.goto(shop.url + path)
        expect(page.get_by_text(SAYS)).to_be_visible()
        keep(page, f"sandbox{path.partition('?')[0].replace('/', '-')}")
    sign_in(page, shop.url, PASSWORD)
    for path in FOR_STAFF:
        page.goto(shop.url + path)
        expect(page.get_by_text(SAYS)).to_be_visible()
        keep(page, f"sandbox{path.replace('/', '-')}")
    page.goto(f"{shop.url}/?lang=ko")
    expect(page.get_by_text("샌드박스입니다.")).to_be_visible()
    settings.SANDBOX = False
    page.goto(shop.url)
    expect(page.get_by_role("complementary")).to_have_count(0)
