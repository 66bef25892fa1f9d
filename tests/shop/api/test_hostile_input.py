"""No input produces a 500: what the contract names, and some more, on every operation that takes a body."""

import json
import time
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from accounts.services import issue
from catalog.services import create_product
from delivery.signatures import signature
from notifications.webhooks.models import Webhook
from orders.models import Order, Return
from sagas.testing import Bus
from shop.api.schema import MEDIA_TYPE
from shop.text import pattern

pytestmark = pytest.mark.django_db(databases=list(settings.SERVICES))

DIGITS = b"9" * 4000
BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "null": b"null",
    "a number": b"1",
    "a list": b"[]",
    "deep lists": b"[" * 100_000,
    "deep lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "the same key twice": b'{"name": "a", "name": "b"}',
    "NaN": b'{"price": NaN, "quantity": Infinity}',
    "too large": b'"' + b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE + b'"',
}
VALUES = {
    "a 4,000-digit integer": DIGITS,
    "a 4,000-digit fraction": b"0." + DIGITS,
    "beyond a bigint": b"9223372036854775808",
    "below a bigint": b"-9223372036854775809",
    "an exponent": b"1e400",
    "NUL": b'"\\u0000"',
    "NUL as it is": b'"\x00"',
    "half a surrogate pair": b'"\\ud800"',
    "a long text": b'"' + b"x" * 200_000 + b'"',
    "an object": b'{"$gt": ""}',
    "a list": b"[[]]",
    "null": b"null",
    "true": b"true",
    "SQL": b'"\' OR 1=1; DROP TABLE orders_order; --"',
    "right to left": '"\u202eevil\u202c"'.encode(),
}


def operations() -> list[tuple[str, str, Any, Any]]:
    """Method, path, examples and properties of the body of all that take one in JSON; forms have tests of their own."""
    schema = Client().get("/api/v1/schema/", headers={"Accept": "application/json"}).json()
    found = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {"content": {}}) if isinstance(operation, dict) else {"content": {}}
            if content := body["content"].get("application/json"):
                component = schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
                kinds = [one["$ref"].rpartition("/")[2] for one in component.get("oneOf", [])]
                parts = [schema["components"]["schemas"][kind] for kind in kinds] or [component]
                properties = {name: one for part in parts for name, one in part["properties"].items()}
                found.append((method.upper(), path, content["examples"], properties))
    return found


@pytest.fixture
def send(bus: Bus, settings: Any) -> Any:
    """Sends a body as staff would, or a carrier."""
    settings.CARRIER_SECRETS = {"CJ": ["the carrier's"]}
    settings.THROTTLES = dict.fromkeys(settings.THROTTLES, 0)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # these are not about passwords
    staff = User.objects.create(email="boss@example.com", name="Boss", password="!", is_staff=True, is_superuser=True)
    product = create_product(name="Product", price=1)
    order = Order.objects.create(pk=1, user_id=staff.pk, total_price=1, currency="KRW", payment_gateway="TOSS_PAYMENTS")
    order.items.create(product_id=product.pk, product_name="Product", unit_price=1, quantity=1)
    sent_back = Return.objects.create(
        pk=1, order=order, user_id=staff.pk, kind="REFUND", status="RECEIVED", currency="KRW"
    )
    sent_back.items.create(product_id=product.pk, quantity=1, unit_price=1)
    webhook = str(Webhook.objects.create(owner_id=staff.pk, url="https://example.com/", events=[], secret="!").pk)
    client, token = APIClient(raise_request_exception=False), f"Bearer {issue(staff).access}"

    def send(method: str, path: str, body: bytes, content_type: str = "application/json", query: str = "") -> Any:
        names = {"product_id": str(product.pk), "order_id": "1", "return_id": "1", "webhook_id": webhook}
        for name, number in names.items():
            path = path.replace(f"{{{name}}}", number)
        address = path + query
        now = str(int(time.time()))
        headers = {
            "If-Match": "*",
            "X-Carrier-Timestamp": now,
            "X-Carrier-Signature": signature("the carrier's", now, body),
        }
        if not address.startswith(("/api/v1/auth", "/api/v1/deliveries/carrier-events")):
            headers["Authorization"] = token
        return client.generic(method, address, body, content_type, headers=headers)

    return send


def must_be_refused(answer: Any, what: str) -> None:
    assert 400 <= answer.status_code < 500, (what, answer.content)
    assert answer.headers["Content-Type"] == MEDIA_TYPE, what
    assert answer.json()["code"].startswith("C") or answer.status_code == 401, what


def test_bodies(send: Any):
    found = operations()
    assert len(found) >= 9
    for method, path, _, _ in found:
        for what, body in BODIES.items():
            answer = send(method, path, body)
            if not (method == "PATCH" and what == "nothing"):  # changes nothing
                must_be_refused(answer, f"{what} to {method} {path}")
        assert send(method, path, BODIES["too large"]).status_code == 413
        for kind in (
            "text/plain",
            "application/xml",
            "multipart/form-data",
            "application/json; charset=utf-7",
            "\x00",
            "",
        ):
            answer = send(method, path, b"<a/>", kind)
            must_be_refused(answer, f"{kind!r} to {method} {path}")


def test_values_in_every_field(send: Any):
    for method, path, examples, _ in operations():
        example, *_ = (one["value"] for one in examples.values())
        for name in example:
            for what, value in VALUES.items():
                marked = json.dumps({**example, name: "here"}).encode().replace(b'"here"', value)
                answer = send(method, path, marked)
                assert answer.status_code < 500, (what, name, method, path, answer.content)


def test_no_text_is_invisible_or_controls_anything(send: Any):
    """Every field whose text is for people: those that the schema gives nothing but the pattern of all texts."""
    patterns = {pattern(lines=lines) for lines in (True, False)}
    checked = set()
    for method, path, examples, properties in operations():
        example, *_ = (one["value"] for one in examples.values())
        for name, property in properties.items():
            if {property.get("pattern"), *(one.get("pattern") for one in property.get("oneOf", []))}.isdisjoint(
                patterns
            ):
                continue
            for text in ("\u3164", "\u200b", "\x1b[31m", "a\u202eb", "a\ufeffb"):
                answer = send(method, path, json.dumps({**example, name: text}).encode())
                assert answer.status_code == 400, (ascii(text), name, method, path, answer.content)
                assert name in {error["field"] for error in answer.json()["errors"]}
            checked.add(name)
    assert checked >= {"name", "description", "brand", "reason", "address", "eventId"}


@pytest.mark.parametrize(
    "query",
    [
        "?limit=" + "9" * 4000,
        "?cursor=" + "x" * 8000,
        "?orderId=1e400",
        "?userId=%00",
        "?search=%ff%fe",
        "?" + "a=1&" * 500,
    ],
    ids=lambda query: query[:12],
)
def test_queries(send: Any, query: str):
    for path in ("orders", "returns", "payments", "deliveries", "notifications", "users", "products"):
        assert send("GET", f"/api/v1/{path}", b"", query=query).status_code in (200, 400)


@pytest.mark.parametrize("query", ["stauts=PENDING", "ordering=id", "user_id=1", "userid=1", "Limit=5", "=1"])
def test_a_list_knows_its_parameters(send: Any, query: str):
    for path in ("orders", "returns", "payments", "deliveries", "notifications", "users"):
        answer = send("GET", f"/api/v1/{path}", b"", query=f"?{query}")
        assert answer.status_code == 400, path
        assert [one["field"] for one in answer.json()["errors"]] == [query.partition("=")[0]]
    known = "?limit=5&format=json"
    assert {send("GET", f"/api/v1/{path}", b"", query=known).status_code for path in ("orders", "products")} == {200}


@pytest.mark.parametrize("part", ["%00", "²", "9" * 4000, "-1", "1e3", "..%2f..", "%ff", "😀", "1;DROP"])
def test_addresses(send: Any, part: str):
    for path in ("orders/{}", "orders/{}/cancel", "deliveries/{}", "users/{}", "products/{}", "inventory/{}"):
        assert send("GET", f"/api/v1/{path.format(part)}", b"").status_code in (400, 404, 405)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Idempotency-Key", "x" * 256),
        ("Idempotency-Key", "é"),
        ("Prefer", "wait=" + "9" * 400),
        ("Accept", "application/xml"),
        ("Accept", "*" * 4000),
        ("If-Match", '"' * 4000),
        ("If-None-Match", ",,,,"),
        ("X-Request-ID", "\x7f"),
        ("Host", "evil.example"),
        ("Accept-Language", "x" * 4000),
        ("traceparent", "00-" + "f" * 400),
    ],
)
def test_headers(send: Any, name: str, value: str):
    for path in ("/api/v1/products", "/api/v1/orders"):
        answer = APIClient(raise_request_exception=False).get(path, headers={name: value})
        assert answer.status_code < 500
