"""How a service declares its part: a step stays the function that it was."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from celery import current_app

from inventory import services
from inventory.models import Inbox, Reservation
from inventory.tasks import reserve_stock, ship_stock
from sagas.registry import STEPS, TIMERS, local_services
from sagas.steps import step
from shop.contracts.events import (
    InventoryReserved,
    OrderCreated,
)
from tests.support.processes import ROOT
from tests.support.sagas import created

pytestmark = pytest.mark.django_db(databases=local_services())

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


CALLS = """
from inventory.tasks import reserve_stock, ship_stock
from shop.contracts.events import DeliveryHandedOver, OrderCreated


def calls(orders: list[OrderCreated], started: list[DeliveryHandedOver]) -> None:
    reserve_stock(orders)
    ship_stock(started)
    reserve_stock(started)
    reserve_stock()
    answer: int = reserve_stock(orders)
"""


def test_a_wrong_call_of_a_step_is_a_type_error(tmp_path: Path):
    snippet = tmp_path / "calls.py"
    snippet.write_text(CALLS)

    said = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", snippet],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout

    found = [(int(line), code) for line, code in re.findall(r"calls\.py:(\d+): error: .*\[([\w-]+)\]", said)]
    assert found == [(9, "arg-type"), (10, "call-arg"), (11, "assignment")], said


def test_workers_tell_of_steps_and_not_of_timers():
    tasks = current_app.tasks
    assert {tasks[name].send_events for name in STEPS} == {True}
    assert {tasks[name].send_events for name in TIMERS} == {False}
