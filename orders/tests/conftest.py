"""What every test of orders may ask for."""

from types import SimpleNamespace

import pytest
from rest_framework.test import APIClient

from orders import views
from orders.models import Order
from orders.tests.ordering import client_of
from sagas.testing import Bus
from tests.conftest import _outages_are_not_waited_for, bus, no_waiting

__all__ = ["_outages_are_not_waited_for", "bus", "no_waiting"]


@pytest.fixture
def alice(bus: Bus) -> APIClient:
    return client_of(1)


@pytest.fixture
def saga_runs(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a request waits, the saga goes on up to the delivery; nobody looks at a clock."""
    clock = iter(range(1000))
    waiting = SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: bus.drain(timers=False))
    monkeypatch.setattr(views, "time", waiting)


@pytest.fixture
def order() -> Order:
    return Order.objects.create(user_id=7, currency="KRW", total_price=1, payment_gateway="TOSS_PAYMENTS")
