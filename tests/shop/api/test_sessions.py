"""A request to the API with a token leaves sessions alone, whatever cookie comes with it; all others have one."""

import pytest
from django.test import Client

from accounts.models import User
from accounts.services import issue

pytestmark = pytest.mark.django_db(databases=["accounts", "orders", "catalog"])


@pytest.fixture
def staff() -> User:
    return User.objects.create(email="staff@example.com", name="Staff", password="!", is_staff=True, is_superuser=True)


@pytest.fixture
def bearer() -> str:
    customer = User.objects.create(email="customer@example.com", name="Customer", password="!")
    return f"Bearer {issue(customer).access}"


@pytest.mark.parametrize(
    ("path", "authorization", "has_session"),
    [
        ("/api/v1/products", "Bearer x", False),
        ("/api/v1/products", "bearer x", False),
        ("/api/v1/products", "BEARER x", False),
        ("/api/v1/products", "", True),
        ("/api/v1/products", "Basic x", True),
        ("/api/v1/products", "Bearer", True),
        ("/api-auth/login/", "Bearer x", True),
        ("/admin/login/", "Bearer x", True),
        ("/livez", "", False),
    ],
)
def test_who_has_a_session(path: str, authorization: str, has_session: bool):
    request = Client().get(path, headers={"Authorization": authorization}).wsgi_request

    assert hasattr(request, "session") == hasattr(request, "_messages") == has_session


def test_a_token_counts_for_more_than_a_session(staff: User, bearer: str):
    client = Client()
    client.force_login(staff, "accounts.backends.Guarded")
    adjust = {"path": "/api/v1/products", "data": {}, "content_type": "application/json"}

    assert client.post(**adjust).status_code == 400  # staff may, but not this
    assert client.post(**adjust, headers={"Authorization": bearer}).status_code == 403
    assert client.post(**adjust, headers={"Authorization": "Bearer forged"}).status_code == 401


def test_a_session_needs_its_csrf_token_and_a_token_none(staff: User, bearer: str):
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff, "accounts.backends.Guarded")
    order = {"path": "/api/v1/orders", "data": {}, "content_type": "application/json"}

    assert client.post(**order).status_code == 403
    assert client.post(**order, headers={"Authorization": bearer}).status_code == 400


def test_a_browser_with_a_token_sees_the_api(bearer: str):
    answer = Client().get("/api/v1/products", headers={"Authorization": bearer, "Accept": "text/html"})

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"GET" in answer.content
