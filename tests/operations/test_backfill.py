"""One service's database is restored to an earlier time: `redrive --missing` brings it up to the others."""

import json
from collections.abc import Sequence
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import Model

from audit import Violation, audit
from commands import backfill
from commands.management.commands import redrive
from inventory.models import StockItem
from inventory.services import seed_stock
from orders.models import Order
from sagas.outbox import rearm
from sagas.testing import Bus, publishing_to
from shop.contracts.events import Line
from tests.conftest import SERVICES
from tests.support.ordering import place_order
from tests.support.sagas import SAGA_TIMERS

pytestmark = [
    pytest.mark.django_db(databases=SERVICES),
    pytest.mark.usefixtures("no_waiting", "gateways_answer_soon"),
]

KINDS = ({}, {"payment_token": "tok_declined"}, {"address": "addr_refused_by_recipient"})
SOLD = 3  # of those placed below


class PromptBus(Bus):
    """Delivers what it is sent at once, as long as it is `prompt`."""

    prompt = False

    def send(self, step: str, payload: Sequence[Any], summary: str) -> None:
        super().send(step, payload, summary)
        if self.prompt:
            self.deliver()


@pytest.fixture
def bus(bus: Bus) -> Any:
    with publishing_to(PromptBus(SAGA_TIMERS)) as prompt:
        yield prompt


@pytest.fixture
def restored(bus: PromptBus, request: pytest.FixtureRequest) -> str:
    """A service that has forgotten what has happened since one order had ended and one had been placed."""
    service: str = request.param
    seed_stock({1: 10})
    play(bus, {})
    place_order(user_id=1, lines=[Line(1, 1)])
    then = {model: list(model._default_manager.all()) for model in models(service)}
    play(bus, *KINDS)
    assert broken() == set()
    with connections[service].cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for model in reversed(models(service)):
            cursor.execute(f"DELETE FROM {model._meta.db_table}")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    for model, rows in then.items():
        model._default_manager.bulk_create(rows)
    return service


def models(service: str) -> list[type[Model]]:
    return list(apps.get_app_config(service).get_models())


def play(bus: Bus, *wishes: dict[str, str]) -> None:
    """Place these orders, and let them end and be closed."""
    for wish in wishes:
        place_order(user_id=1, lines=[Line(1, 1)], **wish)
    bus.drain()
    bus.tick("orders.look_after")
    bus.drain()


def broken() -> set[str]:
    return {found.invariant for found in audit(strict=True) if isinstance(found, Violation)}


def redriven(bus: PromptBus, *options: str) -> str:
    out = StringIO()
    bus.prompt = True
    call_command("redrive", "--missing", *options, stdout=out)
    bus.prompt = False
    return out.getvalue()


# Services that can catch up, and how many of the forgotten orders have concerned them: no parcel without a payment.
CONCERNED = {"inventory": 4, "payments": 4, "delivery": 3, "notifications": 4}


@pytest.mark.parametrize("restored", CONCERNED, indirect=True)
def test_it_catches_up_with_the_others(bus: PromptBus, restored: str):
    assert "events_are_handled" in broken()

    assert f" events of {CONCERNED[restored]} orders to the steps" in redriven(bus)
    play(bus)

    assert broken() == set()
    statuses = list(Order.objects.order_by("pk").values_list("status", flat=True))
    assert statuses == ["COMPLETED", "COMPLETED", "COMPLETED", "CANCELLED", "CANCELLED"]
    stock = StockItem.objects.get()
    assert (stock.on_hand, stock.reserved) == (10 - SOLD, 0)
    assert redriven(bus) == "Told 0 events of 0 orders to the steps that had not handled them.\n"


@pytest.mark.parametrize("restored", ["inventory"], indirect=True)
def test_emitting_the_first_event_again_is_not_enough(bus: PromptBus, restored: str):
    """Why there is `--missing` at all."""
    rearm("orders", Order.objects.values_list("pk", flat=True))
    play(bus)

    assert {"completed_is_whole", "cancelled_keeps_nothing"} <= broken()
    redriven(bus)
    assert broken() == set()


@pytest.mark.parametrize("restored", ["orders"], indirect=True)
def test_orders_catches_up_with_those_it_has_and_the_audit_names_the_others(bus: PromptBus, restored: str):
    assert list(Order.objects.order_by("pk").values_list("status", flat=True)) == ["COMPLETED", "PENDING"]

    assert " events of 1 orders to the steps" in redriven(bus)
    play(bus)

    assert list(Order.objects.order_by("pk").values_list("status", flat=True)) == ["COMPLETED", "COMPLETED"]
    assert broken() == {"no_orphans"}


@pytest.mark.parametrize("restored", ["inventory"], indirect=True)
def test_a_dry_run_tells_nobody(bus: PromptBus, restored: str):
    before = broken()
    said = redriven(bus, "--dry-run", "--json")
    forgotten = list(Order.objects.order_by("pk").values_list("pk", flat=True))[1:]
    assert json.loads(said) == {"orders": forgotten, "dryRun": True}
    assert bus.messages == []
    assert broken() == before


@pytest.mark.parametrize("restored", ["inventory"], indirect=True)
def test_a_worker_that_is_not_there_is_pointed_out(bus: PromptBus, restored: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backfill, "PATIENCE", 0.0)
    with pytest.raises(CommandError, match="reserve_stock has not handled OrderCreated of order"):
        call_command("redrive", "--missing")


def test_the_broker_in_memory_is_another_process_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redrive, "is_lost_on_exit", lambda: True)
    with pytest.raises(CommandError, match="nothing sent here reaches the others"):
        call_command("redrive", "--missing")
