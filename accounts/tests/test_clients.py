"""Programs that call the API for themselves: OAuth 2.0 with client credentials, as RFC 6749 has it."""

import base64
import io
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import clients, letters
from accounts.models import Client, ClientSecret, StaffAction, User
from accounts.services import make_groups
from shop.calls import connect
from shop.contracts.accounts import ContactsService

pytestmark = pytest.mark.django_db(databases=["accounts"])

TOKEN = "/api/v1/oauth/token"
RIGHTS = ["catalog.add_product", "catalog.view_product"]
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def robot() -> tuple[Client, str]:
    return clients.add(name="ERP", rights=RIGHTS, groups=[])


def ask(authorization: str = "", **form: str) -> Any:
    headers = {"Authorization": authorization} if authorization else {}
    body = urlencode({"grant_type": "client_credentials"} | form)
    return APIClient().post(TOKEN, body, content_type=FORM, headers=headers)


def basic(client_id: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{client_id}:{secret}'.encode()).decode()}"


def test_a_token_for_id_and_secret(robot: tuple[Client, str]):
    client, secret = robot
    for answer in (
        ask(client_id=client.client_id, client_secret=secret, unknown="ignored"),
        ask(basic(client.client_id, secret)),
    ):
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        body = answer.json()
        assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
        assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 60, " ".join(RIGHTS))
        claims = jwt.decode(body["access_token"], options={"verify_signature": False})
        assert (claims["client_id"], claims["exp"] - claims["iat"]) == (client.client_id, 60)


def test_fewer_rights_when_asked_for_fewer_and_never_more(robot: tuple[Client, str]):
    client, secret = robot
    authorization = basic(client.client_id, secret)
    assert ask(authorization, scope=RIGHTS[1]).json()["scope"] == RIGHTS[1]
    refused = ask(authorization, scope=f"{RIGHTS[1]} orders.view_order")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_id": "no", "client_secret": "no"}, 401, "invalid_client"),
        ({}, 401, "invalid_client"),
        ({"grant_type": "password", "username": "a", "password": "b"}, 400, "unsupported_grant_type"),
    ],
)
def test_what_is_refused(robot: tuple[Client, str], form: dict[str, str], status: int, error: str):
    answer = ask(**form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_requests_that_are_no_form(robot: tuple[Client, str]):
    client, secret = robot
    twice = f"grant_type=client_credentials&client_id={client.client_id}&client_id={client.client_id}"
    assert APIClient().post(TOKEN, twice, content_type=FORM).status_code == 400
    assert APIClient().post(TOKEN, "a=%00", content_type=FORM).status_code == 400
    assert APIClient().post(TOKEN, "a=1", content_type=FORM).json()["error"] == "invalid_request"
    assert APIClient().post(TOKEN, {"grant_type": "client_credentials"}).status_code == 415
    both = ask(basic(client.client_id, secret), client_secret=secret)
    assert both.json()["error"] == "invalid_request"
    for unreadable in ("Basic ???", "Basic é", basic("a\0b", secret), basic("a%00b", secret)):
        assert ask(unreadable).json()["error"] == "invalid_client"


def test_two_secrets_are_good_while_one_replaces_the_other(robot: tuple[Client, str]):
    client, first = robot

    def good(secret: str) -> bool:
        return bool(ask(basic(client.client_id, secret)).status_code == 200)

    second = clients.rotate(client)
    assert (good(first), good(second)) == (True, True)
    ClientSecret.objects.filter(hash=clients._hash(first)).update(expires_at=timezone.now())
    assert (good(first), good(second)) == (False, True)
    third, fourth = clients.rotate(client), clients.rotate(client)
    assert [good(one) for one in (second, third, fourth)] == [False, True, True]
    assert ClientSecret.objects.count() == 2
    clients.revoke(client)
    assert not good(fourth)


def test_no_secret_is_kept(robot: tuple[Client, str]):
    assert robot[1] not in str(list(ClientSecret.objects.values()))


def test_its_user_has_no_password_and_gets_no_mail(robot: tuple[Client, str]):
    user = robot[0].user
    assert not user.has_usable_password()
    letters.forgot(user.email)
    assert letters.claim() == []


def test_by_command(capsys: pytest.CaptureFixture[str]):
    make_groups()
    out = io.StringIO()
    call_command("client", "add", "ERP", "--right", "orders.view_order", "--group", "stock clerks", stdout=out)
    (_, client_id), (_, secret) = (line.split() for line in out.getvalue().splitlines())
    scope = ask(basic(client_id, secret)).json()["scope"]
    assert {"orders.view_order", "inventory.change_stockitem"} <= set(scope.split())
    entry = StaffAction.objects.get(action="add a client")
    assert (entry.target, entry.way, secret in str(entry.after)) == (f"client {client_id}", "client", False)
    out = io.StringIO()
    call_command("client", "rotate", client_id, stdout=out)
    assert ask(basic(client_id, out.getvalue().split()[1])).status_code == 200
    call_command("client", "revoke", client_id, stdout=io.StringIO())
    assert ask(basic(client_id, secret)).status_code == 401
    out = io.StringIO()
    call_command("client", "list", stdout=out)
    assert out.getvalue() == f"{client_id}  ERP: revoked\n"
    for arguments in (["add", "X", "--right", "no.right"], ["add", "X", "--group", "none"], ["rotate", "none"]):
        with pytest.raises(CommandError, match=r"There (are|is) no"):
            call_command("client", *arguments)
    with pytest.raises(CommandError, match=r"The name: .* at most 100 characters"):
        call_command("client", "add", "x" * 101)


def test_in_the_admin(robot: tuple[Client, str]):
    browser = Browser()
    browser.force_login(User.objects.create_superuser("boss@example.com", "correct horse 7", name="Boss"))
    page = browser.get("/admin/accounts/client/").content.decode()
    assert robot[0].client_id in page
    assert "catalog.add_product" in page
    done = browser.post(
        "/admin/accounts/client/", {"action": "rotate", "_selected_action": [robot[0].pk]}, follow=True
    ).content.decode()
    assert ClientSecret.objects.count() == 2
    secret = done.split("<code>")[1].split("</code>")[0]
    assert ask(basic(robot[0].client_id, secret)).status_code == 200


def test_the_rights_of_users_are_those_of_their_tokens_now():
    client, _ = clients.add(name="ERP", rights=["orders.view_order"], groups=[])
    customer = User.objects.create(email="customer-with-none@example.com", name="C")
    contacts = connect(ContactsService)
    assert contacts.get_rights([client.user_id, customer.pk, 10**9]) == {
        client.user_id: ["orders.view_order"],
        customer.pk: [],
        10**9: [],
    }
    clients.revoke(client)
    assert contacts.get_rights([client.user_id]) == {client.user_id: []}
