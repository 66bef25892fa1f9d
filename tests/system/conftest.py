"""A customer and a clerk, and an order that was delivered."""

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from inventory.services import seed_stock
from notifications.models import Notification
from sagas.testing import Bus
from shop.contracts.events import Line
from tests.support.ordering import place_order
from tests.support.return_requests import PIECES, client


@pytest.fixture
def customer(bus: Bus) -> User:
    return User.objects.create(id=1, email="hana@example.com", name="Hana", password="!")


@pytest.fixture
def order_id(bus: Bus, customer: User) -> int:
    """Three pieces for 1,000 won each and one for 2,000, delivered."""
    seed_stock({1: PIECES, 2: PIECES})
    placed = place_order(user_id=customer.pk, lines=[Line(1, 3), Line(2, 1)]).pk
    bus.drain()
    Notification.objects.all().delete()
    return placed


@pytest.fixture
def hana(customer: User) -> APIClient:
    return client(customer)


@pytest.fixture
def clerk(bus: Bus) -> APIClient:
    return client(
        User.objects.create(id=9, email="s@example.com", name="S", password="!", is_staff=True, is_superuser=True)
    )
