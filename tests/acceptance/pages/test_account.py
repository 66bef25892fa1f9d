"""The pages of one's own account, in Chromium: what letters lead to, and the second factor, with passkeys of an
authenticator that Chromium plays itself."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp_webauthn.models import WebAuthnCredential
from playwright.sync_api import Browser, Page, expect

from accounts.models import StaffAction, User
from accounts.services import LocalContacts, sign_up
from notifications import letters
from shop.calls import substituting
from shop.contracts.accounts import ContactsService
from tests.acceptance.pages.conftest import PASSWORD
from tests.conftest import SERVICES
from tests.support.chromium import DESKTOP, PHONE, flaws, keep, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(databases=SERVICES, transaction=True)]

FACTOR, OTHER = "/account/second-factor", "wrong donkey 8"


@pytest.fixture
def account(shop: Any, page: Page, settings: Any) -> Page:
    settings.PUBLIC_URL, settings.OTP_WEBAUTHN_ALLOWED_ORIGINS = shop.url, [shop.url]
    settings.THROTTLES = settings.THROTTLES | {"letters": 0}
    return page


def look(page: Page, name: str) -> None:
    """At the widths of a desk and of a phone."""
    for width, size in (("phone", PHONE), ("desk", DESKTOP)):
        page.set_viewport_size(size)
        keep(page, f"account-{name}-{width}")
        assert flaws(page) == [], name


def link_in(mailoutbox: Any) -> str:
    with substituting(ContactsService, LocalContacts()):
        letters.send_due()
    return re.search(r"http\S+", mailoutbox.pop().body)[0]  # type: ignore[index]


def test_an_address_is_confirmed_and_another_password_set(shop: Any, account: Page, mailoutbox: Any):
    sign_up(email="hana@example.com", password=PASSWORD, name="Hana", language="en")
    account.goto(link_in(mailoutbox))
    look(account, "verify")
    account.get_by_label("Password").fill(PASSWORD)
    account.get_by_role("button", name="Confirm").click()
    expect(account.get_by_role("status")).to_contain_text("your address is confirmed")
    assert User.objects.get(email="hana@example.com").verified_at

    account.goto(f"{shop.url}/account/forgot")
    look(account, "forgot")
    account.get_by_label("E-mail address").fill("hana@example.com")
    account.get_by_role("button", name="Send the link").click()
    expect(account.get_by_role("status")).to_contain_text("an e-mail is on its way")
    account.goto(link := link_in(mailoutbox))
    account.get_by_label("New password").fill(OTHER)
    look(account, "reset")
    account.get_by_role("button", name="Set it").click()
    expect(account.get_by_role("status")).to_contain_text("Your password has been changed")
    assert User.objects.get(email="hana@example.com").check_password(OTHER)
    account.goto(f"{shop.url}{urlsplit(link).path}?lang=ko")
    expect(account.get_by_role("heading", name="새 비밀번호 설정")).to_be_visible()
    look(account, "reset-ko")


def test_a_second_factor_from_the_first_code_to_signing_out_everywhere(shop: Any, account: Page, browser: Browser):
    def sign_in_again() -> None:
        account.get_by_role("button", name="Sign out").first.click()
        sign_in(account, shop.url, PASSWORD)
        expect(account.get_by_role("heading", name="Second factor")).to_be_visible()
        assert urlsplit(account.url).path == FACTOR  # led there from the admin

    def has_passkey(name: str) -> Any:
        return account.get_by_role("listitem").filter(has_text=name)

    sign_in(account, shop.url, PASSWORD)
    account.get_by_role("link", name="Second factor").click()
    look(account, "factor-none")
    device = TOTPDevice.objects.get(confirmed=False)
    account.get_by_label("Code").fill(f"{totp(device.bin_key):06d}")
    account.get_by_role("button", name="Go on").click()
    expect(account.locator("ul.codes li")).to_have_count(10)
    codes = account.locator("ul.codes li").all_inner_texts()
    look(account, "factor-codes")
    account.get_by_role("link", name="I have kept them").click()

    account.goto(f"{shop.url}/console/orders")
    sign_in_again()
    look(account, "factor-code")
    account.get_by_label("Code").fill(codes[0])
    account.get_by_role("button", name="Go on").click()
    expect(account.get_by_role("heading", name="Today", exact=True)).to_be_visible()

    authenticator = account.context.new_cdp_session(account)
    authenticator.send("WebAuthn.enable")
    virtual = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    virtual |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    authenticator.send("WebAuthn.addVirtualAuthenticator", {"options": virtual})
    account.goto(f"{shop.url}{FACTOR}")
    account.get_by_label("Name").fill("  Laptop ")
    account.get_by_role("button", name="Add a passkey").click()
    expect(has_passkey("Laptop")).to_contain_text("never used")
    look(account, "factor-passkey")
    account.get_by_label("Name").fill("Laptop again")
    account.get_by_role("button", name="Add a passkey").click()  # the authenticator has one of this user already
    expect(account.get_by_role("alert")).to_contain_text("That did not work")

    account.goto(f"{shop.url}/console/orders")
    sign_in_again()
    look(account, "factor-show")
    account.get_by_role("button", name="Use a passkey").click()
    expect(account.get_by_role("heading", name="Today", exact=True)).to_be_visible()
    account.goto(f"{shop.url}{FACTOR}?lang=ko")
    expect(has_passkey("Laptop")).to_contain_text("마지막 사용")
    look(account, "factor-ko")
    account.goto(f"{shop.url}{FACTOR}?lang=en")
    account.get_by_role("button", name="Remove: Authenticator app").click()
    expect(account.get_by_label("Code")).to_be_visible()  # of another app
    assert not TOTPDevice.objects.filter(confirmed=True).exists()

    elsewhere = browser.new_context(locale="en-US").new_page()
    sign_in(elsewhere, shop.url, PASSWORD)
    elsewhere.get_by_label("Code").fill(codes[1])
    elsewhere.get_by_role("button", name="Go on").click()
    expect(elsewhere.get_by_role("heading", name="Today", exact=True)).to_be_visible()
    account.get_by_role("button", name="Sign out everywhere").click()
    expect(account.locator("#id_username")).to_be_visible()
    elsewhere.reload()
    expect(elsewhere.locator("#id_username")).to_be_visible()
    elsewhere.context.close()

    sign_in(account, shop.url, PASSWORD)
    account.get_by_role("button", name="Use a passkey").click()
    expect(account.get_by_role("heading", name="Today", exact=True)).to_be_visible()
    account.goto(f"{shop.url}{FACTOR}")
    account.get_by_role("button", name="Remove: Laptop").click()
    expect(account.get_by_role("button", name="Remove")).to_have_count(0)
    assert not WebAuthnCredential.objects.exists()
    boss = User.objects.get(email="admin@example.com")
    done = StaffAction.objects.filter(target=f"user {boss.pk}", actor_id=boss.pk).values_list("action", "way")
    assert {
        ("set up a second factor", "console"),
        ("add a passkey", "console"),
        ("remove the app", "console"),
        ("remove a passkey", "console"),
    } <= set(done)
