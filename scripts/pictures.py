"""Take the documentation's screenshots, docs/images/*.png, of a temporary embedded shop, in Chromium.

pictures.py            all of them; takes a minute
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 375, "height": 740}
NAMED = ("PATH", "HOME", "LANG", "PYTHONPATH")  # nothing that names servers: the shop brings its own
PATIENCE = 120_000  # milliseconds
MOST = 300_000  # bytes


@contextmanager
def shop() -> Iterator[tuple[str, str]]:
    """Run an embedded shop with the samples and sample orders; yield its URL and the sample users' password."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: os.environ[name] for name in NAMED if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="shop-") as var:
        Path(var).chmod(0o755)  # as root, PostgreSQL runs under another account
        environment |= {"SHOP_VAR": var, "PORT": str(port), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "manage.py", "up"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            for line in process.stdout or ():
                if "Ctrl-C stops it." in line:
                    break
            subprocess.run([sys.executable, "manage.py", "seed", "--orders"], cwd=ROOT, env=environment, check=True)
            yield f"http://127.0.0.1:{port}", Path(var, "seed-password").read_text().strip()
        finally:
            process.terminate()
            process.wait()


def page_of(browser: Browser, size: dict[str, int], locale: str) -> Page:
    page = browser.new_context(viewport=size, locale=locale).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(PATIENCE)
    return page


def order(page: Page, url: str, *, product: int, outcome: int) -> None:
    """Place an order on the landing page, with choices by their numbers, and follow it to its end."""
    page.goto(url)
    page.locator("#id_product").select_option(index=product)
    page.locator("[name=outcome]").nth(outcome).check()
    page.locator("form.order button").click()
    expect(page.locator("[data-live][data-ended]")).to_be_attached(timeout=PATIENCE)


def keep(page: Page, name: str) -> None:
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    size = path.stat().st_size
    print(f"{path.relative_to(ROOT)}: {size / 1000:.0f} kB")
    if size > MOST:
        sys.exit(f"pictures: {path.name} is too large")


def take(browser: Browser, url: str, password: str) -> None:
    desk, phone = page_of(browser, DESK, "en-US"), page_of(browser, PHONE, "ko-KR")
    order(desk, url, product=6, outcome=0)
    order(desk, url, product=0, outcome=1)
    order(phone, url, product=3, outcome=2)
    keep(phone, "saga-phone-ko")
    order(desk, url, product=0, outcome=3)
    keep(desk, "saga")
    desk.goto(url)
    expect(desk.locator(".service")).to_have_count(9)
    keep(desk, "landing")

    desk.goto(f"{url}/admin/login/?next=/admin/inventory/stockitem/%3Fproduct_id=7")
    desk.locator("#id_username").fill("admin@example.com")
    desk.locator("#id_password").fill(password)
    desk.locator("[type=submit]").click()
    desk.locator("#id_delta").fill("25")
    desk.locator("#id_reason").fill("goods received")
    desk.locator("[name=_continue]").click()
    keep(desk, "admin-stock")
    desk.goto(f"{url}/admin/orders/order/")
    keep(desk, "admin-orders")
    changed = f"{url}/admin/orders/order/1"  # a piece of it was cancelled; now one more comes back
    desk.goto(f"{changed}/return/")
    desk.locator("[type=number]").first.fill("1")
    desk.locator("[name=reason]").fill("a page is torn")
    desk.locator("[name=agreed]").click()
    desk.wait_for_url("**/admin/orders/return/*/change/")
    desk.goto(f"{changed}/change/")
    keep(desk, "admin-order")


def main() -> int:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, shop() as (url, password):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        take(browser, url, password)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
