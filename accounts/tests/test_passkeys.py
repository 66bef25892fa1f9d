"""Passkeys as a second factor: created and used by a signed-in user, and of no use to anybody else."""

import json
import re
from html import unescape
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp_webauthn.models import WebAuthnAttestation, WebAuthnCredential, WebAuthnUserHandle
from rest_framework.test import APIClient

from accounts import passkeys, second_factor, services
from accounts.models import StaffAction, User
from tests.support.authenticator import Authenticator

pytestmark = pytest.mark.django_db(databases=["accounts"])

PASSWORD, PAGE, ORIGIN = "correct horse 7", "/account/second-factor", "http://localhost:8080"
ADMIN = "/admin/accounts/user/"


@pytest.fixture(autouse=True)
def _here(settings: Any) -> None:
    settings.OTP_WEBAUTHN_RP_ID, settings.OTP_WEBAUTHN_ALLOWED_ORIGINS = "localhost", [ORIGIN]
    settings.ALLOWED_HOSTS = ["localhost", "testserver"]
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss@example.com", PASSWORD, name="Boss")


def browser(user: User) -> Client:
    client = Client(headers={"Accept": "text/html", "Host": "localhost:8080"})
    client.force_login(user)
    return client


def options(client: Client) -> dict[str, Any]:
    """What the page asks the browser for."""
    found = re.search(r'data-options="([^"]*)"', client.get(PAGE).content.decode())
    return json.loads(unescape(found[1])) if found else {}


def add(client: Client, key: Authenticator, name: str = "Phone") -> Any:
    return client.post(PAGE, {"passkey": key.make(options(client)), "name": name})


@pytest.fixture
def phone(boss: User) -> Authenticator:
    """A passkey of the boss, the only second factor."""
    key = Authenticator(ORIGIN)
    assert add(browser(boss), key).status_code == 200
    return key


def test_a_passkey_signs_in_where_a_password_does_not(boss: User, phone: Authenticator):
    client = browser(boss)
    assert client.get(ADMIN).headers["Location"].startswith(PAGE)
    assert client.get("/api/v1/users/me").status_code == 401
    there = client.post(f"{PAGE}?next={ADMIN}", {"passkey": phone.show(options(client))})
    assert (there.status_code, there.headers["Location"]) == (302, ADMIN)
    assert client.get(ADMIN).status_code == client.get("/api/v1/users/me").status_code == 200
    (kept,) = WebAuthnCredential.objects.all()
    assert (kept.name, kept.sign_count, kept.last_used_at is not None) == ("Phone", 1, True)


def test_adding_one_ends_what_was_before_and_gives_recovery_codes(boss: User):
    before, client = services.issue(boss), browser(boss)
    shown = add(client, Authenticator(ORIGIN), "  Phone  ").content.decode()
    codes = re.findall(r"<li><code>(\w+)</code>", shown)
    assert len(codes) == second_factor.RECOVERY_CODES
    assert client.get(ADMIN).status_code == 200
    assert APIClient().post("/api/v1/auth/token/refresh", {"refresh": before.refresh}).status_code == 401
    by_api = {"email": boss.email, "password": PASSWORD}
    assert APIClient().post("/api/v1/auth/token", by_api).status_code == 401
    assert APIClient().post("/api/v1/auth/token", by_api | {"otp": codes[0]}).status_code == 200
    assert add(client, Authenticator(ORIGIN), "Laptop").status_code == 302  # there are codes already
    assert [one.name for one in passkeys.of_user(boss)] == ["Phone", "Laptop"]
    entries = StaffAction.objects.filter(action="add a passkey").values_list("actor_id", "target", "way")
    assert list(entries) == [(boss.pk, f"user {boss.pk}", "console")] * 2


def test_who_has_not_shown_one_adds_none_and_changes_nothing(boss: User, phone: Authenticator):
    stranger = browser(boss)  # who knows the password
    key = Authenticator(ORIGIN)
    asked = options(stranger)
    asked["rp"] = {"id": asked["rpId"]}  # of showing one: there are none of adding
    for given in ({"passkey": key.make(asked), "name": "x"}, {"remove": "1"}, {"codes": "1"}, {"everywhere": "1"}):
        assert stranger.post(PAGE, given).status_code == 400
    assert (WebAuthnCredential.objects.count(), StaticToken.objects.count()) == (1, second_factor.RECOVERY_CODES)
    boss.is_verified = lambda: False  # type: ignore[attr-defined]  # as OTPMiddleware says it
    changes: dict[str, list[Any]] = {
        "remove": ["app"],
        "new_codes": [],
        "confirm": ["000000", None],
        "add_passkey": ["{}", "x", None],
    }
    for name, arguments in changes.items():
        with pytest.raises(PermissionDenied):
            getattr(second_factor, name)(boss, *arguments)


def test_an_answer_is_good_once_here_and_for_its_user(boss: User, phone: Authenticator):
    client = browser(boss)
    asked = options(client)
    answer = phone.show(asked)
    other = browser(boss)
    assert other.post(PAGE, {"passkey": answer}).status_code == 400  # another session has asked for nothing
    options(other)
    assert other.post(PAGE, {"passkey": answer}).status_code == 400  # for another challenge
    phone.origin = "http://evil.example"
    assert client.post(PAGE, {"passkey": phone.show(asked)}).status_code == 400
    phone.origin = ORIGIN
    assert client.post(PAGE, {"passkey": phone.show(asked)}).status_code == 400  # the challenge was used
    clerk = User.objects.create_superuser("clerk@example.com", PASSWORD, name="Clerk")
    add(browser(clerk), Authenticator(ORIGIN))
    assert browser(clerk).get(ADMIN).status_code == 302
    thief = browser(clerk)
    assert thief.post(PAGE, {"passkey": phone.show(options(thief))}).status_code == 400  # somebody else's
    count, phone.count = phone.count, 0  # a copy of it, which has not seen the last uses
    assert count > 1
    assert client.post(PAGE, {"passkey": phone.show(options(client))}).status_code == 302
    assert browser(boss).get(ADMIN).status_code == 302
    phone.count = 0
    again = browser(boss)
    assert again.post(PAGE, {"passkey": phone.show(options(again))}).status_code == 400


def test_a_passkey_is_registered_once(boss: User, phone: Authenticator):
    clerk = User.objects.create_superuser("clerk@example.com", PASSWORD, name="Clerk")
    assert add(browser(clerk), phone).status_code == 400
    assert not second_factor.is_set_up(clerk)


PARTS = ("clientDataJSON", "attestationObject", "authenticatorData", "signature")
BROKEN = [
    "", "null", "[]", "1", '"x"', "{", "[" * 9000, '{"id": 1}', '{"id": "x", "rawId": "x", "type": "public-key"}',
    '{"id": "YQ", "rawId": "YQ", "type": "public-key", "response": 1}',
    json.dumps({"id": "YQ", "rawId": "YQ", "type": "public-key", "response": dict.fromkeys(PARTS, "gA")}),
]  # fmt: skip


@pytest.mark.parametrize("answer", BROKEN)
def test_whatever_else_is_sent_is_no_passkey(boss: User, phone: Authenticator, answer: str):
    asked_for_one = browser(boss)
    options(asked_for_one)
    assert asked_for_one.post(PAGE, {"passkey": answer}).status_code == 400
    clerk = User.objects.create_superuser("clerk@example.com", PASSWORD, name="Clerk")
    may_add = browser(clerk)
    options(may_add)
    assert may_add.post(PAGE, {"passkey": answer, "name": "x"}).status_code == 400


@pytest.mark.parametrize(
    "part", ["gA", "AA", "/", "ok", "9" * 5000, "o2NmbXRkbm9uZWdhdHRTdG10oGhhdXRoRGF0YUA", 1, None, [], {}]
)
def test_no_part_of_an_answer_breaks_the_page(boss: User, part: Any):
    client, key = browser(boss), Authenticator(ORIGIN)
    for name in ("clientDataJSON", "attestationObject", "transports"):
        given = {"passkey": key.make(options(client), **{name: part}), "name": "x"}
        assert client.post(PAGE, given).status_code in ({400} if name != "transports" else {200, 302, 400})
        WebAuthnCredential.objects.all().delete()
    add(client, key)
    for name in ("clientDataJSON", "authenticatorData", "signature"):
        asking = browser(boss)
        assert asking.post(PAGE, {"passkey": key.show(options(asking), **{name: part})}).status_code == 400


@pytest.mark.parametrize(("count", "status"), [(2**31 - 1, 200), (2**32 - 1, 400)])
def test_a_count_that_no_column_holds_is_refused(boss: User, count: int, status: int):
    key = Authenticator(ORIGIN)
    key.count = count
    assert add(browser(boss), key).status_code == status


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\u3164", "x" * 65])
def test_names_are_text(boss: User, name: str):
    assert add(browser(boss), Authenticator(ORIGIN), name).status_code == 400


def test_wrong_answers_are_counted(boss: User, phone: Authenticator, settings: Any):
    settings.GUESSES_PER_ACCOUNT = 2
    client = browser(boss)
    assert [client.post(PAGE, {"passkey": "{}"}).status_code for _ in range(3)] == [400, 400, 429]
    assert client.post(PAGE, {"passkey": phone.show(options(client))}).status_code == 429


def test_nobody_has_more_than_a_few(boss: User, phone: Authenticator, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(second_factor, "PASSKEYS", 2)
    client = browser(boss)
    client.post(PAGE, {"passkey": phone.show(options(client))})
    late = Authenticator(ORIGIN).make(options(client))
    assert add(client, Authenticator(ORIGIN)).status_code == 302
    assert options(client) == {}
    assert client.post(PAGE, {"passkey": late, "name": "x"}).status_code == 400


def test_removing_the_last_takes_the_recovery_codes_along(boss: User, phone: Authenticator):
    client = browser(boss)
    client.post(PAGE, {"passkey": phone.show(options(client))})
    other = Authenticator(ORIGIN)
    add(client, other, "Laptop")
    first, second = passkeys.of_user(boss)
    for nonsense in ("0", "x", "9" * 30, f"{first.pk} ", "²"):
        client.post(PAGE, {"remove": nonsense})
    clerk = User.objects.create_superuser("clerk@example.com", PASSWORD, name="Clerk")
    browser(clerk).post(PAGE, {"remove": str(first.pk)})  # not theirs
    assert WebAuthnCredential.objects.count() == 2
    client.post(PAGE, {"remove": str(second.pk)})
    assert (StaticToken.objects.count(), client.get(ADMIN).status_code) == (second_factor.RECOVERY_CODES, 200)
    client.post(PAGE, {"remove": str(first.pk)})  # the one that was shown
    assert not StaticToken.objects.exists()
    assert not second_factor.is_set_up(boss)
    removed = StaffAction.objects.filter(action="remove a passkey").values_list("before", flat=True)
    assert list(removed) == [{"passkey": str(second.pk)}, {"passkey": str(first.pk)}]


def test_a_session_ends_with_its_passkey(boss: User, phone: Authenticator):
    here, there = browser(boss), browser(boss)
    for client in (here, there):
        client.post(PAGE, {"passkey": phone.show(options(client))})
    add(here, Authenticator(ORIGIN), "Laptop")
    here.post(PAGE, {"remove": str(passkeys.of_user(boss)[0].pk)})
    assert there.get(ADMIN).headers["Location"].startswith(PAGE)


def test_other_recovery_codes_replace_those_that_were(boss: User, phone: Authenticator):
    before = set(StaticToken.objects.values_list("token", flat=True))
    client = browser(boss)
    client.post(PAGE, {"passkey": phone.show(options(client))})
    shown = set(re.findall(r"<li><code>(\w+)</code>", client.post(PAGE, {"codes": "1"}).content.decode()))
    assert (len(shown), shown & before) == (second_factor.RECOVERY_CODES, set())
    assert set(StaticToken.objects.values_list("token", flat=True)) == shown
    assert StaffAction.objects.filter(action="make recovery codes").count() == 2


def test_on_another_address_there_are_none(boss: User, phone: Authenticator, settings: Any):
    settings.ALLOWED_HOSTS = ["*"]
    client = browser(boss)
    page = client.get(PAGE, headers={"Host": "10.0.0.5"}).content.decode()
    assert ("data-passkey" in page, f"{settings.PUBLIC_URL}{PAGE}" in page) == (False, True)


def test_who_has_lost_it_and_who_leaves(boss: User, phone: Authenticator):
    TOTPDevice.objects.create(user=boss, name="app")
    second_factor.reset(boss)
    for model in (WebAuthnCredential, WebAuthnAttestation, WebAuthnUserHandle, TOTPDevice, StaticToken):
        assert not model.objects.exists(), model
