"""The publisher: from events to messages."""

from dataclasses import replace
from typing import Any

import pytest

from sagas.publisher import publish
from sagas.registry import STEPS, local_services
from sagas.testing import Bus
from tests.support.sagas import created

pytestmark = pytest.mark.django_db(databases=local_services())

RESERVE = STEPS["inventory.reserve_stock"]


def test_a_publication_is_grouped_by_step_and_split_at_the_limit(bus: Bus, settings: Any):
    settings.SAGAS = replace(settings.SAGAS, batch_limit=100)

    publish([created(order_id) for order_id in range(250)])

    assert [(step, len(payload)) for step, payload in bus.messages] == [
        ("inventory.reserve_stock", 100),
        ("inventory.reserve_stock", 100),
        ("inventory.reserve_stock", 50),
        ("notifications.notify", 100),
        ("notifications.notify", 100),
        ("notifications.notify", 50),
    ]
