"""HTTP as RFC 9110 has it, through Django's handler as servers call it: the test client would mend some of it."""

import json
import socket
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from django.conf import settings as project
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from accounts.services import issue
from catalog.services import create_product
from embedded.components import Patience, Web
from shop.api.http import sized

pytestmark = pytest.mark.django_db(databases=list(project.SERVICES))

JSON = "application/json"


class Answer:
    """What a server would be given to send."""

    def __init__(self, application: Any, method: str, path: str, body: bytes = b"", **environ: Any) -> None:
        path, _, query = path.partition("?")
        whole = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_NAME": "0.0.0.0",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost",
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
        } | environ
        parts = application({name: value for name, value in whole.items() if value is not None}, self._begin)
        self.body = b"".join(parts)
        parts.close()

    def _begin(self, status: str, headers: list[tuple[str, str]], *_: Any) -> None:
        self.status, self.headers = int(status[:3]), dict(headers)


@pytest.fixture
def django(settings: Any) -> Iterator[Any]:
    """Django's handler. As for the test client, connections stay open: a test's transaction is on them."""
    settings.ALLOWED_HOSTS = ["localhost"]
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield WSGIHandler()
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def boss() -> str:
    staff = User.objects.create_superuser("boss@example.com", None, name="Boss")
    return f"Bearer {issue(staff).access}"


@pytest.fixture
def product() -> int:
    return create_product(name="Product", price=1000).pk


# --- Bodies that come in ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "framing", [{"HTTP_TRANSFER_ENCODING": "chunked"}, {"SERVER_PROTOCOL": "HTTP/2.0"}], ids=["chunked", "HTTP/2"]
)
class TestLengthIsNotTold:
    """A server that reads chunks, or HTTP/2, hands the body on without its length."""

    def change(self, django: Any, boss: str, product: int, body: bytes, **framing: Any) -> Answer:
        headers = {"HTTP_AUTHORIZATION": boss, "HTTP_IF_MATCH": "*", "CONTENT_TYPE": JSON}
        return Answer(django, "PATCH", f"/api/v1/products/{product}", body, **headers, **framing)

    def test_the_body_is_read(self, django: Any, boss: str, product: int, framing: dict[str, str]):
        ended = framing | {"wsgi.input_terminated": True}
        answer = self.change(sized(django), boss, product, b'{"price": 2000}', **ended)
        assert (answer.status, json.loads(answer.body)["price"]) == (200, 2000)

    def test_one_that_is_too_large_is_refused(self, django: Any, boss: str, product: int, framing: dict[str, str]):
        ended = framing | {"wsgi.input_terminated": True}
        large = b" " * (project.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        assert self.change(sized(django), boss, product, large, **ended).status == 413

    def test_it_is_never_taken_for_empty(self, django: Any, boss: str, product: int, framing: dict[str, str]):
        """By a server that does not say where the body ends."""
        if "HTTP_TRANSFER_ENCODING" in framing:
            answer = self.change(sized(django), boss, product, b'{"price": 2000}', **framing)
            assert (answer.status, json.loads(answer.body)["code"]) == (411, "C002")


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "deflate, gzip", "x"])
@pytest.mark.parametrize("path", ["/api/v1/auth/token", "/api/v1/products", "/api/v1/deliveries/carrier-events"])
def test_an_encoded_body_is_a_415(path: str, coding: str):
    answer = APIClient().post(path, {"email": "a@example.com"}, headers={"Content-Encoding": coding})
    assert (answer.status_code, answer.json()["code"]) == (415, "C004")
    assert answer.headers["Accept-Encoding"] == "identity"


def test_identity_is_no_encoding():
    answer = APIClient().post("/api/v1/auth/token", {}, headers={"Content-Encoding": "identity"})
    assert answer.status_code == 400


# --- HEAD, OPTIONS, missing slashes -----------------------------------------------------------------------------------
READINGS = ["/livez", "/api/v1/products", "/api/v1/products/1", "/api/v1/orders", "/nowhere", "/docs/", "/docs"]


@pytest.mark.parametrize("path", READINGS)
def test_head_has_the_headers_of_get_and_no_body(django: Any, path: str):
    head, get = Answer(django, "HEAD", path), Answer(django, "GET", path)
    assert head.body == b""
    assert (head.status, head.headers["Content-Type"]) == (get.status, get.headers["Content-Type"])
    if get.headers.get("Content-Type") != "application/problem+json":  # whose request ids differ in length
        assert head.headers["Content-Length"] == str(len(get.body))


def test_no_content_has_no_length(django: Any, boss: str, product: int):
    answer = Answer(django, "DELETE", f"/api/v1/products/{product}", HTTP_AUTHORIZATION=boss, HTTP_IF_MATCH="*")
    assert (answer.status, answer.body) == (204, b"")
    assert "Content-Length" not in answer.headers


@pytest.fixture
def web(settings: Any) -> Iterator[Web]:
    """The embedded mode's server."""
    server = Web(0)
    server.start()
    yield server
    server.stop(Patience(5))


@pytest.mark.parametrize("path", ["/livez", "/nowhere"])
def test_the_embedded_server_sends_nothing_after_the_head(web: Web, path: str):
    with socket.create_connection(("127.0.0.1", web.port), timeout=5) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 ")
    assert body == b""


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/v1/orders", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("/api/v1/orders/7", {"GET", "HEAD", "OPTIONS"}),
        ("/api/v1/orders/7/cancel", {"POST", "OPTIONS"}),
        ("/api/v1/products/7", {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}),
    ],
)
def test_options_are_told_to_anybody(path: str, allow: set[str]):
    answer = Client().options(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert set(answer.headers["Allow"].split(", ")) == allow
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/docs", "/api/v1/schema", "/admin", "/i18n/setlang", "/api-auth/login"])
def test_only_readers_are_sent_to_the_address_with_a_slash(settings: Any, path: str, method: str, debug: bool):
    settings.DEBUG = debug
    assert Client().generic(method, path, b"{}", JSON).status_code == 404
    assert Client().get(path).status_code == 301
    assert Client().head(path).status_code == 301


# --- Health -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/livez", "/metrics"])
@pytest.mark.parametrize(
    "asked",
    [{"HTTP_HOST": "10.0.0.5:8080"}, {"HTTP_HOST": None, "SERVER_PROTOCOL": "HTTP/1.0"}, {"HTTP_HOST": "a_b"}],
    ids=["by address", "HTTP/1.0", "a strange name"],
)
def test_health_answers_whoever_asks(django: Any, caplog: Any, path: str, asked: dict[str, Any]):
    assert Answer(django, "GET", path, **asked).status == 200
    assert caplog.records == []


def test_nothing_else_does(django: Any):
    assert Answer(django, "GET", "/api/v1/products", HTTP_HOST="10.0.0.5:8080").status == 400


# --- ETags ------------------------------------------------------------------------------------------------------------
FORMS = [JSON, f"{JSON}; indent=4", "text/html"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["products/{}", "products", "auth/jwks"])
def test_a_reading_that_still_holds_is_a_304(django: Any, product: int, path: str, method: str):
    address = f"/api/v1/{path.format(product)}"
    first = Answer(django, method, address)
    again = Answer(django, method, address, HTTP_IF_NONE_MATCH=first.headers["ETag"])
    assert (first.status, again.status, again.body) == (200, 304, b"")
    assert Answer(django, method, address, HTTP_IF_NONE_MATCH='"other"').status == 200


def test_no_two_forms_share_a_tag(product: int):
    tags = {form: Client().get(f"/api/v1/products/{product}", headers={"Accept": form})["ETag"] for form in FORMS}
    assert len(set(tags.values())) == len(FORMS)
    for form in FORMS:
        for other in FORMS:
            headers = {"Accept": form, "If-None-Match": tags[other]}
            status = Client().get(f"/api/v1/products/{product}", headers=headers).status_code
            assert (status == 304) <= (form == other), (form, other)


@pytest.mark.parametrize("form", FORMS[:2])
def test_the_tag_of_json_is_good_for_a_change(boss: str, product: int, form: str):
    address, client = f"/api/v1/products/{product}", APIClient()
    client.credentials(HTTP_AUTHORIZATION=boss)
    tag = client.get(address, headers={"Accept": form})["ETag"]
    assert client.patch(address, {"price": 2}, headers={"If-Match": tag}).status_code == 200
    assert client.patch(address, {"price": 3}, headers={"If-Match": tag}).status_code == 412


# --- Who asks ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_scheme_is_written_in_any_case(boss: str, scheme: str):
    token = boss.partition(" ")[2]
    assert Client().get("/api/v1/users/me", headers={"Authorization": f"{scheme} {token}"}).status_code == 200
    assert Client().get("/api/v1/users/me", headers={"Authorization": f"{scheme}{token}"}).status_code == 401


# --- Pages elsewhere that use the API ---------------------------------------------------------------------------------
ASKED = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}


def test_pages_elsewhere_are_let_in_by_setting_only(settings: Any):
    answer = Client().options("/api/v1/orders", headers=ASKED)
    assert (answer.status_code, answer.headers.get("Access-Control-Allow-Origin")) == (204, None)

    settings.CORS_ALLOWED_ORIGINS = ["https://shop.example"]
    settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]
    headers = {**ASKED, "Access-Control-Request-Headers": "authorization, idempotency-key"}
    allowed = Client().options("/api/v1/orders", headers=headers).headers
    assert allowed["Access-Control-Allow-Origin"] == "https://shop.example"
    assert {"authorization", "idempotency-key"} <= set(allowed["Access-Control-Allow-Headers"].split(", "))
    assert "Access-Control-Allow-Credentials" not in allowed  # tokens, no cookies
    refused = Client().get("/api/v1/orders", headers={"Origin": "https://shop.example"})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, "https://shop.example")
    assert "ETag" in refused.headers["Access-Control-Expose-Headers"]

    for path, origin in (("/api/v1/orders", "https://evil.example"), ("/", "https://shop.example")):
        answer = Client().options(path, headers={**ASKED, "Origin": origin})
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_front_page_leads_to_every_list():
    answer = Client().get("/api/v1/")
    assert answer.status_code == 200
    assert {"products", "orders", "returns", "schema"} <= answer.json().keys()
    for name, url in answer.json().items():
        assert Client().get(url).status_code == (200 if name in ("products", "schema", "docs") else 401), name
