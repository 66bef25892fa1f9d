"""Two customers: nothing of one's can be read, changed or detected by the other, on any address with any method.

Addresses come from the URL resolver. Each must be in `NAMED` or `UNNAMED`, so that a new one cannot be forgotten.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from typing import Any
from zipfile import ZipFile

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connections
from django.http import HttpResponse
from django.urls import get_resolver, reverse
from rest_framework.test import APIClient

from accounts.models import User
from accounts.services import issue
from catalog.services import create_product
from delivery.models import Delivery
from inventory.services import seed_stock
from notifications.models import Notification
from notifications.webhooks.models import Webhook, WebhookMessage
from orders.models import Order, Return
from payments.models import Payment
from sagas.events import uuid7
from sagas.testing import Bus
from tests.support.ordering import PAID_AND_SENT

pytestmark = pytest.mark.django_db(databases=list(settings.SERVICES))

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
NOBODYS = 987_654_321
PREFIX = "api/v1/"
# Of what is Alice's, and hidden. Each is too long to turn up in a trace's id by chance.
SECRETS = ("Secret", "alice@", "99998888", "hidden")


@dataclass(frozen=True)
class Belongings:
    """What there is of Alice's, and of the shop's that customers have no business with."""

    user: int
    order: int
    tracking_number: str
    hidden_product: int
    webhook: int
    webhook_message: int
    sent_back: int


# What an address names by its path: Alice's, and something that does not exist.
NAMED: dict[str, Any] = {
    "user": lambda alice: ({"user_id": alice.user}, {"user_id": NOBODYS}),
    "order": lambda alice: ({"order_id": alice.order}, {"order_id": NOBODYS}),
    "order-changes": lambda alice: ({"order_id": alice.order}, {"order_id": NOBODYS}),
    "order-refunds": lambda alice: ({"order_id": alice.order}, {"order_id": NOBODYS}),
    "order-cancel": lambda alice: ({"order_id": alice.order}, {"order_id": NOBODYS}),
    **dict.fromkeys(
        ("payment-return", "payment-sandbox"),
        lambda alice: ({"signed": f"{alice.order}.{'x' * 43}"}, {"signed": f"{NOBODYS}.{'x' * 43}"}),
    ),
    "delivery": lambda alice: ({"tracking_number": alice.tracking_number}, {"tracking_number": "XX987654321"}),
    "product": lambda alice: ({"product_id": alice.hidden_product}, {"product_id": NOBODYS}),
    "stock-adjustments": lambda alice: ({"product_id": alice.hidden_product}, {"product_id": NOBODYS}),
    "order-returns": lambda alice: ({"order_id": alice.order}, {"order_id": NOBODYS}),
    **dict.fromkeys(
        (
            "return",
            "return-withdraw",
            "return-approve",
            "return-refuse",
            "return-receive",
            "return-inspect",
            "return-refund",
        ),
        lambda alice: ({"return_id": alice.sent_back}, {"return_id": NOBODYS}),
    ),
    "breakers": lambda alice: ({"service": "orders"}, {"service": "nothing"}),
    **dict.fromkeys(
        ("webhook", "webhook-secret", "webhook-ping", "webhook-replay", "webhook-messages"),
        lambda alice: ({"webhook_id": alice.webhook}, {"webhook_id": NOBODYS}),
    ),
    "webhook-replay-message": lambda alice: (
        {"webhook_id": alice.webhook, "message_id": alice.webhook_message},
        {"webhook_id": alice.webhook, "message_id": NOBODYS},
    ),
}
# Addresses that name nothing of anybody's by their path: with the parameters by which Alice could be asked for.
UNNAMED: dict[str, list[str]] = {
    "orders": ["userId={user}", "limit=100"],
    "returns": ["userId={user}", "limit=100"],
    "order-export": ["userId={user}", ""],
    "webhooks": ["limit=100"],
    "payments": ["orderId={order}", "limit=100"],
    "deliveries": ["orderId={order}", "limit=100"],
    "notifications": ["orderId={order}", "limit=100"],
    "users": ["email=alice@example.com", "limit=100"],
    "user-me": [""],
    "notification-preferences": ["userId={user}"],
    "export": ["userId={user}"],
    "erasure": ["userId={user}"],
    "products": ["search=hidden", "limit=100"],
    "stock": [""],  # names a product, but is public
    "token": [""],
    "token-refresh": [""],
    "logout": [""],
    "sign-out-everywhere": [""],
    "password": [""],
    "email-confirm": [""],
    "oauth-token": [""],
    "confirmation": [""],
    "password-forgot": [""],
    "password-reset": [""],
    "jwks": [""],
    "carrier-events": [""],
    "index": [""],
    "schema": [""],
}
# Addresses of others' programs, which sign what they send; they name nothing of a customer's.
SIGNED = {"carrier-reports", "payment-notifications", "email-events"}


@pytest.fixture
def alice(bus: Bus) -> Belongings:
    """A customer with an order on its way, its payment, its delivery, and what she was told."""
    user = User.objects.create(
        pk=1, email="alice@example.com", name="Alice Secret", password="!", phone="010-9999-8888"
    )
    hidden = create_product(name="hidden", price=1, active=False)
    seed_stock({1: 10, hidden.pk: 10})
    body = {"productId": 1, "quantity": 1, **PAID_AND_SENT, "address": "Secret Street 1"}
    order = client_of(user).post("/api/v1/orders", body, headers={"Idempotency-Key": "k"}).json()["id"]
    bus.drain(timers=False)
    number = Delivery.objects.get(order_id=order).tracking_number
    webhook = Webhook.objects.create(owner_id=user.pk, url="https://alice.example.com/Secret", events=[], secret="!")
    told = WebhookMessage.objects.create(webhook=webhook, event_id=uuid7(), type="ping", body="Secret")
    sent_back = Return.objects.create(pk=order + 1, order_id=order, user_id=user.pk, kind="REFUND", currency="KRW")
    sent_back.items.create(product_id=1, quantity=1, unit_price=1)
    assert Payment.objects.filter(user_id=user.pk).exists()
    assert Notification.objects.filter(user_id=user.pk).exists()
    return Belongings(
        user=user.pk,
        order=order,
        tracking_number=number or "",
        hidden_product=hidden.pk,
        webhook=webhook.pk,
        webhook_message=told.pk,
        sent_back=sent_back.pk,
    )


def client_of(user: User | None) -> APIClient:
    client = APIClient(raise_request_exception=False)
    if user:
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {issue(user).access}")
    return client


@pytest.fixture(params=["Bob", "a stranger"])
def other(request: pytest.FixtureRequest) -> APIClient:
    bob = User.objects.create(pk=2, email="bob@example.com", name="Bob", password="!")
    return client_of(bob if request.param == "Bob" else None)


def routes() -> Iterator[str]:
    """The names of all addresses of the API."""

    def walk(patterns: Any, above: str) -> Iterator[str]:
        for one in patterns:
            path = above + str(one.pattern)
            if hasattr(one, "url_patterns"):
                yield from walk(one.url_patterns, path)
            elif path.startswith(PREFIX):
                assert one.name, f"{path} has no name"
                yield one.name

    yield from walk(get_resolver().url_patterns, "")


def everything() -> dict[str, list[Any]]:
    """All rows of all services."""
    models = [model for service in settings.SERVICES for model in apps.get_app_config(service).get_models()]
    rows = {}
    for model in models:
        with connections[model._meta.app_label].cursor() as cursor:
            cursor.execute(f'SELECT to_jsonb(one)::text FROM "{model._meta.db_table}" one ORDER BY 1')
            rows[model._meta.label] = cursor.fetchall()
    return rows


def text_of(answer: Any) -> str:
    if answer.headers.get("Content-Type") != "application/zip":
        return str(answer.content.decode())
    with ZipFile(BytesIO(answer.content)) as archive:
        return "\n".join(f"{name}: {archive.read(name).decode()}" for name in archive.namelist())


def look(answer: Any, *named: Any) -> tuple[Any, ...]:
    """All that an answer tells, but for what was asked for, and when."""
    text = text_of(answer)
    for one in named:
        text = re.sub(rf'(?<!"status":)\b{one}\b', "…", text)
    text = re.sub(r'"(timestamp|traceId)": ?"[^"]*"', "", text)
    headers = {name: value for name, value in answer.headers.items() if name != "X-Request-ID"}
    headers.pop("Content-Length", None)  # as long as the name that was asked for
    headers.pop("ETag", None) if answer.status_code >= 400 else None
    return answer.status_code, headers, text


def test_an_id_that_is_also_a_status_is_told_apart():
    body = '{{"status":401,"instance":"/api/v1/products/{}"}}'
    assert look(HttpResponse(body.format(401)), 401) == look(HttpResponse(body.format(9)), 9)


def test_every_address_is_in_this_matrix():
    assert set(routes()) == NAMED.keys() | UNNAMED.keys() | SIGNED


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_yours_does_not_exist(name: str, alice: Belongings, other: APIClient):
    hers, nobodys = NAMED[name](alice)
    before = everything()
    for method, body in product(METHODS, ({}, {"delta": 1, "reason": "x"}, {"price": 1, "userId": alice.user})):
        seen = []
        for named in (hers, nobodys):
            path, headers = reverse(name, kwargs=named), {"If-Match": "*"}
            answer = other.generic(method, path, json.dumps(body), "application/json", headers=headers)
            seen.append(look(answer, *named.values()))
        assert seen[0] == seen[1], method
        assert seen[0][0] in (401, 403, 404, 405) or method == "OPTIONS"
    assert everything() == before


@pytest.mark.parametrize("name", [name for name, queries in UNNAMED.items() if queries != [""]])
def test_lists_hold_nothing_of_hers(name: str, alice: Belongings, other: APIClient):
    for query in UNNAMED[name]:
        path = reverse(name)
        answers = [
            other.get(f"{path}?{query.format(user=alice.user, order=alice.order)}"),
            other.get(f"{path}?{query.format(user=NOBODYS, order=NOBODYS).replace('alice@', 'nobody@')}"),
        ]
        seen = [look(answer) for answer in answers]
        assert seen[0] == seen[1]
        for answer in answers:
            told = text_of(answer)
            hers = (*SECRETS, alice.tracking_number, f'"orderId":{alice.order}')
            assert [secret for secret in hers if secret in told or secret in told.replace("-", "")] == []


def test_her_own_lists_are_not_empty(alice: Belongings):
    """Or the test above would show nothing."""
    client = client_of(User.objects.get(pk=alice.user))
    for name in ("orders", "payments", "deliveries", "notifications", "users"):
        assert client.get(reverse(name)).json()["results"], name
    for name in ("user", "order", "delivery"):
        assert client.get(reverse(name, kwargs=NAMED[name](alice)[0])).status_code == 200


def test_a_page_of_hers_is_no_page_of_his(alice: Belongings, other: APIClient):
    hers = client_of(User.objects.get(pk=alice.user))
    hers.post("/api/v1/orders", {"productId": 1, "quantity": 1, **PAID_AND_SENT})
    following = hers.get("/api/v1/orders?limit=1").json()["next"]
    assert hers.get(following).json()["results"]

    answer = other.get(following)
    assert answer.status_code == 401 or answer.json()["results"] == []


def test_nobody_orders_in_her_name(alice: Belongings, other: APIClient):
    before = Order.objects.count()
    seen = [
        look(other.post("/api/v1/orders", {"productId": 1, "quantity": 1, "userId": user_id, **PAID_AND_SENT}), user_id)
        for user_id in (alice.user, NOBODYS)
    ]
    assert seen[0] == seen[1]
    assert (seen[0][0] in (400, 401), Order.objects.count()) == (True, before)


def test_her_idempotency_key_is_hers(alice: Belongings, bus: Bus):
    bob = client_of(User.objects.create(pk=2, email="bob@example.com", name="Bob", password="!"))
    body = {"productId": 2, "quantity": 1, **PAID_AND_SENT}
    answer = bob.post("/api/v1/orders", body, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["id"] != alice.order) == (202, True)


def test_his_token_does_not_end_her_session(alice: Belongings):
    hers = issue(User.objects.get(pk=alice.user))
    his = issue(User.objects.create(pk=2, email="bob@example.com", name="Bob", password="!"))
    assert APIClient().post(reverse("logout"), {"refresh": his.refresh}).status_code == 200
    assert APIClient().post(reverse("token-refresh"), {"refresh": hers.refresh}).status_code == 200
