"""The system's Chromium for tests: a page on which nothing may go wrong, and looks at it that a machine can take."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize

PATIENCE = 40_000  # milliseconds for anything to show: machines that run tests are busy
PHONE: "ViewportSize" = {"width": 375, "height": 740}
DESKTOP: "ViewportSize" = {"width": 1280, "height": 900}

# Texts of which a part is printed over another, or is cut off. Texts within what scrolls by itself may be.
FLAWS = """() => {
  const shown = [], flaws = [], scrolls = node => node && (
    ["auto", "scroll"].includes(getComputedStyle(node).overflowX) || scrolls(node.parentElement));
  const unseen = node => node && (  // for screen readers alone
    (node.offsetWidth <= 1 && getComputedStyle(node).overflowX === "hidden") || unseen(node.parentElement));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const parent = node.parentElement, text = node.textContent.trim();
    if (!text || ["SCRIPT", "STYLE", "OPTION", "NOSCRIPT"].includes(parent.tagName)) continue;
    if (unseen(parent) || !parent.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width < 2 || box.right < 0 || box.bottom < 0) continue;
      if (box.right > document.documentElement.clientWidth + 1 && !scrolls(parent)) flaws.push(`sticks out: ${text}`);
      shown.push({ text, box, parent });
    }
    const style = getComputedStyle(parent);
    const cuts = ["hidden", "clip"].includes(style.overflowX) && parent.scrollWidth > parent.clientWidth + 1;
    if (cuts) flaws.push(`cut: ${text}`);
  }
  for (let i = 0; i < shown.length; i++) for (let j = i + 1; j < shown.length; j++) {
    const [a, b] = [shown[i], shown[j]];
    const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
    const high = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
    if (wide > 2 && high > 4 && !(scrolls(a.parent) || scrolls(b.parent))) flaws.push(`overlap: ${a.text} / ${b.text}`);
  }
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) flaws.push(`wider than its window: ${page.scrollWidth}`);
  return flaws;
}"""


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Chromium. Its driver has an event loop in this thread, in which Django would not ask a database."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield started
        started.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """A page on which nothing may go wrong: whatever Chromium's console says fails the test."""
    wrong: list[str] = []
    context = browser.new_context(viewport=DESKTOP, locale="en-US")
    page = context.new_page()

    def note(message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            wrong.append(f"{message.text} ({page.url})")

    page.on("console", note)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    context.close()
    assert wrong == []


def sign_in(page: "Page", url: str, password: str) -> None:
    """As the administrator of the samples."""
    page.goto(f"{url}/admin/login/?next=/admin/")
    page.locator("#id_username").fill("admin@example.com")
    page.locator("#id_password").fill(password)
    page.locator("[type=submit]").click()
    page.wait_for_url(lambda there: not there.startswith(f"{url}/admin/login/"))  # to the admin, or a second factor


def fits(page: "Page") -> bool:
    """Whether nothing sticks out to the right."""
    page.wait_for_load_state()
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def flaws(page: "Page") -> list[str]:
    """What is printed over something else, cut off, or sticks out."""
    page.wait_for_load_state()
    return page.evaluate(FLAWS)


def keep(page: "Page", name: str) -> None:
    """A picture of the whole page, for people to look at, where PICTURES names a folder for them."""
    if folder := os.environ.get("PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
