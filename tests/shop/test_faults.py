"""Fault switches: what each does, who sees it, and that there are none in production."""

from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.test import Client

from inventory.services import seed_stock
from orders.models import Order
from payments.gateways import Lookup
from payments.gateways.sandbox import SandboxGateway
from payments.models import GatewayLedger, Payment
from sagas import dead_letters
from sagas.registry import TIMERS
from shop import faults
from shop.contracts.events import Line
from shop.operations.timeline import timeline
from tests.conftest import SERVICES
from tests.support.ordering import place_order

DATABASES = pytest.mark.django_db(databases=SERVICES)


@pytest.fixture(autouse=True)
def _off_again(settings: Any) -> Any:
    settings.DEBUG = True
    faults.clear()
    yield
    settings.DEBUG = True
    faults.clear()


@pytest.fixture
def ordered(bus: Any, no_waiting: None, due_now: Any, gateways_answer_soon: None) -> Any:
    """The bus, with one order's first event in the outbox."""
    seed_stock({7: 10})
    place_order(user_id=1, lines=[Line(7, 1)])
    return bus


def fault(*arguments: str) -> str:
    out = StringIO()
    call_command("fault", *arguments, stdout=out)
    return out.getvalue()


# --- Where they are --------------------------------------------------------------------------------------------------
def test_there_are_none_in_production(settings: Any):
    faults.turn("drop-messages", 1)
    settings.DEBUG = False
    assert (faults.level("drop-messages"), dict(faults.levels()), faults.copies()) == (0, {}, 1)
    with pytest.raises(faults.NotInProduction):
        faults.turn("step-delay", 1)
    with pytest.raises(CommandError, match="development machines"):
        fault("clear")
    assert Client().post("/console/faults", {"clear": "1"}).status_code == 404


def test_other_processes_follow_within_a_second(monkeypatch: pytest.MonkeyPatch):
    clock = [100.0]
    monkeypatch.setattr(faults.time, "monotonic", lambda: clock[0])
    assert faults.level("step-delay") == 0
    caches["faults"].set(faults.KEY, {"step-delay": 2.0})  # another process
    assert faults.level("step-delay") == 0
    clock[0] += 1.0
    assert faults.level("step-delay") == 2


def test_a_cache_that_is_away_is_not_asked_all_the_time(monkeypatch: pytest.MonkeyPatch):
    asked = []

    class Away:
        def get(self, key: str) -> Any:
            asked.append(key)
            raise ConnectionError

        def set(self, *_: Any) -> None:
            raise ConnectionError

    monkeypatch.setattr(faults, "caches", {"faults": Away()})
    monkeypatch.setattr(faults, "_look_at", 0.0)
    assert [faults.level("step-delay") for _ in range(3)] == [0, 0, 0]
    assert len(asked) == 1
    with pytest.raises(CommandError, match="cache, where the switches are, is away"):
        fault("clear")
    answer = Client().post("/console/faults", {"clear": "1"}, headers={"Accept": "text/html"})
    assert b"The switches cannot be set" in answer.content
    monkeypatch.undo()


@pytest.mark.parametrize(("name", "value"), [("drop-messages", 1.1), ("step-delay", -1), ("gateway", 1)])
def test_what_cannot_be_set(name: str, value: float):
    with pytest.raises(faults.NoSuchFault):
        faults.turn(name, value)
    assert not faults.levels()


# --- The command and the page ----------------------------------------------------------------------------------------
def test_the_command():
    assert "carrier-refuses is 0.5. Carriers refuse" in fault("set", "carrier-refuses", "0.5")
    assert fault("set", "gateway-away").startswith("gateway-away is 1. ")
    listed = fault("list")
    assert all(name in listed for name in faults.FAULTS)
    assert dict(faults.levels()) == {"carrier-refuses": 0.5, "gateway-away": 1}
    assert fault("clear", "carrier-refuses") == "carrier-refuses is off.\n"
    assert fault("clear") == "All fault switches are off.\n"
    assert not faults.levels()
    with pytest.raises(CommandError, match="There is no fault switch"):
        fault("clear", "everything")
    with pytest.raises(CommandError, match="share from 0 to 1, not 2"):
        fault("set", "drop-messages", "2")


def test_the_page_says_what_to_expect_and_sets():
    client = Client()
    page = client.get("/console/faults").content.decode()
    assert all(name in page for name in faults.FAULTS)
    assert "Carriers refuse this share of parcels" in page
    assert "이 비율만큼 인수를 거부합니다" in client.get("/console/faults?lang=ko").content.decode()

    assert client.post("/console/faults", {"name": "step-delay", "value": "1.5"}).status_code == 302
    assert faults.level("step-delay") == 1.5
    for wrong in ({"name": "step-delay", "value": "x"}, {"name": "x", "value": "1"}, {"value": "1"}, {"value": "nan"}):
        answer = client.post("/console/faults", {"name": "step-delay"} | wrong, headers={"Accept": "text/html"})
        assert answer.status_code == (400 if wrong != {"value": "1"} else 302)
    client.post("/console/faults", {"clear": "1"})
    assert not faults.levels()


# --- What they do ----------------------------------------------------------------------------------------------------
@DATABASES
def test_carriers_refuse(ordered: Any):
    faults.turn("carrier-refuses", 1)
    ordered.drain()
    assert Order.objects.get().status == "CANCELLED"
    assert Order.objects.get().cancellation_reason == "refused by the carrier (인수 거부)"
    assert Payment.objects.get().status == "REFUNDED"


@DATABASES
@pytest.mark.parametrize("name", ["gateway-away", "payment-failures"])
def test_what_gateways_do_not_answer_is_asked_again(ordered: Any, due_now: Any, name: str):
    faults.turn(name, 1)
    ordered.drain(timers=False)
    assert (Order.objects.get().status, Payment.objects.get().status) == ("INVENTORY_RESERVED", "PENDING")

    faults.clear()
    due_now()
    ordered.drain()
    assert Order.objects.get().status == "COMPLETED"
    assert GatewayLedger.objects.count() == 1


@DATABASES
def test_gateways_and_steps_take_their_time(ordered: Any, monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []
    monkeypatch.setattr(faults.time, "sleep", slept.append)
    faults.turn("step-delay", 2)
    ordered.relay()
    ordered.deliver()
    assert slept == [2]
    faults.turn("gateway-slow", 3)
    SandboxGateway("TOSS_PAYMENTS", pause=slept.append).find([Lookup("x", "")])
    assert slept == [2, 3]


@DATABASES
def test_dropped_messages_are_made_good(ordered: Any, settings: Any):
    faults.turn("drop-messages", 1)
    ordered.drain()
    assert (ordered.log, Order.objects.get().status) == ([], "PENDING")

    faults.clear()
    settings.STALLED_AFTER = 0
    assert TIMERS["orders.look_after"]() == 1
    ordered.drain()
    assert Order.objects.get().status == "COMPLETED"


@DATABASES
def test_duplicates_are_absorbed_and_marked(ordered: Any, monkeypatch: pytest.MonkeyPatch):
    faults.turn("duplicate-messages", 0.5)
    monkeypatch.setattr(faults.random, "random", lambda: 0.1)
    ordered.relay()
    assert [step for step, _ in ordered.messages].count("inventory.reserve_stock") == 2
    while ordered.messages:
        ordered.deliver()
        faults.clear()
    ordered.drain()
    assert Order.objects.get().status == "COMPLETED"
    repeats = {entry.step: entry.repeats for entry in timeline(Order.objects.get().pk)}
    # Who hears an event again emits again, so further down the chain events come more often.
    assert (repeats["inventory.reserve_stock"], repeats["payments.charge_payment"]) == (1, 2)
    assert GatewayLedger.objects.count() == 1


@DATABASES
def test_a_poisoned_event_becomes_a_dead_letter_until_it_is_replayed_with_the_switch_off(ordered: Any):
    faults.turn("poison", 1)
    ordered.drain()
    letter = apps.get_model("inventory.DeadLetter").objects.get()
    assert (letter.step, letter.error.partition(":")[0]) == ("inventory.reserve_stock", "Poisoned")
    assert Order.objects.get().status == "PENDING"

    faults.clear()
    dead_letters.replay(letter)
    ordered.drain()
    assert Order.objects.get().status == "COMPLETED"


def test_it_is_the_same_events_that_are_poisoned_each_time():
    faults.turn("poison", 0.25)
    faults.poison([UUID(int=0xFFFF), UUID(int=0x4000)])
    for _ in range(3):
        with pytest.raises(faults.Poisoned):
            faults.poison([UUID(int=0xFFFF), UUID(int=0x3FFF)])


def test_the_time_that_is_left_is_shown(monkeypatch: pytest.MonkeyPatch):
    assert faults.left() == 0
    monkeypatch.setattr(faults.time, "time", lambda: 1000.0)
    faults.turn("step-delay", 1)
    monkeypatch.setattr(faults.time, "time", lambda: 2800.0)
    assert faults.left() == 1800
    assert "They go off by themselves in 30 min." in fault("list")
    assert "goes off by itself in 30 min" in Client().get("/console/faults").content.decode()
    faults.clear()
    assert "min" not in fault("list")
