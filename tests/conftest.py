"""What every test may ask for."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import stamina
from django.apps import apps
from django.conf import settings
from django.utils import timezone

from sagas.testing import Bus, publishing_to
from shop.calls import substituting
from shop.contracts.accounts import AccountsService, ContactsService
from shop.contracts.catalog import CatalogService
from tests.support.chromium import browser, page  # noqa: F401 (fixtures; rewritten only when imported late)
from tests.support.fakes import FakeAccounts, FakeCatalog, FakeContacts
from tests.support.sagas import SAGA_TIMERS

SERVICES = list(settings.SERVICES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pages come after pages of the documentation: while these are followed, tests beside them start all processes of
    docker-compose.yml, and PostgreSQL has a hundred connections for all."""

    def turn(item: pytest.Item) -> int:
        marks = {mark.name for mark in item.iter_markers()}
        return 2 if "chaos" in marks else 1 if "browser" in marks and "acceptance" not in marks else 0

    items.sort(key=turn)


@pytest.fixture(autouse=True)
def _outages_are_not_waited_for() -> Iterator[None]:
    """Who tests waiting allows it more attempts; none takes time."""
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
def bus() -> Iterator[Bus]:
    """Events are published to a bus in memory; catalogue and accounts answer from memory."""
    bus = Bus(SAGA_TIMERS)
    with (
        publishing_to(bus),
        substituting(CatalogService, FakeCatalog()),
        substituting(AccountsService, FakeAccounts()),
        substituting(ContactsService, FakeContacts()),
    ):
        yield bus


@pytest.fixture
def no_waiting(settings: Any) -> None:
    """What is due later is due at once."""
    settings.HANDOVER_AFTER = settings.DELIVERED_AFTER = 0
    settings.STALLED_AFTER = 0
    settings.SAGAS = replace(settings.SAGAS, outbox_lease=-1)


@pytest.fixture
def due_now() -> Any:
    """Makes due what the payments have put off; returns how many that was."""

    def make_due() -> int:
        return (
            apps.get_model("payments.Payment").objects.filter(due_at__gt=timezone.now()).update(due_at=timezone.now())
        )

    return make_due


@pytest.fixture
def one_gateway_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Money that is paid with KAKAO_PAY is held until hand-over; the others take it at once."""
    monkeypatch.setattr("payments.services.captures_later", lambda name: name == "KAKAO_PAY")


@pytest.fixture
def gateways_answer_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that did not answer is asked again at once."""
    monkeypatch.setattr("payments.retries.FIRST_PAUSE", 0)
    monkeypatch.setattr("payments.settling.LEASE", timedelta(0))
