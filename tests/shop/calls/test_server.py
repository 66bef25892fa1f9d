"""Where a service answers the others: who is let in, and what the contract does not know."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as settings_
from django.db import OperationalError, connections
from django.test import Client
from django_redis import get_redis_connection
from django_redis.pool import ConnectionFactory

from shop.callers import derived_key, public_part, rings
from shop.calls import server, wire
from shop.contracts.accounts import AccountsService
from shop.contracts.offers import OFFERS
from tests.support.calls import become, known

pytestmark = pytest.mark.django_db(databases=["accounts"])


@pytest.fixture(autouse=True)
def _secret(settings: Any) -> None:
    known(settings, "orders", "notifications")
    become(settings, "orders")


PATH = wire.path_of(AccountsService, "get_users", "accounts")
BODY = b'{"user_ids":[1]}'


@pytest.fixture
def post(settings: Any) -> Callable[..., int]:
    """Sends a request to the internal address; returns the status."""
    settings.ROOT_URLCONF = "shop.calls.urls"

    def send(path: str = PATH, body: bytes = BODY, headers: Any = None) -> int:
        headers = wire.sign(path, body) if headers is None else headers
        return Client().post(path, body, content_type="application/json", headers=headers).status_code

    return send


def test_signed_and_new(post: Callable[..., int]):
    assert post() == 200


@pytest.mark.parametrize("change", [wire.TIMESTAMP, wire.NONCE, wire.SIGNATURE, wire.CALLER])
def test_nothing_signed_can_be_changed_or_left_out(post: Callable[..., int], change: str):
    headers = wire.sign(PATH, BODY)
    wrong = {
        wire.TIMESTAMP: str(int(time.time()) - 1),
        wire.NONCE: "0" * 32,
        wire.SIGNATURE: "é" * 64,
        wire.CALLER: "notifications",
    }[change]

    assert post(headers=headers | {change: wrong}) == 401
    assert post(headers={name: value for name, value in headers.items() if name != change}) == 401
    assert post(headers=headers) == 200


def test_a_signature_is_for_one_path_and_one_body(post: Callable[..., int]):
    assert post(headers=wire.sign(PATH.replace("get_users", "get_user"), BODY)) == 401
    assert post(headers=wire.sign(PATH, b'{"user_ids":[2]}')) == 401
    assert post(headers={}) == 401


@pytest.mark.parametrize(("age", "status"), [(0, 200), (29, 200), (32, 401), (-32, 401)])
def test_an_old_request_is_refused(post: Callable[..., int], monkeypatch: pytest.MonkeyPatch, age: int, status: int):
    then = time.time() - age
    with monkeypatch.context() as patched:
        patched.setattr(wire.time, "time", lambda: then)
        headers = wire.sign(PATH, BODY)
    assert post(headers=headers) == status


def test_a_request_is_answered_once(post: Callable[..., int]):
    headers = wire.sign(PATH, BODY)
    assert [post(headers=headers) for _ in range(3)] == [200, 401, 401]
    remembered = get_redis_connection("default").ttl(f"{settings_.PREFIX}internal:{headers[wire.NONCE]}")
    assert 2 * wire.WINDOW - 5 < remembered <= 2 * wire.WINDOW + 1  # it is refused for its age by then


def test_while_redis_is_away_replays_are_answered_and_counted(
    post: Callable[..., int], settings: Any, monkeypatch: pytest.MonkeyPatch
):
    away = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = settings.CACHES | {"default": away}
    monkeypatch.setattr(ConnectionFactory, "_pools", {})
    before, headers = server.UNCHECKED._value.get(), wire.sign(PATH, BODY)

    assert [post(headers=headers) for _ in range(2)] == [200, 200]
    assert server.UNCHECKED._value.get() == before + 2
    assert post(headers=headers | {wire.NONCE: "0" * 32}) == 401


def test_nobody_signs_as_another(post: Callable[..., int], settings: Any):
    for name, key in (("orders", "catalog"), ("catalog", "catalog"), ("", "orders"), ("shop", "orders")):
        become(settings, name, key=key)
        assert post() == 401, (name, key)


def test_who_answers_has_public_keys_only_and_cannot_call(settings: Any):
    """What all containers have in common does not sign."""
    settings.SHOP_SERVICE, settings.INTERNAL_KEY = "orders", settings.INTERNAL_CALLERS["orders"][0]
    with pytest.raises(TypeError):
        wire.sign(PATH, BODY)
    settings.INTERNAL_KEY = settings.INTERNAL_CALLERS["orders"][0].public_bytes_raw().hex()
    with pytest.raises(wire.BadSignature):
        wire.verify(PATH, wire.sign(PATH, BODY), BODY)


def test_while_a_key_is_replaced_both_are_good(post: Callable[..., int], settings: Any):
    settings.INTERNAL_CALLERS = rings([f"orders={public_part(derived_key(one, 'orders'))}" for one in ("new", "old")])
    for secret in ("old", "new"):
        settings.INTERNAL_KEY = derived_key(secret, "orders")
        assert post() == 200
    settings.INTERNAL_CALLERS = rings([f"orders={public_part(derived_key('new', 'orders'))}"])
    assert post() == 200
    settings.INTERNAL_KEY = derived_key("old", "orders")
    assert post() == 401


def test_a_caller_calls_what_it_has_business_with(post: Callable[..., int], settings: Any):
    known(settings, "inventory")
    become(settings, "inventory")  # which asks catalog for products
    assert post() == 403


BUSINESS = {
    "orders": {
        "AccountsService": {
            "find_users",
            "get_user",
            "get_users",
        },  # never `claim_letters`: it gives out tokens for passwords
        "CatalogService": {"get_products"},
        "MessagesService": {"get_messages"},
    },
    "notifications": {"ContactsService": {"get_contacts", "get_rights", "claim_letters", "mark_letters_sent"}},
    "inventory": {"CatalogService": {"get_products"}},
    "accounts": {
        "OrdersService": {"get_orders_of"},
        "MessagesService": {"get_messages"},
        "PersonalDataService": {"get_personal_data"},
    },
    "catalog": {},
    "payments": {},
    "delivery": {},
}


@pytest.mark.parametrize("caller", settings_.SERVICES)
def test_a_key_opens_the_methods_that_its_service_has_business_with(
    post: Callable[..., int], settings: Any, caller: str
):
    known(settings, caller)
    become(settings, caller)
    opened: dict[str, set[str]] = {}
    for contract, offer in OFFERS.items():
        for method in wire.methods_of(contract):
            status = post(wire.path_of(contract, method, offer.service or "delivery"), b'{"no":"such argument"}')
            assert status in (400, 403)
            if status == 400:
                opened.setdefault(contract.__name__, set()).add(method)
    assert opened == BUSINESS[caller]


@pytest.mark.parametrize("service", settings_.SERVICES)
def test_the_offers_name_those_who_call(service: str):
    """Every `connect(Contract)` in a service's code, but for its admin, which runs in the back office only."""
    sources = [path for path in Path(service).glob("**/*.py") if "tests" not in path.parts and path.name != "admin.py"]
    text = "\n".join(path.read_text() for path in sources)
    allowed = [contract for contract, offer in OFFERS.items() if service in offer.callers and offer.service]
    assert set(re.findall(r"\bconnect\((\w+)\)", text)) == {contract.__name__ for contract in allowed}
    assert [name for contract in allowed for name in wire.methods_of(contract) if f".{name}(" not in text] == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (PATH.replace("get_users", "seed_users"), BODY, 404),
        (PATH.replace("get_users", "__init__"), BODY, 404),
        (PATH.replace("AccountsService", "Secrets"), BODY, 404),
        (PATH.replace("/accounts/", "/catalog/"), BODY, 404),
        (PATH.replace("/accounts/", "/nobody/"), BODY, 404),
        (PATH, b"", 400),
        (PATH, b'{"user_ids":["one"]}', 400),
        (PATH, b'{"user_ids":[1],"more":1}', 400),
        (PATH, b"[" * 100_000, 400),
    ],
)
def test_what_the_contract_does_not_know(post: Callable[..., int], path: str, body: bytes, status: int):
    assert post(path, body) == status


def test_only_post(settings: Any):
    settings.ROOT_URLCONF = "shop.calls.urls"
    assert Client().get(PATH, headers=wire.sign(PATH, b"")).status_code == 405


def test_an_outage_of_the_services_own_is_a_503(post: Callable[..., int]):
    def refuse(*args: Any) -> Any:
        raise OperationalError("the database system is shutting down")

    with connections["accounts"].execute_wrapper(refuse):
        assert post() == 503


def test_all_together_there_is_no_internal_address():
    assert Client().post(PATH, BODY, content_type="application/json", headers=wire.sign(PATH, BODY)).status_code == 404
