"""Staff's second factor: required on every way in once it is set up, and of all staff by a setting."""

import io
import re
from base64 import b32encode
from typing import Any

import pytest
from django.contrib import admin
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_otp.oath import totp
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from rest_framework.test import APIClient

from accounts import second_factor, services
from accounts.models import StaffAction, User

pytestmark = pytest.mark.django_db(databases=["accounts"])

PASSWORD, PAGE = "correct horse 7", "/account/second-factor"


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss@example.com", PASSWORD, name="Boss")


def code_of(device: TOTPDevice, drift: int = 0) -> str:
    return f"{totp(device.bin_key, drift=drift):06d}"


@pytest.fixture
def device(boss: User) -> TOTPDevice:
    return TOTPDevice.objects.create(user=boss, name="app", confirmed=True)


def by_api(otp: str = "", address: str = "10.0.0.1") -> Any:
    body = {"email": "boss@example.com", "password": PASSWORD} | ({"otp": otp} if otp else {})
    return APIClient(REMOTE_ADDR=address).post("/api/v1/auth/token", body)


def browser(user: User) -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)
    return client


def test_without_one_a_password_will_do(boss: User):
    assert by_api().status_code == 200
    assert browser(boss).get("/admin/accounts/user/").status_code == 200


def test_by_api_the_code_is_asked_for(device: TOTPDevice):
    refused = by_api()
    assert (refused.status_code, "`otp`" in refused.json()["detail"]) == (401, True)
    assert by_api("000000").status_code == 401
    TOTPDevice.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    assert by_api(code_of(device)).status_code == 200
    assert by_api(code_of(device)).status_code == 401  # once


def test_in_the_browser_nobody_is_signed_in_before(boss: User, device: TOTPDevice):
    client = browser(boss)
    for path in ("/admin/", "/admin/accounts/user/", "/console/dead-letters"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Location"].startswith(PAGE)) == (302, True), path
    assert client.get("/api/v1/users/me").status_code == 401
    assert "Signed in as" not in client.get("/").content.decode()
    assert client.post(PAGE, {"code": "000000"}).status_code == 400
    TOTPDevice.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    there = client.post(f"{PAGE}?next=/admin/accounts/user/", {"code": code_of(device)})
    assert (there.status_code, there.headers["Location"]) == (302, "/admin/accounts/user/")
    assert client.get("/admin/accounts/user/").status_code == 200
    assert client.get("/api/v1/users/me").status_code == 200
    assert "is set up" in client.get(PAGE).content.decode()
    assert Client().get(PAGE).headers["Location"].startswith("/admin/login/")


def test_it_leads_nowhere_else(boss: User, device: TOTPDevice):
    there = browser(boss).post(f"{PAGE}?next=https://evil.example/", {"code": code_of(device)})
    assert there.headers["Location"] == "/admin/"


def test_setting_one_up_ends_what_was_before_and_gives_recovery_codes(boss: User):
    before, client = services.issue(boss), browser(boss)
    page = client.get(PAGE).content.decode()
    picture = page[page.index("<svg") : page.index("</svg")]
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", picture)
    device = TOTPDevice.objects.get(confirmed=False)
    assert client.post(PAGE, {"code": "000000"}).status_code == 400
    TOTPDevice.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    shown = client.post(PAGE, {"code": code_of(device)}).content.decode()
    codes = re.findall(r"<li><code>(\w+)</code>", shown)
    assert len(codes) == second_factor.RECOVERY_CODES == StaticToken.objects.count()
    assert client.get("/admin/accounts/user/").status_code == 200
    assert APIClient().post("/api/v1/auth/token/refresh", {"refresh": before.refresh}).status_code == 401
    assert [by_api(codes[0]).status_code for _ in range(2)] == [200, 401]
    assert StaffAction.objects.filter(action="set up a second factor", target=f"user {boss.pk}").exists()


def test_wrong_codes_are_counted_though_the_password_is_right(device: TOTPDevice, settings: Any):
    settings.GUESSES_PER_ACCOUNT, settings.OTP_TOTP_THROTTLE_FACTOR = 3, 0
    assert [by_api("000000", f"10.0.0.{one}").status_code for one in range(4)] == [401, 401, 401, 429]
    assert by_api(code_of(device)).status_code == 429


def test_mistyped_codes_lock_no_recovery_code_and_no_app(boss: User, device: TOTPDevice, settings: Any):
    codes = second_factor._make_codes(boss)
    settings.GUESSES_PER_ACCOUNT = 0
    assert {by_api("000000").status_code for _ in range(20)} == {401}
    assert by_api(codes[0]).status_code == 200
    assert {by_api("mistyped").status_code for _ in range(20)} == {401}
    assert by_api(codes[1]).status_code == 200
    TOTPDevice.objects.update(throttling_failure_timestamp=None, throttling_failure_count=0)
    assert {by_api("mistyped").status_code for _ in range(20)} == {401}
    assert by_api(code_of(device)).status_code == 200


def test_wrong_recovery_codes_are_counted_as_well(boss: User, device: TOTPDevice, settings: Any):
    codes = second_factor._make_codes(boss)
    settings.GUESSES_PER_ACCOUNT = 3
    wrong = ["mistyped", "000000", "mistyped", "mistyped"]
    assert [by_api(one, f"10.0.0.{host}").status_code for host, one in enumerate(wrong)] == [401, 401, 401, 429]
    assert by_api(codes[0]).status_code == 429


def test_the_page_opened_twice_at_once_begins_one_app(boss: User):
    with CaptureQueriesContext(connections["accounts"]) as asked:
        second_factor.begin(boss)
    locked = ("accounts_user" in one["sql"] and "FOR UPDATE" in one["sql"] for one in asked.captured_queries)
    assert any(locked)


def test_two_begun_apps_do_not_close_the_page(boss: User):
    first, _second = (TOTPDevice.objects.create(user=boss, name="app", confirmed=False) for _ in range(2))
    client = browser(boss)
    assert b32encode(first.bin_key).decode() in client.get(PAGE).content.decode()
    assert client.post(PAGE, {"code": code_of(first)}).status_code == 200
    assert second_factor.has_app(boss)


def test_a_stranger_does_not_use_up_the_tries_of_a_code(boss: User, device: TOTPDevice, settings: Any):
    settings.GUESSES_PER_ACCOUNT = 1
    for email in (f"second factor of {boss.pk}", str(boss.pk)):  # what is counted, as if it were an account
        given = {"email": email, "password": "x"}
        assert [APIClient().post("/api/v1/auth/token", given).status_code for _ in range(3)] == [401, 429, 429]
    assert by_api(code_of(device)).status_code == 200


def test_all_staff_by_a_setting(boss: User, settings: Any):
    settings.STAFF_SECOND_FACTOR = True
    refused = by_api()
    assert (refused.status_code, PAGE in refused.json()["detail"]) == (403, True)
    client = browser(boss)
    assert client.get("/admin/").headers["Location"].startswith(PAGE)
    assert "<svg" in client.get(PAGE).content.decode()
    hana = services.sign_up(email="hana@example.com", password=PASSWORD, name="Hana")
    assert services.sign_in(email=hana.email, password=PASSWORD)
    assert browser(hana).get("/api/v1/users/me").status_code == 200


def test_who_has_lost_it(boss: User, device: TOTPDevice):
    finder, before = browser(boss), services.issue(boss)  # of the lost device, still signed in
    finder.post(PAGE, {"code": code_of(device)})
    assert finder.get("/admin/accounts/user/").status_code == 200
    call_command("secondfactor", "boss@example.com", stdout=io.StringIO())
    assert finder.get("/admin/accounts/user/").headers["Location"].startswith("/admin/login/")
    assert APIClient().post("/api/v1/auth/token/refresh", {"refresh": before.refresh}).status_code == 401
    assert by_api().status_code == 200
    entry = StaffAction.objects.get(action="reset the second factor")
    assert (entry.target, entry.way) == (f"user {boss.pk}", "secondfactor")
    with pytest.raises(CommandError, match="no user"):
        call_command("secondfactor", "who@example.com")
    clerk = User.objects.create(email="clerk@example.com", name="Clerk", is_staff=True)
    TOTPDevice.objects.create(user=clerk, confirmed=True)
    browser(User.objects.get(pk=boss.pk)).post(
        "/admin/accounts/user/", {"action": "reset_second_factor", "_selected_action": [clerk.pk]}
    )
    assert not TOTPDevice.objects.exists()


def test_keys_are_on_no_page_of_the_admin():
    assert not [model for model in admin.site._registry if model._meta.app_label.startswith("otp_")]
