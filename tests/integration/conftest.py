"""The shop on RabbitMQ, PostgreSQL and Redis, as processes of its own: started when a test first wants them running,
shared by all that do, and ended with this folder.

Nobody's data is touched: seven databases are made for this folder and dropped after it, and the queues are those of
the vhost that BROKER_URL names.
"""

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import current_app
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from kombu import pools

from sagas.publisher import broker
from shop.contracts.carriers import SANDBOXES
from tests.support import flushing, forks
from tests.support.flushing import drop_all
from tests.support.processes import Processes
from tests.support.proxy import Proxy
from tests.support.running_shop import Queues, Shop

SCHEMES = {"DATABASE_URL": "postgres", "BROKER_URL": "amqp", "LOCKS_URL": "redis", "CACHE_URL": "redis"}
EVERY_DATABASE = [*settings.SERVICES, "default"]
CARRIERS_SECRETS = {code: f"known to {code} and the shop: to nobody else" for code in SANDBOXES}
TAIL = 4000  # characters of a process's log that are shown when a test fails


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/integration/" in item.nodeid:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="package")
def _servers() -> None:
    """None of these tests is skipped for want of a server."""
    found = {
        "DATABASE_URL": settings.DATABASES["orders"]["ENGINE"].rpartition(".")[2].removesuffix("ql"),
        "BROKER_URL": urlsplit(settings.BROKER_URL).scheme,
        "LOCKS_URL": urlsplit(settings.CACHES["locks"]["LOCATION"]).scheme,
        "CACHE_URL": urlsplit(settings.CACHES["default"]["LOCATION"]).scheme,
    }
    wrong = [name for name, scheme in SCHEMES.items() if not found[name].startswith(scheme)]
    fakes = [name for name, alias in (("LOCKS_URL", "locks"), ("CACHE_URL", "default")) if _is_fake(alias)]
    if settings.EMBEDDED:
        wrong.append("DATABASE_URL")
    if missing := sorted({*wrong, *fakes}):
        pytest.fail(
            f"These tests need real servers, and {', '.join(missing)} names none. `make test` finds or starts them.",
            pytrace=False,
        )


def _is_fake(alias: str) -> bool:
    return "CONNECTION_POOL_KWARGS" in settings.CACHES[alias]["OPTIONS"]


@pytest.fixture(scope="package")
def _databases(_servers: None, django_db_blocker: Any) -> Iterator[str]:
    """Seven databases of this folder's own, here and in the processes; yields their prefix."""
    prefix = f"{_prefix()}it_"
    before = {alias: connections.settings[alias]["NAME"] for alias in EVERY_DATABASE}
    with django_db_blocker.unblock():
        _point_at({alias: f"{prefix}{alias}" for alias in settings.SERVICES} | {"default": f"{prefix}accounts"})
        drop_all(prefix)
        call_command("migrate_all", verbosity=0)
        flushing.commit_without_waiting(settings.SERVICES)
        try:
            yield prefix
        finally:
            drop_all(prefix)
            _point_at(before)


def _prefix() -> str:
    """What the run's databases begin with. Here a name may be one of pytest-django's already."""
    return settings.DATABASES["orders"]["NAME"].removeprefix("test_").removesuffix("orders")


def _point_at(names: dict[str, str]) -> None:
    connections.close_all()
    for alias, name in names.items():
        connections.settings[alias]["NAME"] = name


@pytest.fixture(scope="package")
def proxy(_servers: None) -> Iterator[Proxy]:
    """Stands between the processes and the broker."""
    parts = urlsplit(settings.BROKER_URL)
    with Proxy(parts.hostname or "localhost", parts.port or 5672) as proxy:
        yield proxy


@pytest.fixture(scope="package")
def broker_behind_proxy(proxy: Proxy) -> str:
    """The broker's URL for those who are to feel what happens to connections."""
    parts = urlsplit(settings.BROKER_URL)
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}127.0.0.1:{proxy.port}").geturl()


@pytest.fixture(scope="package")
def queues(_servers: None) -> Iterator[Queues]:
    """The broker's side of the shop."""
    with Queues(settings.BROKER_URL) as queues:
        queues.delete()
        yield queues
        broker.disconnect()
        pools.reset()
        current_app._after_fork()  # a closed pool is no use to who comes next, perhaps this folder again
        queues.delete()


@pytest.fixture(scope="package")
def _shop(
    _databases: str, queues: Queues, broker_behind_proxy: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    environment = {
        **os.environ,
        **{f"{service.upper()}_DATABASE_URL": "" for service in settings.SERVICES},
        "DATABASE_PREFIX": _databases,
        "BROKER_URL": broker_behind_proxy,
        "EMAIL_URL": "dummymail:",
        # Time passes when a test says so: nothing is handed over by itself, and no stalled order is helped along,
        # so whatever goes on after a fault does so by what the fault's own test is about.
        "HANDOVER_AFTER": "3600",
        "DELIVERED_AFTER": "3600",
        "STALLED_AFTER": "3600",
        "OUTBOX_LEASE": "1",
        "REMOTE_CONTROL": "1",  # by which the tests ask workers what they do
        "PYTHONUNBUFFERED": "1",
    }
    processes = Processes(environment, tmp_path_factory.mktemp("logs"))
    shop = Shop(processes, queues)
    try:
        yield shop
    finally:
        processes.stop()


@pytest.fixture
def shop(_shop: Shop, request: pytest.FixtureRequest, settings: Any) -> Shop:
    """A shop with goods and customers, without orders, and without a process running."""
    settings.STALLED_AFTER = 3600
    _shop.close()
    _shop.clear()
    request.node.stash[LOGS] = _shop.processes
    return _shop


@pytest.fixture
def running_shop(_shop: Shop, request: pytest.FixtureRequest, settings: Any) -> Iterator[Shop]:
    """A shop with goods and customers, without orders, with everything running, and more than one of each."""
    settings.STALLED_AFTER = 3600
    _shop.open()
    _shop.clear()
    request.node.stash[LOGS] = _shop.processes
    yield _shop
    _shop.must_run()


@pytest.fixture(scope="package")
def forking(_shop: Shop) -> None:
    """Processes of the shop can be forked. What the dead held is free, or taken over, in no time."""
    leases = {"LOCK_LEASE": "0.3", "OUTBOX_LEASE": "0.3"}
    others = {
        "CARRIER_WEBHOOK_SECRETS": ",".join(f"{code}={secret}" for code, secret in CARRIERS_SECRETS.items()),
        "DEBUG": "1",
    }  # a slow gateway sleeps with DEBUG only
    forks.begin({**_shop.processes.environment, "BROKER_URL": settings.BROKER_URL, **leases, **others})


# —— The logs of the processes, when a test fails ————————————————————————————————————————————————————————————————————
LOGS = pytest.StashKey[Processes]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    if call.when in ("setup", "call"):
        for process in item.stash[LOGS].all if LOGS in item.stash else []:
            news = process.news()
            if report.failed and news:
                report.sections.append((f"log of {process.name}", news[-TAIL:]))
    return report
