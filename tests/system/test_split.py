"""One service in a process of its own: what it knows, and what the others do when it is killed.

The caller is orders in this process, with neither accounts nor catalogue in it; those two run as they are deployed.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.conf import settings as project
from django.db import connections
from rest_framework.test import APIClient

from accounts.models import User
from catalog.models import Product
from orders.models import Order
from shop.api.error_codes import CODES
from shop.callers import derived_key
from shop.calls import breaker, client
from shop.contracts.offers import CALLERS
from tests.support.calls import SECRET, become, entry
from tests.support.ordering import PAID_AND_SENT
from tests.support.processes import ROOT, Process, Processes, eventually

DATABASES = ["accounts", "catalog", "orders"]
OPEN_FOR = 0.3  # seconds


# --- What a service knows -------------------------------------------------------------------------------------------
SURVEY = """
import json, django
django.setup()
from celery import current_app as app
from django.apps import apps
from django.conf import settings
from django.db import connections
from django.urls import get_resolver
from sagas.registry import local_services
from sagas.registry import STEPS, TIMERS
from celery.signals import celeryd_after_setup
celeryd_after_setup.send(sender="a worker that was told nothing")
def addresses(patterns, before=""):
    for one in patterns:
        path = before + str(one.pattern)
        yield from addresses(one.url_patterns, path) if hasattr(one, "url_patterns") else [path]
def known(alias):
    try:
        return bool(connections[alias].settings_dict["NAME"])
    except Exception as error:
        return type(error).__name__
print(json.dumps({
    "databases": {alias: one["NAME"] for alias, one in settings.DATABASES.items()},
    "payments": known("payments"),
    "apps": [one.label for one in apps.get_app_configs()],
    "addresses": sorted({path.split("/")[0] + "/" + (path + "//").split("/")[2] for path in addresses(
        get_resolver().url_patterns)}),
    "steps": sorted({name.split(".")[0] for name in {**STEPS, **TIMERS}}),
    "queues": list(app.amqp.queues.consume_from),
    "outboxes": local_services(),
    "signs": bool(settings.SIMPLE_JWT["SIGNING_KEY"]),
}))
"""


def environment(service: str) -> dict[str, str]:
    """What one service is told, and nothing of the others."""
    ours = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    key = "JWT_PRIVATE_KEY" if service == "accounts" else "JWT_PUBLIC_KEY"
    database = connections.settings[service] if service in project.SERVICES else {}
    where = f"{database.get('HOST') or '127.0.0.1'}:{database.get('PORT') or 5432}"
    who = f"{database.get('USER')}:{database.get('PASSWORD', '')}"
    return ours | {
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "SHOP_SERVICE": service,
        "SECRET_KEY": project.SECRET_KEY,
        "INTERNAL_CALLERS": ",".join(entry(caller) for caller in CALLERS),
        **({"INTERNAL_KEY": derived_key(SECRET, service)} if service in CALLERS else {}),
        "ALLOWED_HOSTS": "127.0.0.1",
        "CACHE_URL": project.CACHES["default"]["LOCATION"].replace("redis:", _redis_scheme()),
        "LOCKS_URL": project.CACHES["locks"]["LOCATION"].replace("redis:", _redis_scheme()),
        "BROKER_URL": project.BROKER_URL,
        key: project.JWT_PRIVATE_KEY if service == "accounts" else project.SIMPLE_JWT["VERIFYING_KEY"],
        f"{service.upper()}_DATABASE_URL": f"postgres://{who}@{where}/{database.get('NAME')}",
    }


def _redis_scheme() -> str:
    fake = "CONNECTION_POOL_KWARGS" in project.CACHES["default"]["OPTIONS"]
    return "fakeredis:" if fake else "redis:"


def python(environment: dict[str, str], program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def survey(service: str) -> Any:
    done = python(environment(service), SURVEY)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_service_knows_its_own_only():
    orders = survey("orders")

    assert set(orders["databases"]) == {"orders", "default"}
    assert set(orders["databases"].values()) == {connections.settings["orders"]["NAME"]}
    assert orders["payments"] == "ConnectionDoesNotExist"
    assert set(orders["apps"]) & {*project.SERVICES, "admin", "sessions"} == {"orders"}
    assert orders["addresses"] == ["api/operations", "api/orders", "api/returns", "internal/<slug:contract>", "livez/",
                                   "metrics/", "readyz/"]  # fmt: skip
    assert orders["steps"] == orders["outboxes"] == orders["queues"] == ["orders"]
    assert not orders["signs"]


def test_only_accounts_can_sign():
    accounts = survey("accounts")

    assert accounts["signs"]
    assert accounts["outboxes"] == accounts["queues"] == ["accounts"]
    assert set(accounts["apps"]) & {*project.SERVICES} == {"accounts"}


OF_ACCOUNTS = {
    "SHOP_SERVICE": "accounts",
    "ACCOUNTS_DATABASE_URL": "postgres://a@b/c",
    "INTERNAL_KEY": derived_key(SECRET, "accounts"),
}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"SHOP_SERVICE": "order"}, "SHOP_SERVICE is 'order'"),
        ({"ORDERS_DATABASE_URL": ""}, "ORDERS_DATABASE_URL"),
        ({"INTERNAL_CALLERS": ""}, "INTERNAL_CALLERS"),
        ({"INTERNAL_KEY": ""}, "INTERNAL_KEY"),
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"JWT_PUBLIC_KEY": ""}, "JWT_PUBLIC_KEY"),
        (OF_ACCOUNTS, "JWT_PRIVATE_KEY"),
    ],
)
def test_it_does_not_start_without(change: dict[str, str], complaint: str):
    done = python(environment("orders") | change, "import shop.settings")
    assert done.returncode == 1
    assert f"ImproperlyConfigured: {'' if 'SHOP' in complaint else 'Set '}{complaint}" in done.stderr


def test_it_does_not_start_with_a_key_that_nobody_takes_for_its_own():
    done = python(environment("accounts") | {"INTERNAL_KEY": derived_key(SECRET, "orders")}, "import shop.settings")
    assert done.returncode == 1
    assert "The public key of INTERNAL_KEY is not among those of accounts" in done.stderr


# --- What happens when one is killed --------------------------------------------------------------------------------
class Service:
    """A service's web process, on a port of its own that it keeps when it is started again."""

    def __init__(self, name: str, processes: Processes) -> None:
        self.name, self._processes = name, processes
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        serve = ("-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(self.port))
        self.process: Process = self._processes.start(
            self.name, *serve, "--workers", "1", "shop.wsgi:application", **environment(self.name)
        )

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        self.process.kill()


@pytest.fixture(scope="module")
def services(django_db_setup: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    processes = Processes({}, tmp_path_factory.mktemp("logs"))
    try:
        yield {name: Service(name, processes) for name in ("accounts", "catalog")}
    finally:
        processes.stop()


@pytest.fixture
def away(
    services: dict[str, Service], settings: Any, transactional_db: None
) -> Iterator[Callable[[str], Callable[[], None]]]:
    """Kills a service; returns what starts it again. Both run when a test begins."""
    settings.LOCAL_SERVICES = ("orders",)
    become(settings, "orders")
    settings.SERVICE_URLS = {name: service.url for name, service in services.items()}
    settings.BREAKER_OPEN_FOR = OPEN_FOR
    for service in services.values():
        if not service.process.runs:
            service.start()
    eventually(lambda: all(service.is_ready() for service in services.values()))
    breaker.forget()

    def kill(name: str) -> Callable[[], None]:
        services[name].kill()
        return services[name].start

    yield kill
    breaker.forget()
    client.disconnect()


pytestmark = pytest.mark.django_db(databases=DATABASES, transaction=True)


@pytest.fixture
def customer(away: Any) -> User:
    return User.objects.create_user("somebody@example.com", "a good password", name="김하나")


@pytest.fixture
def api(customer: User) -> APIClient:
    """The customer's, with a token that the accounts service has made."""
    credentials = {"email": customer.email, "password": "a good password"}
    tokens = httpx.post(f"{project.SERVICE_URLS['accounts']}/api/v1/auth/token", json=credentials).json()
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens['access']}")
    return api


@pytest.fixture
def product(db: None) -> Product:
    return Product.objects.create(name="클린 코드", price=33000, currency="KRW", category="BOOK")


def order(api: APIClient, product: Product) -> Any:
    return api.post("/api/v1/orders", {"productId": product.pk, "quantity": 2, **PAID_AND_SENT})


def names(api: APIClient) -> list[tuple[str, str]]:
    answer = api.get("/api/v1/orders")
    assert answer.status_code == 200
    return [(one["userName"], one["userEmail"]) for one in answer.json()["results"]]


def circuit(service: str) -> str:
    return breaker.breaker_of(service).snapshot()["state"]


def test_without_accounts_orders_are_listed_and_placed_and_names_come_back(
    away: Callable[[str], Callable[[], None]], api: APIClient, product: Product
):
    known, unknown = ("김하나", "somebody@example.com"), ("Unknown User", "")
    assert order(api, product).status_code == 202
    assert names(api) == [known]

    start_again = away("accounts")
    assert names(api) == [unknown]
    placed = order(api, product)  # on the token alone
    assert (placed.status_code, placed.json()["totalPrice"]) == (202, 66000)
    while circuit("accounts") != "open":
        assert names(api) == [unknown] * 2

    start_again()
    eventually(lambda: names(api) == [known] * 2)
    eventually(lambda: names(api) and circuit("accounts") == "closed")


def test_without_the_catalogue_there_is_no_price_and_it_says_when_to_come_back(
    away: Callable[[str], Callable[[], None]], api: APIClient, product: Product
):
    placed = order(api, product).json()["id"]
    start_again = away("catalog")
    fewer = {"items": [{"productId": product.pk, "quantity": 1}]}  # at the price that it was ordered for
    changed = api.post(f"/api/v1/orders/{placed}/changes", fewer, headers={"Idempotency-Key": "k"})
    assert (changed.status_code, changed.json()["status"], changed.json()["amount"]) == (202, "WAITING", -33000)
    for _ in range(6):  # the last ones are not even sent
        refused = order(api, product)
        assert (refused.status_code, refused.json()["code"]) == (503, "C008")
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["Content-Type"] == "application/problem+json"
    assert (circuit("catalog"), Order.objects.count()) == ("open", 1)

    start_again()
    eventually(lambda: order(api, product).status_code == 202)
    eventually(lambda: order(api, product).status_code == 202 and circuit("catalog") == "closed")


def test_a_services_process_answers_for_itself_only(services: dict[str, Service], away: Any):
    with httpx.Client(base_url=services["catalog"].url) as client:
        assert client.get("/livez").json() == {"status": "alive"}
        assert client.get("/readyz").json()["checks"] == {"database catalog": "up", "redis": "up"}
        assert "shop_internal_replay_unchecked_total" in client.get("/metrics").text
        assert client.get("/api/v1/products").status_code == 200
        for path in ("/api/v1/orders", "/api/v1/users/me", "/admin/", "/docs/", "/"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "C010"), path
        unsigned = client.post("/internal/catalog/CatalogService/get_products", json={"product_ids": []})
        assert (unsigned.status_code, unsigned.json()["title"]) == (401, CODES["C006"].title)
