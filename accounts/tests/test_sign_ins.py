"""Staying signed in: what ends it, how long staff's tokens are good, and how often a password may be guessed."""

from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import guesses, services
from accounts.models import Guess, SignIn, User

pytestmark = pytest.mark.django_db(databases=["accounts"])

PASSWORD, OTHER = "correct horse 7", "wrong donkey 8"
REFRESH = "/api/v1/auth/token/refresh"


@pytest.fixture
def hana() -> User:
    return services.sign_up(email="hana@example.com", password=PASSWORD, name="Hana")


def signed_in(user: User) -> services.TokenPair:
    return services.issue(User.objects.get(pk=user.pk))


def refreshed(token: str) -> int:
    return APIClient().post(REFRESH, {"refresh": token}).status_code


def client_with(pair: services.TokenPair) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {pair.access}")
    return client


# --- What ends it -----------------------------------------------------------------------------------------------------
def change_password(user: User) -> None:
    user.set_password(OTHER)
    user.save()


def lock_and_unlock(user: User) -> None:
    for active in (False, True):
        user.is_active = active
        user.save()


CHANGES = {
    "another password": change_password,
    "a lock, though it was taken off again": lock_and_unlock,
    "locked by a statement": lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
    "made staff": lambda user: User.objects.filter(pk=user.pk).update(is_staff=True),
    "signed out everywhere": lambda user: services.sign_out_everywhere(user.pk),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_refresh_token_from_before_is_refused(hana: User, change: str):
    pair = signed_in(hana)
    assert refreshed(signed_in(hana).refresh) == 200
    CHANGES[change](hana)
    assert refreshed(pair.refresh) == 401
    assert not SignIn.objects.filter(
        ended_at=None, pk=jwt.decode(pair.refresh, options={"verify_signature": False})["sid"]
    )


def test_another_group_is_another_role(hana: User):
    User.objects.filter(pk=hana.pk).update(is_staff=True)
    pair = signed_in(hana)
    hana.groups.add(Group.objects.create(name="clerks"))
    assert refreshed(pair.refresh) == 401


# --- Used twice -------------------------------------------------------------------------------------------------------
def test_who_comes_with_a_used_one_ends_the_sign_in_for_both(hana: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(services, "GRACE", timedelta(0))
    stolen = signed_in(hana).refresh
    thiefs = services.refresh(token=stolen).refresh
    assert refreshed(stolen) == 401  # the victim's
    assert refreshed(thiefs) == 401
    assert SignIn.objects.get().ended_at is not None


def test_two_tabs_refresh_at_once(hana: User):
    first = signed_in(hana).refresh
    one, two = services.refresh(token=first), services.refresh(token=first)
    assert refreshed(one.refresh) == refreshed(two.refresh) == 200  # both have the same turn
    assert SignIn.objects.get().turn == 2


def test_five_tabs_too_and_what_each_got_is_good(hana: User):
    first = signed_in(hana).refresh
    pairs = [services.refresh(token=first) for _ in range(5)]
    assert len({jwt.decode(pair.refresh, options={"verify_signature": False})["turn"] for pair in pairs}) == 1
    assert [client_with(pair).get("/api/v1/users/me").status_code for pair in pairs] == [200] * 5
    assert refreshed(pairs[4].refresh) == refreshed(pairs[0].refresh) == 200


def test_one_that_is_two_turns_old_is_no_tab(hana: User):
    first = signed_in(hana).refresh
    latest = services.refresh(token=services.refresh(token=first).refresh).refresh
    assert refreshed(first) == 401
    assert refreshed(latest) == 401


def test_sign_ins_do_not_end_each_other(hana: User):
    phone, desk = signed_in(hana), signed_in(hana)
    services.sign_out(token=phone.refresh)
    assert (refreshed(phone.refresh), refreshed(desk.refresh)) == (401, 200)


def test_no_token_is_kept(hana: User):
    pair = signed_in(hana)
    with connections["accounts"].cursor() as cursor:
        cursor.execute("SELECT * FROM accounts_signin")
        assert pair.refresh not in str(cursor.fetchall())
        cursor.execute("SELECT to_regclass('token_blacklist_outstandingtoken')")
        assert cursor.fetchone() == (None,)
    assert not [model for model in admin.site._registry if "token" in model._meta.label_lower]


# --- Everywhere, and the password -------------------------------------------------------------------------------------
def test_signing_out_everywhere_ends_sessions_too(hana: User):
    browser = APIClient()
    browser.force_login(hana)
    pairs = [signed_in(hana), signed_in(hana)]
    assert client_with(pairs[0]).post("/api/v1/auth/sign-out-everywhere").status_code == 204
    assert [refreshed(pair.refresh) for pair in pairs] == [401, 401]
    assert browser.get("/api/v1/users/me").status_code == 401
    assert APIClient().post("/api/v1/auth/sign-out-everywhere").status_code == 401


def test_changing_the_password_keeps_who_changed_it(hana: User):
    mine, other = signed_in(hana), signed_in(hana)
    browser = APIClient()
    browser.force_login(hana)
    path, client = "/api/v1/users/me/password", client_with(mine)
    assert client.post(path, {"old": "no", "new": OTHER}).status_code == 401
    assert client.post(path, {"old": PASSWORD, "new": "12345678"}).json()["errors"][0]["field"] == "new"
    answer = client.post(path, {"old": PASSWORD, "new": OTHER})
    assert answer.status_code == 200
    assert refreshed(answer.json()["refresh"]) == 200
    assert (refreshed(mine.refresh), refreshed(other.refresh)) == (401, 401)
    assert browser.get("/api/v1/users/me").status_code == 401
    assert services.sign_in(email=hana.email, password=OTHER)


def test_who_knows_the_old_password_does_not_undo_what_was_set_meanwhile(hana: User, monkeypatch: pytest.MonkeyPatch):
    def owner_is_faster(*_args: Any, **_options: Any) -> None:
        change_password(User.objects.get(pk=hana.pk))

    monkeypatch.setattr(services, "check_password", owner_is_faster)
    with pytest.raises(services.WrongCredentials):
        services.change_password(hana.pk, old=PASSWORD, new="a thief's 9")
    assert services.sign_in(email=hana.email, password=OTHER)


def test_nor_does_the_form_of_the_admin(hana: User, monkeypatch: pytest.MonkeyPatch):
    User.objects.filter(pk=hana.pk).update(is_staff=True)
    browser = Client()
    browser.force_login(User.objects.get(pk=hana.pk))

    def rights_are_taken(**_given: Any) -> User:
        User.objects.filter(pk=hana.pk).update(is_staff=False)
        return hana

    monkeypatch.setattr("console.admin_password.authenticate", rights_are_taken)
    form = {"old_password": PASSWORD, "new_password1": OTHER, "new_password2": OTHER}
    assert browser.post("/admin/password_change/", form).status_code == 403
    kept = User.objects.get(pk=hana.pk)
    assert (kept.is_staff, kept.check_password(PASSWORD)) == (False, True)


# --- Staff ------------------------------------------------------------------------------------------------------------
def test_what_was_taken_from_staff_is_gone_within_a_minute(hana: User):
    def lifetime() -> int:
        claims = jwt.decode(signed_in(hana).access, options={"verify_signature": False})
        return claims["exp"] - claims["iat"]

    assert lifetime() == 900
    User.objects.filter(pk=hana.pk).update(is_staff=True)
    assert lifetime() == 60


# --- Guessing ---------------------------------------------------------------------------------------------------------
def by_api(password: str, address: str, email: str = "hana@example.com") -> Any:
    return APIClient(REMOTE_ADDR=address).post("/api/v1/auth/token", {"email": email, "password": password})


def by_form(path: str, password: str, address: str) -> bool:
    """Whether a form lets somebody in."""
    form = {"username": "hana@example.com", "password": password}
    return Client(REMOTE_ADDR=address).post(path, form).status_code == 302


@pytest.mark.parametrize("path", ["/admin/login/", "/api-auth/login/"])
def test_guessing_on_a_form_ends(hana: User, path: str, settings: Any):
    settings.GUESSES_PER_ACCOUNT = 3
    User.objects.filter(pk=hana.pk).update(is_staff=True)
    assert by_form(path, PASSWORD, "10.0.0.1")
    assert not any(by_form(path, f"guess {one}", f"10.0.1.{one}") for one in range(3))
    assert not by_form(path, PASSWORD, "10.0.0.2")
    assert by_api(PASSWORD, "10.0.0.3").status_code == 429  # counted for all forms together


def test_guessing_the_old_password_in_the_admin_ends(hana: User, settings: Any):
    settings.GUESSES_PER_ACCOUNT = 3
    User.objects.filter(pk=hana.pk).update(is_staff=True)
    browser, path = Client(), "/admin/password_change/"
    browser.force_login(hana)
    wanted = {"new_password1": OTHER, "new_password2": OTHER}
    tries = [browser.post(path, wanted | {"old_password": old}) for old in ("a", "b", "c", PASSWORD)]
    assert [answer.status_code for answer in tries] == [200] * 4  # the form again
    Guess.objects.all().delete()
    done = browser.post(path, wanted | {"old_password": PASSWORD})
    assert (done.status_code, done.headers["Location"]) == (302, "/admin/password_change/done/")
    assert browser.get("/admin/accounts/user/").status_code != 302  # still signed in
    assert User.objects.get(pk=hana.pk).check_password(OTHER)
    assert not Guess.objects.exists()


def test_guessing_by_api_ends_by_account_and_by_address(hana: User, settings: Any):
    settings.GUESSES_PER_ACCOUNT, settings.GUESSES_PER_ADDRESS = 3, 5
    assert [by_api("guess", f"10.0.0.{one}").status_code for one in range(4)] == [401, 401, 401, 429]
    refused = by_api(PASSWORD, "10.0.0.9")
    assert (refused.status_code, refused.json()["code"]) == (429, "C007")
    assert 0 < int(refused.headers["Retry-After"]) <= 900
    accounts = [by_api("guess", "10.0.2.1", f"user{one}@example.com").status_code for one in range(7)]
    assert accounts == [401] * 5 + [429] * 2


def test_an_ipv6_network_is_one_address(settings: Any):
    settings.GUESSES_PER_ADDRESS = 2
    tried = [by_api("guess", f"2001:db8::{one}", f"user{one}@example.com").status_code for one in range(1, 5)]
    assert tried == [401, 401, 429, 429]
    assert by_api("guess", "2001:db8:0:1::1", "user5@example.com").status_code == 401


def test_what_is_refused_costs_no_hash(hana: User, settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.GUESSES_PER_ACCOUNT = 1
    by_api("guess", "10.0.0.1")
    monkeypatch.setattr(User, "check_password", None)  # would raise
    assert by_api("guess", "10.0.0.1").status_code == 429


def test_a_right_password_is_no_guess(hana: User, settings: Any):
    settings.GUESSES_PER_ACCOUNT, settings.GUESSES_PER_ADDRESS = 2, 2
    for _ in range(5):
        assert by_api(PASSWORD, "10.0.0.1").status_code == 200
    assert by_api("guess", "10.0.0.1").status_code == 401
    assert by_api(PASSWORD, "10.0.0.1").status_code == 200


def test_counting_starts_again(hana: User, settings: Any):
    settings.GUESSES_PER_ACCOUNT = 1
    by_api("guess", "10.0.0.1")
    Guess.objects.update(since=timezone.now() - guesses.WINDOW)
    assert by_api(PASSWORD, "10.0.0.1").status_code == 200
    assert "hana" not in str(list(Guess.objects.values()))


@pytest.mark.parametrize("limit", [0])
def test_no_limit(hana: User, settings: Any, limit: int):
    settings.GUESSES_PER_ACCOUNT = settings.GUESSES_PER_ADDRESS = limit
    assert [by_api("guess", "10.0.0.1").status_code for _ in range(30)] == [401] * 30


# --- What is over is deleted ------------------------------------------------------------------------------------------
@pytest.mark.django_db(databases=["accounts", "orders", "inventory", "payments", "delivery", "notifications"])
def test_what_is_over_is_purged(hana: User):
    month = timedelta(days=30)
    for _ in range(3):
        signed_in(hana)
    old, ended, good = SignIn.objects.order_by("created_at", "pk")
    SignIn.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    SignIn.objects.filter(pk=ended.pk).update(ended_at=timezone.now() - month)
    Session.objects.create(session_key="old", session_data="", expire_date=timezone.now() - month)
    Session.objects.create(session_key="new", session_data="", expire_date=timezone.now() + month)
    Guess.objects.create(key="x", count=1, since=timezone.now() - month)
    call_command("purge")
    assert list(SignIn.objects.all()) == [good]
    assert [one.session_key for one in Session.objects.all()] == ["new"]
    assert not Guess.objects.exists()
