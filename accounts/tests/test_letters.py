"""Confirming an address, and resetting a password, with links that work once and for a limited time."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import letters, services
from accounts.models import Letter, SignIn, StaffAction, User
from sagas.registry import TIMERS
from shop.calls import connect
from shop.contracts.accounts import ContactsService
from tests.support.locks import take_turns

pytestmark = pytest.mark.django_db(databases=["accounts"])

PASSWORD, OTHER = "correct horse 7", "wrong donkey 8"
CONFIRM, FORGOT, RESET = "/api/v1/auth/email/confirm", "/api/v1/auth/password/forgot", "/api/v1/auth/password/reset"


@pytest.fixture(autouse=True)
def _unthrottled(settings: Any) -> None:
    settings.THROTTLES = settings.THROTTLES | {"letters": 0}


@pytest.fixture
def hana() -> User:
    return services.sign_up(email="hana@example.com", password=PASSWORD, name="Hana")


@pytest.fixture
def verified(hana: User) -> User:
    Letter.objects.all().delete()
    hana.verified_at = timezone.now()
    hana.save()
    return hana


def mail() -> list[tuple[str, str, str]]:
    """Claim the letters that are due; return kind, address and token of each."""
    found = connect(ContactsService).claim_letters()
    connect(ContactsService).mark_letters_sent([one.id for one in found])
    return [(one.kind, one.email, one.token) for one in found]


def post(path: str, **body: str) -> int:
    return APIClient().post(path, body).status_code


def signed_in(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {services.issue(User.objects.get(pk=user.pk)).access}")
    return client


# --- Confirming an address --------------------------------------------------------------------------------------------
def test_who_signs_up_is_asked_to_confirm_the_address_and_is_sent_nothing_else(hana: User):
    client = signed_in(hana)
    assert client.get("/api/v1/users/me").json()["verified"] is False
    assert not connect(ContactsService).get_contacts([hana.pk])[hana.pk].verified
    ((kind, email, token),) = mail()
    assert (kind, email) == ("VERIFY", hana.email)
    assert post(CONFIRM, token=token, password=PASSWORD) == 204
    assert client.get("/api/v1/users/me").json()["verified"] is True
    assert connect(ContactsService).get_contacts([hana.pk])[hana.pk].verified
    assert post(CONFIRM, token=token, password=PASSWORD) == 404  # once
    assert mail() == []


@pytest.mark.parametrize("token", ["x", "x.y", "0b1c6f2e8d7a4f0f9a53c1f2a7b8d9e0.3mN5x", "김.김"])
def test_a_link_cannot_be_made_up(hana: User, token: str):
    assert post(CONFIRM, token=token, password=PASSWORD) == post(RESET, token=token, new=OTHER) == 404
    ((_, _, real),) = mail()
    assert post(CONFIRM, token=real[:-1], password=PASSWORD) == 404
    forged = letters._signer().sign("0" * 32)
    assert post(CONFIRM, token=forged, password=PASSWORD) == 404


def test_nothing_that_is_kept_is_a_link(hana: User):
    ((_, _, token),) = mail()
    assert token not in str(list(Letter.objects.values()))
    signature = token.partition(".")[2]
    assert signature not in str(list(Letter.objects.values()))


def test_a_link_expires(hana: User):
    ((_, _, token),) = mail()
    Letter.objects.update(expires_at=timezone.now())
    assert post(CONFIRM, token=token, password=PASSWORD) == 404


def test_a_link_for_a_password_confirms_nothing_by_itself(verified: User):
    post(FORGOT, email=verified.email)
    ((_, _, token),) = mail()
    assert post(CONFIRM, token=token, password=PASSWORD) == 404


def test_nobody_confirms_an_account_that_somebody_else_has_opened_with_their_address(hana: User, settings: Any):
    """The stranger knows its password, and would be in the account when its owner has confirmed it."""
    settings.GUESSES_PER_ACCOUNT = 2
    stranger = services.issue(hana)
    ((_, _, token),) = mail()
    assert post(CONFIRM, token=token) == 400
    assert [post(CONFIRM, token=token, password="guess") for _ in range(3)] == [401, 401, 429]
    assert not User.objects.get().verified_at
    assert post(RESET, token=token, new=OTHER) == 204  # by the same link
    assert User.objects.get().verified_at
    assert post("/api/v1/auth/token/refresh", refresh=stranger.refresh) == 401
    assert services.sign_in(email=hana.email, password=OTHER)


def test_it_is_sent_again_five_times_a_day_at_the_most(hana: User):
    client = signed_in(hana)
    assert [client.post("/api/v1/users/me/confirmation").status_code for _ in range(8)] == [202] * 8
    assert len(mail()) == letters.PER_DAY
    Letter.objects.update(created_at=timezone.now() - 2 * letters.A_DAY)
    assert client.post("/api/v1/users/me/confirmation").status_code == 202
    (*_, (_, _, token)) = mail()
    assert post(CONFIRM, token=token, password=PASSWORD) == 204
    client.post("/api/v1/users/me/confirmation")
    assert mail() == []
    assert APIClient().post("/api/v1/users/me/confirmation").status_code == 401


def test_what_is_not_sent_is_given_out_again_after_a_pause(hana: User):
    assert len(letters.claim()) == 1
    assert letters.claim() == []
    Letter.objects.update(due_at=timezone.now())
    assert len(letters.claim()) == 1
    assert Letter.objects.get().due_at > timezone.now() + timedelta(seconds=90)


def test_letters_for_addresses_without_an_account_hold_up_no_other(verified: User):
    for number in range(letters.PORTION + 1):
        letters.forgot(f"nobody{number}@example.com")
    letters.forgot(verified.email)
    assert [email for _, email, _ in mail()] == [verified.email]
    assert mail() == []


def test_another_address_is_confirmed_anew(verified: User):
    boss = User.objects.create_superuser("boss@example.com", PASSWORD, name="Boss")
    assert boss.verified_at
    browser = Client()
    browser.force_login(boss)
    page = f"/admin/accounts/user/{verified.pk}/change/"
    form = browser.get(page).context["adminform"].form
    given = {name: value for name, value in form.initial.items() if value not in (None, [], False)} | {
        "email": "other@example.com", "is_active": "on", "seen": form["seen"].value(),
    }  # fmt: skip
    assert browser.post(page, given).status_code == 302
    assert User.objects.get(pk=verified.pk).verified_at is None
    ((kind, email, token),) = mail()
    assert (kind, email) == ("VERIFY", "other@example.com")
    User.objects.filter(pk=verified.pk).update(email="third@example.com")
    assert post(CONFIRM, token=token, password=PASSWORD) == 401  # it was for another address


def test_staff_see_it_and_can_verify_by_hand(hana: User):
    browser = Client()
    browser.force_login(User.objects.create_superuser("boss@example.com", PASSWORD, name="Boss"))
    listed = "/admin/accounts/user/?verified_at__isempty=1"
    assert hana.email in browser.get(listed).content.decode()
    browser.post("/admin/accounts/user/", {"action": "verify", "_selected_action": [hana.pk]})
    assert User.objects.get(pk=hana.pk).verified_at
    assert hana.email not in browser.get(listed).content.decode()
    assert StaffAction.objects.filter(action="verify the address", target=f"user {hana.pk}").exists()


def test_seeded_users_are_verified():
    services.seed_users([{"email": "one@example.com", "name": "One"}], password=PASSWORD)
    assert User.objects.get().verified_at
    assert mail() == []


# --- Another password -------------------------------------------------------------------------------------------------
def test_another_password_by_mail_ends_everything_else(verified: User):
    pair = services.issue(verified)
    browser = Client()
    browser.force_login(verified)
    assert post(FORGOT, email="HANA@example.com") == 202
    ((kind, email, token),) = mail()
    assert (kind, email) == ("RESET", verified.email)
    assert post(RESET, token=token, new="12345678") == 400  # easily guessed; the link stays good
    assert post(RESET, token=token, new=OTHER) == 204
    assert post(RESET, token=token, new=PASSWORD) == 404
    assert post("/api/v1/auth/token/refresh", refresh=pair.refresh) == 401
    assert browser.get("/api/v1/users/me").status_code == 401
    assert not SignIn.objects.filter(ended_at=None)
    assert services.sign_in(email=verified.email, password=OTHER)


def test_of_two_links_the_second_is_good_for_nothing(verified: User):
    post(FORGOT, email=verified.email)
    post(FORGOT, email=verified.email)
    (_, _, one), (_, _, two) = mail()
    assert (post(RESET, token=one, new=OTHER), post(RESET, token=two, new=PASSWORD)) == (204, 404)


@pytest.mark.django_db(databases=["accounts"], transaction=True)
def test_two_links_that_are_used_at_once_do_not_deadlock(verified: User):
    for _ in range(2):
        letters.forgot(verified.email)
    (_, _, one), (_, _, two) = mail()
    with pytest.raises(letters.InvalidLink):
        take_turns(
            "accounts",
            lambda: User.objects.select_for_update().get(),
            lambda: letters.reset(two, OTHER),
            lambda: letters._use(one, letters.RESET),
        )


def test_nobody_learns_whether_there_is_an_account(verified: User, django_assert_num_queries: Any):
    queries = []
    for email in (verified.email, "nobody@example.com"):
        with django_assert_num_queries(4, using="accounts") as counted:
            assert post(FORGOT, email=email) == 202
        queries.append([re.sub(r"s\d+_x\d+", "…", one["sql"].replace(email, "…")) for one in counted.captured_queries])
    assert queries[0] == queries[1]
    assert [email for _, email, _ in mail()] == [verified.email]
    assert not Letter.objects.filter(email="nobody@example.com").exists()


def test_who_has_not_confirmed_is_asked_to_do_that_first(hana: User):
    mail()
    post(FORGOT, email=hana.email)
    assert [kind for kind, _, _ in mail()] == ["VERIFY"]


def test_who_is_locked_out_gets_nothing(verified: User):
    post(FORGOT, email=verified.email)
    ((_, _, token),) = mail()
    User.objects.update(is_active=False)
    assert post(RESET, token=token, new=OTHER) == 404
    post(FORGOT, email=verified.email)
    assert mail() == []


def test_asking_for_another_password_makes_it_no_more_than_five(hana: User):
    found = mail()
    for _ in range(3):
        assert [post(FORGOT, email=hana.email) for _ in range(7)] == [202] * 7
        found += mail()  # claimed between, when each turns into one that asks for the confirmation
    assert [kind for kind, _, _ in found] == ["VERIFY"] * letters.PER_DAY


def test_another_password_by_mail_is_good_at_once_though_somebody_guessed(verified: User, settings: Any):
    settings.GUESSES_PER_ACCOUNT = 1
    post(FORGOT, email=verified.email)
    ((_, _, token),) = mail()
    given = {"email": verified.email, "password": "guess"}
    strangers = [APIClient(REMOTE_ADDR=f"10.0.0.{one}").post("/api/v1/auth/token", given) for one in range(3)]
    assert [one.status_code for one in strangers] == [401, 429, 429]
    assert post(RESET, token=token, new=OTHER) == 204
    assert services.sign_in(email=verified.email, password=OTHER)


def test_a_recipient_gets_five_a_day(verified: User):
    assert [post(FORGOT, email=verified.email) for _ in range(7)] == [202] * 7
    assert len(mail()) == letters.PER_DAY


def test_a_stranger_who_asks_for_all_letters_and_guesses_keeps_nobody_out(verified: User, settings: Any):
    settings.GUESSES_PER_ACCOUNT = 1
    for _ in range(2):
        for _ in range(letters.PER_DAY):
            post(FORGOT, email=verified.email)
        *_, (_, _, token) = mail()
        Letter.objects.filter(used_at=None).update(
            created_at=F("created_at") - timedelta(hours=23), expires_at=F("expires_at") - timedelta(hours=23)
        )
        post(FORGOT, email=verified.email)
        assert mail() == []  # but one of the others is good
        given = {"email": verified.email, "password": "guess"}
        assert [post("/api/v1/auth/token", **given) for _ in range(2)] == [401, 429]
        assert post(RESET, token=token, new=OTHER) == 204
        assert services.sign_in(email=verified.email, password=OTHER)


# --- Pages ------------------------------------------------------------------------------------------------------------
def test_the_page_confirms_when_its_button_is_pressed(hana: User):
    ((_, _, token),) = mail()
    browser, path = Client(headers={"Accept": "text/html"}), f"/account/verify?token={token}&lang=ko"
    page = browser.get(path)
    assert (page.status_code, "이메일 주소 확인" in page.content.decode()) == (200, True)
    assert not User.objects.get().verified_at  # a scanner that opens the link changes nothing
    assert "no-store" in page.headers["Cache-Control"]
    assert f"/account/reset?token={token}" in page.content.decode()
    assert "계정의 비밀번호가 아닙니다" in browser.post(path, {"password": "guess"}).content.decode()
    assert "확인되었습니다" in browser.post(path, {"password": PASSWORD}).content.decode()
    assert User.objects.get().verified_at
    assert browser.post(path, {"password": PASSWORD}).status_code == 400
    assert Client(enforce_csrf_checks=True).post(path).status_code == 403


def test_the_page_does_not_call_a_right_password_wrong_after_too_many_guesses(hana: User, settings: Any):
    settings.GUESSES_PER_ACCOUNT = 1
    ((_, _, token),) = mail()
    browser, path = Client(headers={"Accept": "text/html"}), f"/account/verify?token={token}"
    assert browser.post(path, {"password": "guess"}).status_code == 400
    locked = browser.post(path, {"password": PASSWORD})
    assert (locked.status_code, "too many wrong passwords" in locked.content.decode()) == (429, True)


def test_the_pages_set_another_password(verified: User):
    browser = Client(headers={"Accept": "text/html"})
    too_long_in_ascii = f"{'a' * 60}@{'.'.join(['가나다라마바사아자차카타파하'] * 5)}.kr"
    for wrong in ("no address", too_long_in_ascii):
        assert browser.post("/account/forgot", {"email": wrong}).status_code == 400
    assert "on its way" in browser.post("/account/forgot", {"email": verified.email}).content.decode()
    ((_, _, token),) = mail()
    path = f"/account/reset?token={token}"
    assert "New password" in browser.get(path).content.decode()
    weak = browser.post(path, {"new": "12345678"})
    assert (weak.status_code, "too common" in weak.content.decode()) == (400, True)
    assert browser.post(path, {"new": OTHER}).status_code == 200
    assert User.objects.get().check_password(OTHER)
    assert "not valid" in browser.post(path, {"new": OTHER}).content.decode()


# --- Over -------------------------------------------------------------------------------------------------------------
def test_letters_are_purged(verified: User):
    post(FORGOT, email=verified.email)
    mail()
    assert TIMERS["accounts.purge"]() == 0
    Letter.objects.update(sent_at=None, expires_at=timezone.now() - letters.A_DAY - timedelta(seconds=1))
    assert TIMERS["accounts.purge"]() == 1
    assert not Letter.objects.exists()
