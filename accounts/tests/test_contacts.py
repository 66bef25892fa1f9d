"""Mailboxes and phone numbers: one account for one mailbox, and nothing kept that cannot be reached."""

from unicodedata import normalize

import pytest
from rest_framework.test import APIClient

from accounts import services
from accounts.contacts import mailbox, phone_number
from accounts.models import User

pytestmark = pytest.mark.django_db(databases=["accounts"])

PASSWORD = "correct horse 7"
HOME = "hong@xn--3e0b707e.kr"
SPELLINGS = [
    "hong@한국.kr",
    normalize("NFD", "hong@한국.kr"),
    "hong@xn--3e0b707e.kr",
    "HONG@XN--3E0B707E.KR",
    "Hong@한국.KR",
    " hong@한국.kr ",
    "hong@한국。kr",  # as a Korean keyboard may have it
]


@pytest.fixture(autouse=True)
def _as_often_as_one_likes(settings):
    settings.THROTTLES = dict.fromkeys(settings.THROTTLES, 0)


def sign_up(**change: str) -> tuple[int, str]:
    body = {"email": "hong@example.com", "password": PASSWORD, "name": "홍길동"} | change
    answer = APIClient().post("/api/v1/users", body)
    if answer.status_code == 201:
        return 201, ""
    errors = answer.json()["errors"]
    return answer.status_code, errors[0]["field"] if errors else answer.json()["code"]


# --- Mailboxes --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("first", SPELLINGS)
def test_one_mailbox_opens_one_account(first: str):
    assert sign_up(email=first)[0] == 201
    assert User.objects.get().email == HOME
    for spelling in SPELLINGS:
        assert sign_up(email=spelling) == (409, "U002")
        assert services.sign_in(email=spelling, password=PASSWORD)
        assert User.objects.get(email=spelling) == User.objects.get_by_natural_key(spelling)
    assert User.objects.count() == 1


def test_somebody_is_found_by_any_spelling():
    services.sign_up(email=HOME, password=PASSWORD, name="홍길동")
    client = APIClient()
    client.force_authenticate(User.objects.get())
    for spelling in SPELLINGS:
        assert [one["email"] for one in client.get("/api/v1/users", {"email": spelling}).json()["results"]] == [HOME]


@pytest.mark.parametrize(
    "address",
    [
        "\u0130van@example.com",
        "\u017feoul@example.com",
        "홍길동@example.com",
        '"\x01"@example.com',
        '"a b"@example.com',
        "a@[127.0.0.1]",
        "a@한국",
        "a@-한국.kr",
        "a@" + "한" * 200 + ".kr",
        "a" * 250 + "@example.com",
        "nobody",
        "@example.com",
        "",
        "\u3164",
        "a\n@example.com",
    ],
)
def test_what_is_no_mailbox(address: str):
    assert sign_up(email=address) == (400, "email")
    assert User.objects.count() == 0


def test_what_is_no_address_stays_as_it_is():
    for text in ("nobody", "İ@example.com", "a@" + "한." * 100_000, "@", ""):
        assert mailbox(text) == text


# --- Phones -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("(02)123-4567", "+8221234567"),
        ("010-1234-5678", "+821012345678"),
        ("01012345678", "+821012345678"),
        ("+82 10 1234 5678", "+821012345678"),
        ("0\uff110-1234-5678", "+821012345678"),
        ("+1 212 555 0123", "+12125550123"),
        (" 010 1234 5678 ", "+821012345678"),
        ("", ""),
    ],
)
def test_a_phone_is_kept_as_networks_know_it(written: str, kept: str):
    assert sign_up(phone=written)[0] == 201
    assert User.objects.get().phone == kept
    assert phone_number(kept) == kept


@pytest.mark.parametrize(
    "written", ["0((((((((", "0-----", "call me", "123", "010-1234", "+99 123456", "1" * 20, "112", "+82", "\u200b"]
)
def test_what_is_no_phone(written: str):
    assert sign_up(phone=written) == (400, "phone")


def test_where_a_phone_is_from_is_a_setting(settings):
    settings.PHONE_REGION = "US"
    assert phone_number("(212) 555-0123") == "+12125550123"


# --- Names and passwords ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    ["\u3164", "\u200b", "a\x1b[31m", "홍\n\nhttp://spam.example", "see http://spam.example", "WWW.spam.example"],
)
def test_what_is_no_name(name: str):
    assert sign_up(name=name) == (400, "name")


@pytest.mark.parametrize("name", ["가" * 100 + " ", normalize("NFD", "각" * 100), "J. R. R. Tolkien", "홍, 길동"])
def test_a_name_is_measured_in_the_form_in_which_it_is_kept(name: str):
    assert sign_up(name=name)[0] == 201
    assert User.objects.get().name == normalize("NFC", name).strip()


def test_a_password_is_the_same_on_every_keyboard():
    password = "비밀번호 일곱 자리 넘음"
    assert sign_up(password=normalize("NFD", password))[0] == 201
    for form in ("NFC", "NFD"):
        assert services.sign_in(email="hong@example.com", password=normalize(form, password))


@pytest.mark.parametrize("password", [" " * 8, "\u3164" * 8, "\u00a0" * 12])
def test_spaces_are_no_password(password: str):
    assert sign_up(password=password) == (400, "password")


# --- The admin --------------------------------------------------------------------------------------------------------
def test_the_admins_form_keeps_the_same_forms(client):
    client.force_login(User.objects.create_superuser("boss@example.com", PASSWORD, name="Boss"))
    form = {"email": SPELLINGS[1], "name": normalize("NFD", " 홍길동 "), "usable_password": "true"}
    form |= {"password1": PASSWORD, "password2": PASSWORD}
    assert client.post("/admin/accounts/user/add/", form).status_code == 302
    user = User.objects.get(email=HOME)
    assert user.name == "홍길동"
    form["email"] = "c@example.com"
    for wrong in (
        {"email": "İ@example.com"},
        {"email": SPELLINGS[2]},
        {"name": "\u3164"},
        {"name": "see http://a.example"},
    ):
        answer = client.post("/admin/accounts/user/add/", form | wrong)
        assert list(answer.context["adminform"].form.errors) == list(wrong)
    assert User.objects.count() == 2
