"""Sign-ins, new accounts and orders are throttled, for all processes together; no Redis, no throttle and no wait."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from django.conf import settings
from django.test import RequestFactory
from django_redis import get_redis_connection
from django_redis.pool import ConnectionFactory
from prometheus_client import REGISTRY
from rest_framework.test import APIClient

from orders.models import Order
from sagas.testing import Bus
from shop.api import throttles
from shop.api.throttles import ExportThrottle, OrderThrottle, Throttle, TokenThrottle
from tests.support.ordering import PAID_AND_SENT

ORDER = {"productId": 1, "quantity": 1, **PAID_AND_SENT}
TOKEN = ("/api/v1/auth/token", {"email": "who@example.com"})  # no password: refused before any is compared
SIGN_UP = ("/api/v1/users", {"email": "who@example.com"})

LETTER = ("/api/v1/auth/password/forgot", {"email": "no address"})


@pytest.fixture(autouse=True)
def _throttles(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two requests a minute, and nothing counted yet."""
    settings.THROTTLES = dict.fromkeys(settings.THROTTLES, 2)
    monkeypatch.setattr(Throttle, "ask_again_at", 0.0)
    forget()
    yield
    forget()


def forget() -> None:
    Throttle.leases.clear()
    redis = get_redis_connection("default")
    for key in redis.keys(f"{settings.PREFIX}throttle:*"):
        redis.delete(key)


def client_of(user_id: int) -> APIClient:
    client = APIClient()
    client.force_authenticate(SimpleNamespace(id=user_id, pk=user_id, is_staff=False, is_authenticated=True))
    return client


def passed(scope: str) -> float:
    """Requests that passed because Redis was away."""
    return REGISTRY.get_sample_value("shop_throttle_unavailable_total", {"scope": scope}) or 0


@pytest.mark.parametrize(("path", "body"), [TOKEN, SIGN_UP, LETTER], ids=["tokens", "sign-ups", "letters"])
def test_strangers_share_what_their_address_may(path: str, body: Any):
    def post(address: str) -> Any:
        return APIClient(REMOTE_ADDR=address).post(path, body)

    assert [post("10.0.0.1").status_code for _ in range(3)] == [400, 400, 429]
    refused = post("10.0.0.1")
    assert (refused.json()["code"], refused.headers["Content-Type"]) == ("C007", "application/problem+json")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert post("10.0.0.2").status_code == 400


@pytest.mark.django_db(databases=["orders"])
def test_orders_are_throttled_for_each_user(bus: Bus):
    alice, bob = client_of(1), client_of(2)

    assert [alice.post("/api/v1/orders", ORDER).status_code for _ in range(3)] == [202, 202, 429]
    assert bob.post("/api/v1/orders", ORDER).status_code == 202
    assert alice.get("/api/v1/orders").status_code == 200
    assert Order.objects.filter(user_id=1).count() == 2


def test_asking_for_the_head_alone_counts_as_much():
    """It has the same work done: of an archive of all services, say."""
    asked = RequestFactory().head("/api/v1/users/me/export", REMOTE_ADDR="10.0.0.1")
    asked.user = SimpleNamespace(pk=1)  # type: ignore[assignment]

    assert [ExportThrottle().allow_request(asked, None) for _ in range(3)] == [True, True, False]  # type: ignore[arg-type]


def test_counting_starts_again_after_a_minute():
    throttle, request = TokenThrottle(), stranger()
    assert [throttle.allow_request(request, None) for _ in range(3)] == [True, True, False]
    assert 0 < throttle.wait() <= 60

    (key,) = get_redis_connection("default").keys(f"{settings.PREFIX}throttle:tokens:*")
    get_redis_connection("default").pexpire(key, 0)
    assert throttle.allow_request(request, None)


def test_of_many_at_once_exactly_so_many_pass(settings: Any):
    settings.THROTTLES = {"orders": 100}  # of which five are taken at a time
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: OrderThrottle().allow_request(stranger(), None), range(200)))
    assert answers.count(True) == 100


def test_processes_share_a_limit_and_ask_for_some_of_it_at_a_time(settings: Any):
    settings.THROTTLES = {"orders": 100}
    redis = get_redis_connection("default")
    processes: list[dict[str, Any]] = [{}, {}]

    def pass_in(process: int) -> bool:
        Throttle.leases.clear()
        Throttle.leases.update(processes[process])
        allowed = OrderThrottle().allow_request(stranger(), None)
        processes[process] = dict(Throttle.leases)
        return allowed

    assert pass_in(0)
    assert pass_in(1)
    (key,) = redis.keys(f"{settings.PREFIX}throttle:orders:*")
    assert int(redis.get(key)) == 10  # five for each of them
    assert [pass_in(0) for _ in range(120)].count(True) == 94  # and the other still has four
    assert [pass_in(1) for _ in range(10)].count(True) == 4


def test_what_was_taken_is_good_for_its_minute_only(settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.THROTTLES = {"orders": 40}
    now = [1000.0]
    monkeypatch.setattr(Throttle, "clock", lambda self: now[0])
    assert OrderThrottle().allow_request(stranger(), None)
    (lease,) = Throttle.leases.values()
    assert (lease.left, 1059 < lease.until <= 1060) == (1, True)

    now[0] += 61
    monkeypatch.setattr("shop.api.throttles.MANY", 0)
    assert OrderThrottle().allow_request(stranger(REMOTE_ADDR="10.0.0.9"), None)
    assert list(Throttle.leases) == [f"{settings.PREFIX}throttle:orders:10.0.0.9"]


def test_nothing_is_counted_without_a_limit(settings: Any):
    settings.THROTTLES = {"tokens": 0}
    assert all(TokenThrottle().allow_request(stranger(), None) for _ in range(5))
    assert get_redis_connection("default").keys(f"{settings.PREFIX}throttle:*") == []


def test_a_proxy_is_believed_only_when_there_is_one(settings: Any):
    def ident(forwarded: str) -> str:
        return Throttle().get_ident(stranger(HTTP_X_FORWARDED_FOR=forwarded))

    assert ident("1.2.3.4") == "127.0.0.1"
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    assert ident("1.2.3.4, 5.6.7.8") == "5.6.7.8"  # what the client made up stands to the left


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.0.0.9", "10.0.0.9"),
        ("10.0.0.9", "10.0.0.9"),
        ("no address", "no address"),
    ],
)
def test_whoever_has_an_ipv6_address_has_all_of_its_network(settings: Any, address: str, counted: str):
    settings.THROTTLES = {"orders": 40}
    assert OrderThrottle().allow_request(stranger(REMOTE_ADDR=address), None)
    assert list(Throttle.leases) == [f"{settings.PREFIX}throttle:orders:{counted}"]


def stranger(**headers: str) -> Any:
    request: Any = RequestFactory().post("/api/v1/auth/token", **headers)
    request.user = SimpleNamespace(pk=None)
    return request


# --- Without Redis ----------------------------------------------------------------------------------------------------
@pytest.fixture
def silent_redis(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Something at the other end that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        patient = {"SOCKET_CONNECT_TIMEOUT": 0.1, "SOCKET_TIMEOUT": 0.1}
        away = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url, "OPTIONS": patient}
        before, settings.CACHES = settings.CACHES, settings.CACHES | {"default": away}
        monkeypatch.setattr(ConnectionFactory, "_pools", {})
        yield
        settings.CACHES = before
        ConnectionFactory._pools.clear()


@pytest.mark.usefixtures("silent_redis")
def test_without_redis_everybody_passes_and_one_in_five_seconds_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    now = [1000.0]
    monkeypatch.setattr(Throttle, "clock", lambda self: now[0])
    asked = Mock(wraps=get_redis_connection)
    monkeypatch.setattr(throttles, "get_redis_connection", asked)
    before = passed("tokens")

    assert all(TokenThrottle().allow_request(stranger(), None) for _ in range(20))
    assert passed("tokens") == before + 20
    assert asked.call_count == len(caplog.records) == 1

    now[0] += 6
    assert TokenThrottle().allow_request(stranger(), None)
    assert asked.call_count == len(caplog.records) == 2
