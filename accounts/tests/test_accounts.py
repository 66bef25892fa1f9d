"""Signing up, signing in, and who may see whom."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from rest_framework.test import APIClient

from accounts import services
from accounts.models import User
from shop.calls import connect
from shop.contracts.accounts import AccountsService, Contact, ContactsService, UnknownUser, UserView

pytestmark = pytest.mark.django_db(databases=["accounts"])

PASSWORD = "correct horse 7"


@pytest.fixture
def client() -> APIClient:
    return APIClient()


@pytest.fixture
def hana() -> User:
    return services.sign_up(email="hana@example.com", password=PASSWORD, name="김하나", phone="010-1234-5678")


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss@example.com", PASSWORD, name="Boss", language="en")


def signed_in(email: str) -> APIClient:
    client = APIClient()
    pair = services.sign_in(email=email, password=PASSWORD)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {pair.access}")
    return client


# --- Signing up -------------------------------------------------------------------------------------------------------
def test_sign_up_answers_with_the_user_and_never_the_password(client):
    answer = client.post("/api/v1/users", {"email": "New@Example.COM", "password": PASSWORD, "name": "새 손님"})
    user = User.objects.get()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/v1/users/{user.pk}"
    created, updated = answer.data.pop("createdAt"), answer.data.pop("updatedAt")
    assert created
    assert updated
    assert answer.json() == {
        "id": user.pk,
        "email": "new@example.com",
        "name": "새 손님",
        "phone": "",
        "language": "ko",
        "role": "customer",
        "verified": False,
    } | {"createdAt": created, "updatedAt": updated}
    assert user.check_password(PASSWORD)


def test_an_address_opens_one_account_however_it_is_written(client, hana):
    answer = client.post("/api/v1/users", {"email": "HANA@example.com", "password": PASSWORD, "name": "Other"})
    assert (answer.status_code, answer.json()["code"]) == (409, "U002")
    assert User.objects.count() == 1


@pytest.mark.django_db(databases=["accounts"], transaction=True)
def test_of_two_that_sign_up_at_once_one_succeeds():
    def sign_up(name: str) -> str:
        try:
            services.sign_up(email="race@example.com", password=PASSWORD, name=name)
        except services.EmailTaken:
            return "taken"
        finally:
            connections.close_all()
        return "created"

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(sign_up, "abcd"))
    assert outcomes == ["created", "taken", "taken", "taken"]
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"password": "password"}, "password"),
        ({"password": "hana@example.com"}, "password"),
        ({"password": "short"}, "password"),
        ({"email": "nobody"}, "email"),
        ({"email": 5}, "email"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"phone": "call me"}, "phone"),
        ({"language": "fr"}, "language"),
        ({"isStaff": True}, "isStaff"),
        ({"role": "staff"}, "role"),
    ],
)
def test_sign_up_refuses(client, change, field):
    body = {"email": "hana@example.com", "password": PASSWORD, "name": "Hana"} | change
    answer = client.post("/api/v1/users", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "C002")
    assert {error["field"] for error in answer.json()["errors"]} == {field}
    assert PASSWORD not in answer.content.decode()
    assert User.objects.count() == 0


# --- Tokens -----------------------------------------------------------------------------------------------------------
def test_a_token_says_who_and_in_which_role(client, hana, boss):
    for user, role in ((hana, "customer"), (boss, "staff")):
        answer = client.post("/api/v1/auth/token", {"email": user.email.upper(), "password": PASSWORD})
        assert answer.status_code == 200
        assert set(answer.json()) == {"access", "refresh"}
        me = client.get("/api/v1/users/me", headers={"Authorization": f"Bearer {answer.json()['access']}"})
        assert (me.json()["id"], me.json()["role"]) == (user.pk, role)


def test_wrong_credentials(client, hana):
    User.objects.filter(pk=hana.pk).update(is_active=False)
    for email, password in (("hana@example.com", PASSWORD), ("hana@example.com", "no"), ("who@example.com", PASSWORD)):
        answer = client.post("/api/v1/auth/token", {"email": email, "password": password})
        assert (answer.status_code, answer.json()["code"]) == (401, "C006")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_an_access_token_is_no_refresh_token(client, hana):
    pair = services.sign_in(email=hana.email, password=PASSWORD)
    assert client.post("/api/v1/auth/token/refresh", {"refresh": pair.access}).status_code == 401
    assert client.post("/api/v1/auth/token/refresh", {"refresh": pair.refresh}).status_code == 200


def test_no_cache_keeps_tokens(client, hana):
    password = {"email": hana.email, "password": PASSWORD}
    signed_in = client.post("/api/v1/auth/token", password)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {signed_in.json()['access']}")
    refreshed = client.post("/api/v1/auth/token/refresh", {"refresh": signed_in.json()["refresh"]})
    changed = client.post("/api/v1/users/me/password", {"old": PASSWORD, "new": "another-good-one"})
    for answer in (signed_in, refreshed, changed):
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")


def test_logging_out_ends_the_refresh_token(client, hana):
    pair = services.sign_in(email=hana.email, password=PASSWORD)
    assert client.post("/api/v1/auth/logout", {"refresh": pair.refresh}).status_code == 200
    assert client.post("/api/v1/auth/token/refresh", {"refresh": pair.refresh}).status_code == 401
    assert client.post("/api/v1/auth/logout", {"refresh": pair.refresh}).status_code == 401


def test_an_expired_bearer_does_not_keep_anybody_from_signing_in(client, hana):
    client.credentials(HTTP_AUTHORIZATION="Bearer expired.or.forged")
    assert client.get("/api/v1/users/me").status_code == 401
    answer = client.post("/api/v1/auth/token", {"email": hana.email, "password": PASSWORD})
    assert answer.status_code == 200


def test_a_token_of_another_key_is_refused(client, hana, settings):
    import jwt

    from shop.api.keys import derived_private_key

    claims = jwt.decode(
        services.sign_in(email=hana.email, password=PASSWORD).access, options={"verify_signature": False}
    )
    forged = jwt.encode(claims | {"role": "staff"}, derived_private_key("another secret"), algorithm="EdDSA")
    unsigned = jwt.encode(claims | {"role": "staff"}, "", algorithm="none")
    confused = jwt.encode(claims | {"role": "staff"}, "x" * 32, algorithm="HS256")
    for token in (forged, unsigned, confused):
        assert client.get("/api/v1/users/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401


# --- Who sees whom ----------------------------------------------------------------------------------------------------
def test_a_customer_sees_themselves_only(hana, boss):
    client = signed_in("hana@example.com")
    assert client.get(f"/api/v1/users/{hana.pk}").json()["email"] == "hana@example.com"
    assert [user["id"] for user in client.get("/api/v1/users").json()["results"]] == [hana.pk]
    assert [user["id"] for user in client.get("/api/v1/users?email=Hana@Example.com").json()["results"]] == [hana.pk]
    for path in (f"/api/v1/users/{boss.pk}", "/api/v1/users?email=boss@example.com", "/api/v1/users/999"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "U001")


def test_staff_sees_everybody(hana, boss):
    client = signed_in("boss@example.com")
    assert client.get(f"/api/v1/users/{hana.pk}").json()["phone"] == "+821012345678"
    assert [user["id"] for user in client.get("/api/v1/users").json()["results"]] == [boss.pk, hana.pk]
    assert client.get("/api/v1/users?email=hana@example.com").json()["results"][0]["id"] == hana.pk


def test_nobody_sees_users_without_a_token(client, hana):
    for path in ("/api/v1/users", "/api/v1/users/me", f"/api/v1/users/{hana.pk}"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "C006")


def test_a_session_of_the_browser_will_do(client, hana):
    client.force_login(hana)
    assert client.get("/api/v1/users/me").json()["id"] == hana.pk


# --- For the other services -------------------------------------------------------------------------------------------
def test_others_ask_for_users_and_contacts(hana, django_assert_num_queries):
    accounts = connect(AccountsService)
    assert accounts.get_user(hana.pk) == UserView(id=hana.pk, name="김하나", email="hana@example.com")
    with django_assert_num_queries(1, using="accounts"):
        assert connect(ContactsService).get_contacts([hana.pk, 999]) == {
            hana.pk: Contact(
                user_id=hana.pk,
                name="김하나",
                email="hana@example.com",
                phone="+821012345678",
                language="ko",
                verified=False,
            )
        }
    with pytest.raises(UnknownUser):
        accounts.get_user(999)


def test_seeding_twice_is_seeding_once():
    users: list[dict[str, Any]] = [
        {"email": "a@example.com", "name": "A"},
        {"email": "b@example.com", "name": "B", "is_staff": True},
    ]
    assert services.seed_users(users, password=PASSWORD) == ["a@example.com", "b@example.com"]
    assert services.seed_users(users, password="something else") == []
    assert services.sign_in(email="a@example.com", password=PASSWORD)


def test_the_admin_lists_adds_and_changes_users(client, hana, boss):
    client.force_login(boss)
    assert client.get("/admin/accounts/user/").status_code == 200
    assert client.get(f"/admin/accounts/user/{hana.pk}/change/").status_code == 200
    form = {"email": "Staff@Example.com", "name": "S", "usable_password": "true"}
    form |= {"password1": PASSWORD, "password2": PASSWORD}
    assert client.post("/admin/accounts/user/add/", form, format="multipart").status_code == 302
    assert User.objects.get(email="staff@example.com").name == "S"
