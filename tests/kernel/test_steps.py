"""How a service declares its part: a step stays the function that it was."""

import pytest

from inventory import services
from inventory.models import Inbox, Reservation
from inventory.tasks import reserve_stock, ship_stock
from sagas.registry import STEPS
from sagas.steps import step
from shop.contracts.events import (
    InventoryReserved,
    OrderCreated,
)
from tests.support.sagas import created

pytestmark = pytest.mark.django_db(databases=["inventory", "orders", "payments", "delivery", "notifications"])

RESERVE = STEPS["inventory.reserve_stock"]


@pytest.fixture(autouse=True)
def stock() -> None:
    services.seed_stock({1: 100})


def test_a_step_stays_a_plain_function():
    (answer,) = reserve_stock([created(1)])

    assert isinstance(answer, InventoryReserved)
    assert (reserve_stock.__name__, reserve_stock.hears) == ("reserve_stock", (OrderCreated,))
    assert ship_stock.emits == ()
    assert Inbox.objects.count() == 0
    assert Reservation.objects.get().order_id == 1


def test_a_step_without_its_annotations_is_refused():
    def untyped(events):
        return []

    with pytest.raises(TypeError, match="annotate it"):
        step(untyped)
