"""Parcels, and a carrier that has to be asked."""

from collections.abc import Iterator
from typing import Any

import pytest

from delivery.tasks import cancel_delivery, start_delivery
from delivery.tests.saga import cancelling, paid, run
from tests.support.carriers import AskedCarrier, asked_carrier


@pytest.fixture
def carrier(settings: Any) -> Iterator[AskedCarrier]:
    with asked_carrier(settings) as carrier:
        yield carrier


@pytest.fixture
def deliveries() -> None:
    """Orders 1 and 2 of user 7, order 3 of user 8, and a tombstone for order 4."""
    run(start_delivery, paid(1), paid(2), paid(3, user_id=8))
    run(cancel_delivery, cancelling(4))
