"""deploy/nginx/nginx.conf, in front of stubs: what is let in, where it goes, and what is answered instead."""

import http.server
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from tests.support.gateway import NETWORK, Names, free_port, nginx
from tests.support.processes import PATIENCE, eventually

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
PROBLEM = {"type", "title", "status", "detail", "instance", "code", "timestamp", "traceId", "errors"}
OWNERS = {
    "accounts": [
        "/api/v1/auth/token",
        "/api/v1/auth/token/refresh",
        "/api/v1/auth/logout",
        "/api/v1/oauth/token",
        "/api/v1/users/me",
    ],
    "catalog": ["/api/v1/products", "/api/v1/products/7"],
    "orders": ["/api/v1/orders", "/api/v1/orders/7/cancel", "/api/v1/operations/orders/breakers"],
    "inventory": ["/api/v1/inventory/7/adjustments"],
    "payments": ["/api/v1/payments"],
    "delivery": ["/api/v1/deliveries", "/api/v1/deliveries/carrier-events"],
    "notifications": ["/api/v1/notifications", "/api/v1/operations/notifications/breakers"],
    "shop": ["/", "/livez", "/docs/", "/api/v1/schema/", "/admin/", "/static/a.css", "/nope"],
}


class Stub:
    """A replica of a service: says who it is, and remembers what it was asked. It may hang up or keep silent."""

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name, self.address = name, address
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.behaviour = "answer"
        self.release = threading.Event()
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                stub.seen.append((self.command, self.path, {key.lower(): value for key, value in self.headers.items()}))
                self.close_connection = True
                if stub.behaviour == "keep silent":
                    stub.release.wait()
                if stub.behaviour == "answer":
                    body = stub.name.encode()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.send_header("X-Request-ID", self.headers["X-Request-ID"])
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        for method in METHODS:
            setattr(Handler, f"do_{method}", Handler.handle_any)
        self.server = http.server.ThreadingHTTPServer((address, port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        if self.thread.is_alive():
            self.release.set()
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()


class Town:
    """The gateway and the services behind it."""

    def __init__(self, names: Names, port: int) -> None:
        self.names, self.port = names, port
        self.stubs: list[Stub] = []

    def settle(self, name: str) -> Stub:
        """One more replica of a service."""
        stub = Stub(name, f"{NETWORK}.{10 + len(self.stubs)}", self.port)
        self.stubs.append(stub)
        self.names.addresses.setdefault(name, []).append(stub.address)
        return stub

    def close(self) -> None:
        for stub in self.stubs:
            stub.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Town, httpx.Client]]:
    """With the times that it is deployed with: on a busy machine an answer may be late, but comes."""
    changes = {"zone=guesses:10m rate=10r/s": "zone=guesses:10m rate=1r/m"}  # a slow machine's guesses are too many too
    with closing(Names()) as names, closing(Town(names, free_port())) as town:
        for name in OWNERS:
            if name != "payments":  # away
                town.settle(name)
        folder = tmp_path_factory.mktemp("nginx")
        with nginx(folder, names, town.port, changes) as url, httpx.Client(base_url=url, timeout=PATIENCE) as ask:
            yield town, ask


@pytest.fixture(scope="module")
def hurried(gateway: tuple[Town, httpx.Client], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A gateway that soon gives up on who says nothing, in front of the same services. What answers may be too late."""
    town, _ = gateway
    changes = {
        "proxy_read_timeout 20s": "proxy_read_timeout 300ms",
        "client_header_timeout 5s": "client_header_timeout 300ms",
        "client_body_timeout 10s": "client_body_timeout 300ms",
        "proxy_connect_timeout 1s": "proxy_connect_timeout 300ms",
    }
    folder = tmp_path_factory.mktemp("hurried")
    at = f"{NETWORK}.4"
    with nginx(folder, town.names, town.port, changes, at) as url, httpx.Client(base_url=url, timeout=PATIENCE) as ask:
        yield ask


@pytest.fixture
def town(gateway: tuple[Town, httpx.Client]) -> Town:
    return gateway[0]


@pytest.fixture
def ask(gateway: tuple[Town, httpx.Client]) -> httpx.Client:
    return gateway[1]


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.headers.get_list("X-Request-ID") != []
    if answer.request.method == "HEAD":
        return {}
    document = answer.json()
    assert set(document) == PROBLEM
    assert (document["status"], document["code"], document["errors"]) == (status, code, [])
    return document


# --- Where it goes --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("owner", [name for name in OWNERS if name != "payments"])
def test_each_service_gets_what_is_its_own(ask: httpx.Client, owner: str):
    assert {path: ask.get(path).text for path in OWNERS[owner]} == dict.fromkeys(OWNERS[owner], owner)


def addresses(patterns: list[URLPattern | URLResolver], owner: str = "shop", before: str = "/") -> Iterator[Any]:
    for one in patterns:
        path = before + str(one.pattern)
        if isinstance(one, URLResolver):
            module = getattr(one.urlconf_name, "__name__", str(one.urlconf_name))
            yield from addresses(one.url_patterns, module.removesuffix(".urls") if "api/v1" in path else owner, path)
        else:
            yield path.replace("<id:", "<int:"), owner


def test_every_address_of_every_service_leads_there(ask: httpx.Client, town: Town):
    routes = {path: owner for path, owner in addresses(get_resolver().url_patterns) if path.startswith("/api/v1/")}
    assert len(routes) > 15
    for path, owner in routes.items():
        if owner in OWNERS and owner != "payments" and "operations" not in path:
            asked = path.replace("<slug:service>", "orders").split("<")[0]
            assert ask.get(asked).text == owner, path


def test_the_request_arrives_as_it_was_sent(ask: httpx.Client, town: Town):
    (orders,) = [stub for stub in town.stubs if stub.name == "orders"]
    for method in METHODS:
        assert ask.request(method, "/api/v1/orders/%EA%B9%80%2F?a=1&b=%00", content=b"x").status_code == 200
        assert orders.seen[-1][:2] == (method, "/api/v1/orders/%EA%B9%80%2F?a=1&b=%00")


# --- What is passed on ----------------------------------------------------------------------------------------------
def test_a_client_cannot_say_where_it_comes_from(ask: httpx.Client, town: Town):
    (orders,) = [stub for stub in town.stubs if stub.name == "orders"]
    lies = ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix",
            "X-Real-IP", "Forwarded", "Proxy", "X-Internal-Signature", "X-Internal-Nonce",
            "X-Internal-Timestamp"]  # fmt: skip
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "b3": "0", "Authorization": "Bearer x", "If-Match": '"1"'}

    ask.get("/api/v1/orders", headers={**dict.fromkeys(lies, "evil"), **trace, "Host": "shop.example.com"})

    headers = orders.seen[-1][2]
    assert "evil" not in headers.values()
    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert headers["host"] == "shop.example.com"
    assert {name: headers[name.lower()] for name in trace} == trace


def test_a_proxy_that_ends_tls_can_be_named(town: Town, tmp_path: Path):
    (orders,) = [stub for stub in town.stubs if stub.name == "orders"]
    named = {"# 192.0.2.1 1;": "127.0.0.1 1;", "# set_real_ip_from 192.0.2.1;": "set_real_ip_from 127.0.0.1;",
             "zone=guesses:10m rate=10r/s": "zone=guesses:10m rate=1r/m",
             "zone=guesses burst=40": "zone=guesses burst=1"}  # fmt: skip
    networks = ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:2::3", "2001:db8:0:2::1",
                "::ffff:10.0.0.1", "::ffff:10.0.0.2", "::ffff:10.0.0.3", "10.0.1.1", "10.0.1.2"]  # fmt: skip
    said = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    with nginx(tmp_path / "nginx", town.names, town.port, named, address=f"{NETWORK}.2") as url:
        httpx.get(f"{url}/api/v1/orders", headers=said)
        guesses = [httpx.post(f"{url}/api/v1/auth/token", headers={"X-Forwarded-For": one}) for one in networks]
    assert [answer.status_code for answer in guesses] == [200, 200, 429, *[200] * 6]  # the third of a /64
    headers = orders.seen[-1][2]
    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("203.0.113.7", "https")


def test_a_request_has_one_id_in_and_out(ask: httpx.Client, town: Town):
    (orders,) = [stub for stub in town.stubs if stub.name == "orders"]
    for given, kept in (("abc-1", True), ("", False), ("x" * 65, False), ('a"b', False)):
        answer = ask.get("/api/v1/orders", headers={"X-Request-ID": given})
        (returned,) = answer.headers.get_list("X-Request-ID")
        assert returned == orders.seen[-1][2]["x-request-id"]
        assert returned == given if kept else len(returned) == 32


@pytest.mark.parametrize(
    "path",
    ["/internal", "/internal/accounts/AccountsService/get_users", "//internal/a/b/c", "/%69nternal/a/b/c",
     "/x/../internal/a/b/c", "/api/v1/orders/..%2f..%2f..%2finternal/a/b/c", "/./internal/a/b/c"],
)  # fmt: skip
def test_nobody_outside_reaches_what_is_internal(ask: httpx.Client, town: Town, path: str):
    before = [len(stub.seen) for stub in town.stubs]
    for method in ("GET", "POST"):
        status, head, _ = raw(ask, f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert status == 404, path
        assert "application/problem+json" in head
    assert [len(stub.seen) for stub in town.stubs] == before


@pytest.mark.parametrize("path", ["/readyz", "/metrics", "/metrics/", "//metrics", "/x/../readyz", "/%6detrics"])
def test_nobody_outside_reaches_what_is_for_those_who_watch(ask: httpx.Client, town: Town, path: str):
    before = [len(stub.seen) for stub in town.stubs]
    status, head, _ = raw(ask, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, "application/problem+json" in head) == (404, True)
    assert [len(stub.seen) for stub in town.stubs] == before


def raw(ask: httpx.Client, request: str) -> tuple[int, str, str]:
    """Send what no client library would; status, head and body of the answer."""
    with socket.create_connection((ask.base_url.host, ask.base_url.port), timeout=10) as connection:
        connection.sendall(request.replace("HTTP/1.1\r\n", "HTTP/1.1\r\nConnection: close\r\n").encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), head, body


# --- When a service is away -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
def test_away_is_a_problem_document_for_every_method(ask: httpx.Client, method: str):
    answer = ask.request(method, "/api/v1/payments?x=1", content=b"{}", headers={"X-Request-ID": "mine"})
    document = problem(answer, 503, "C008")
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["X-Request-ID"] == "mine"
    if document:
        assert (document["instance"], document["traceId"]) == ("/api/v1/payments", "mine")


def test_a_problem_names_the_trace_and_no_more_of_the_address_than_is_harmless(ask: httpx.Client):
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    document = problem(ask.get('/api/v1/payments/"},<script>', headers=headers), 503, "C008")
    assert (document["instance"], document["traceId"]) == ("", "a" * 32)


@pytest.fixture
def replicas(town: Town) -> Iterator[Callable[[int], list[Stub]]]:
    """That many replicas of payments, for this test."""
    settled: list[Stub] = []

    def settle(count: int) -> list[Stub]:
        settled.extend(town.settle("payments") for _ in range(count))
        return settled

    yield settle
    town.names.addresses.pop("payments", None)
    for stub in settled:
        stub.close()


def ids_seen(stubs: list[Stub]) -> list[str]:
    """The ids of the requests that have arrived, once for each replica at which they have."""
    return [headers["x-request-id"] for stub in stubs for _, _, headers in list(stub.seen)]


def test_replicas_share_the_work_and_a_dead_one_is_left_out(ask: httpx.Client, replicas: Any):
    stubs = replicas(3)
    eventually(lambda: ask.get("/api/v1/payments").status_code == 200)
    eventually(lambda: ask.get("/api/v1/payments").is_success and all(stub.seen for stub in stubs))

    stubs[0].close()
    for method in ("GET", "POST") * 20:
        assert ask.request(method, "/api/v1/payments").status_code == 200


def test_what_may_have_been_done_is_not_done_again(ask: httpx.Client, hurried: httpx.Client, replicas: Any):
    stubs = replicas(3)
    for behaviour, status, gateway in (("hang up", 503, ask), ("keep silent", 504, hurried)):
        for stub in stubs:
            stub.behaviour = behaviour
        eventually(lambda: gateway.post("/api/v1/payments").headers["X-Request-ID"] in ids_seen(stubs))  # noqa: B023
        for method, times in (("GET", 3), ("PUT", 3), ("POST", 1), ("PATCH", 1)):
            answer = gateway.request(method, "/api/v1/payments", content=b"{}")
            problem(answer, status, "C008")
            asked = answer.headers["X-Request-ID"]
            eventually(lambda: ids_seen(stubs).count(asked) >= times)  # noqa: B023 (a silent one may note it late)
            assert ids_seen(stubs).count(asked) == times, (behaviour, method)
            assert ("Retry-After" in answer.headers) == (status == 503)


def test_one_that_takes_no_connections_is_away(hurried: httpx.Client, town: Town):
    """As a machine that was switched off: nothing can have been done, so it is a 503, not a 504."""
    address = f"{NETWORK}.200"
    with socket.socket() as deaf, socket.socket() as first:
        deaf.bind((address, town.port))
        deaf.listen(0)
        first.connect((address, town.port))  # fills the backlog
        town.names.addresses["payments"] = [address]
        try:
            eventually(lambda: hurried.post("/api/v1/payments").elapsed.total_seconds() > 0.2)
            problem(hurried.post("/api/v1/payments"), 503, "C008")
        finally:
            del town.names.addresses["payments"]


# --- What is not let in ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [262_144, 262_145])
def test_the_largest_body(ask: httpx.Client, size: int):
    for content in (b"x" * size, iter([b"x" * size])):
        answer = ask.post("/api/v1/orders", content=content)
        if size == 262_144:
            assert answer.status_code == 200
        else:
            problem(answer, 413, "C002")


@pytest.mark.parametrize("sent", ["POST /api/v1/orders HTTP/1.1\r\nHost: x\r\n", "Content-Length: 9\r\n\r\nhalf"])
def test_an_unfinished_request_reaches_no_service_and_ends(hurried: httpx.Client, town: Town, sent: str):
    (orders,) = [stub for stub in town.stubs if stub.name == "orders"]
    before = len(orders.seen)
    whole = sent if sent.startswith("POST") else f"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\n{sent}"
    gateway = hurried.base_url.host, hurried.base_url.port
    with socket.create_connection(gateway, timeout=PATIENCE) as connection:
        connection.sendall(whole.encode())
        with suppress(ConnectionResetError):
            assert connection.recv(65536) == b""
    assert len(orders.seen) == before


@pytest.fixture
def _many_sockets() -> Iterator[None]:
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_many_sockets")
def test_thousands_of_unfinished_heads_leave_room_for_others(town: Town, tmp_path: Path):
    with nginx(tmp_path / "nginx", town.names, town.port, address=f"{NETWORK}.3") as url, ExitStack() as strangers:
        there = httpx.URL(url)
        for _ in range(2300):
            connection = strangers.enter_context(socket.create_connection((there.host, there.port), timeout=10))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        assert httpx.get(f"{url}/api/v1/orders").status_code == 200


@pytest.mark.parametrize(
    ("request_line", "status", "code"),
    [
        ("GET /api/v1/orders HTTP/1.1", 400, "C002"),  # without a host
        ("TRACE / HTTP/1.1\r\nHost: x", 405, "C003"),
        (f"GET /{'x' * 9000} HTTP/1.1\r\nHost: x", 400, "C002"),
        (f"GET / HTTP/1.1\r\nHost: x\r\nCookie: {'x' * 40000}", 400, "C002"),
        ("GET /%00 HTTP/1.1\r\nHost: x", 400, "C002"),
    ],
)
def test_what_is_no_request(ask: httpx.Client, request_line: str, status: int, code: str):
    got, head, body = raw(ask, f"{request_line}\r\n\r\n")
    assert got == status
    assert "application/problem+json" in head
    assert f'"code":"{code}"' in body


def test_too_many_guesses_and_too_many_requests(ask: httpx.Client):
    guesses = [ask.post("/api/v1/auth/token") for _ in range(80)]
    assert guesses[0].status_code == 200
    assert {guess.status_code for guess in guesses} == {200, 429}
    problem(guesses[-1], 429, "C007")
    assert guesses[-1].headers["Retry-After"] == "1"
    assert ask.get("/api/v1/orders").status_code == 200  # everything else goes on
