"""The relay: from the outbox to the broker, whatever dies or is refused on the way."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from django.db import OperationalError, connections

from inventory.models import DeadLetter, Outbox, Unsent
from sagas import dead_letters, outbox, relay
from sagas.db.prepared import query
from sagas.events import encode
from sagas.registry import STEPS, local_services
from sagas.relay import publish_outbox
from sagas.testing import Bus, Crash, calling
from shop.contracts.events import (
    PaymentRefunded,
)
from shop.saga import ORDER
from tests.support.processes import PATIENCE
from tests.support.sagas import crash_at, emit_in_transaction, sent

pytestmark = pytest.mark.django_db(databases=local_services())

RESERVE = STEPS["inventory.reserve_stock"]


def test_the_relay_publishes_what_was_committed_once(bus: Bus):
    emit_in_transaction(PaymentRefunded(order_id=1, reason="r"))

    assert publish_outbox("inventory") == 1
    assert publish_outbox("inventory") == 0
    assert sent(bus) == [("inventory.release_stock", "PaymentRefunded", 1)]
    assert (Outbox.objects.count(), Unsent.objects.count()) == (1, 0)


@pytest.mark.parametrize("point", ["relay.claimed", "publisher.before_send", "publisher.confirmed", "relay.published"])
def test_a_dead_relays_rows_are_published_by_the_next_when_its_lease_is_over(bus: Bus, settings: Any, point: str):
    settings.SAGAS = replace(settings.SAGAS, outbox_lease=-1)
    emit_in_transaction(PaymentRefunded(order_id=1, reason="r"))
    with pytest.raises(Crash), calling(crash_at(point)):
        publish_outbox("inventory")
    bus.messages.clear()

    assert publish_outbox("inventory") == 1
    assert sent(bus) == [("inventory.release_stock", "PaymentRefunded", 1)]


def test_rows_under_another_relays_lease_are_left_alone(bus: Bus):
    emit_in_transaction(PaymentRefunded(order_id=1, reason="r"))
    with pytest.raises(Crash), calling(crash_at("relay.claimed")):
        publish_outbox("inventory")

    assert (publish_outbox("inventory"), bus.messages) == (0, [])


def test_what_waits_again_is_found_by_a_look_at_all(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    """…and what commits a little late by any look."""
    monkeypatch.setattr(relay, "LOOK_BACK", 1)
    for order_id in (1, 2, 3):
        emit_in_transaction(PaymentRefunded(order_id=order_id, reason="r"))
    first, second, third = Outbox.objects.order_by("pk").values_list("pk", flat=True)
    looking = relay.Relay("inventory")
    Unsent.objects.filter(pk__lt=third).delete()
    looking._publish()
    assert (looking._first, Unsent.objects.count()) == (third, 0)

    outbox.rearm("inventory", [2])
    looking._publish()
    assert (looking._first, Unsent.objects.count()) == (second, 0)

    outbox.rearm("inventory", [1])
    looking._first = third
    looking._publish()
    assert Unsent.objects.count() == 1
    looking._look_at_all = relay.Every(0.0)
    looking._publish()
    assert (looking._first, Unsent.objects.count()) == (first, 0)


def test_what_the_broker_refused_stays_in_the_outbox(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: Any) -> None:
        raise ConnectionResetError

    emit_in_transaction(PaymentRefunded(order_id=1, reason="r"))
    monkeypatch.setattr(bus, "send", refuse)
    with pytest.raises(ConnectionResetError):
        publish_outbox("inventory")
    monkeypatch.undo()

    assert publish_outbox("inventory") == 1
    assert sent(bus) == [("inventory.release_stock", "PaymentRefunded", 1)]


class PaymentSplit(PaymentRefunded, frozen=True):
    """An event of the next release."""


def with_the_next_release(settings: Any) -> None:
    heard_by = {**ORDER.heard_by, PaymentSplit: ORDER.heard_by[PaymentRefunded]}
    settings.SAGAS = replace(settings.SAGAS, sagas=[replace(ORDER, heard_by=heard_by)])


def test_an_event_that_this_release_does_not_know_is_set_aside_alone(bus: Bus, settings: Any):
    unknown = PaymentSplit(order_id=2, reason="r")
    emit_in_transaction(*(PaymentRefunded(order_id=order_id, reason="r") for order_id in (1, 2, 3)))
    Outbox.objects.filter(correlation_id=2).update(event_id=unknown.event_id, payload=encode(unknown))

    assert publish_outbox("inventory") == 3

    assert [order_id for _, _, order_id in sent(bus)] == [1, 3]
    assert (publish_outbox("inventory"), Unsent.objects.count()) == (0, 0)
    letter = DeadLetter.objects.get()
    assert (letter.step, letter.event_type, letter.event_id) == ("relay", "PaymentSplit", unknown.event_id)
    assert (letter.correlation_id, letter.resolved_at) == (2, None)
    assert letter.error == "ValidationError: Invalid value 'PaymentSplit' - at `$.type`"
    assert letter.traceback.startswith("Traceback")
    assert letter.traceback.strip().endswith("at `$.type`")


def test_it_is_published_once_the_event_is_known(bus: Bus, settings: Any):
    unknown = PaymentSplit(order_id=2, reason="r")
    emit_in_transaction(PaymentRefunded(order_id=2, reason="r"))
    Outbox.objects.update(event_id=unknown.event_id, payload=encode(unknown))
    publish_outbox("inventory")
    letter = DeadLetter.objects.get()

    with pytest.raises(msgspec.DecodeError):  # by the same release
        dead_letters.replay(letter)
    assert (bus.messages, DeadLetter.objects.get().resolved_at) == ([], None)

    with_the_next_release(settings)
    dead_letters.replay(letter)

    assert sent(bus) == [("inventory.release_stock", "PaymentSplit", 2)]
    assert DeadLetter.objects.get().resolution == "HANDLED"
    assert (publish_outbox("inventory"), len(bus.messages)) == (0, 1)


# —— Waking ————————————————————————————————————————————————————————————————————————————————————————————————————————————
@pytest.mark.parametrize(
    ("portion", "rate", "hold", "held"),
    [
        (1, 1, 0.1, 0.0),
        (5, 10, 0.1, 0.00025),
        (40, 100, 0.1, 0.025),
        (80, 200, 0.1, 0.1),
        (800, 5000, 0.1, 0.1),
        (800, 5000, 0.0, 0.0),
        (relay.PORTION, 5000, 0.1, None),  # more is there already
    ],
)
def test_the_more_events_come_the_longer_they_are_held(
    portion: int, rate: float, hold: float, held: float | None, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    settings.SAGAS = replace(settings.SAGAS, relay_hold=hold)
    waits: list[float] = []
    now = time.monotonic()
    inventory = relay.Relay("inventory")
    inventory._stopping = SimpleNamespace(wait=waits.append)  # type: ignore[assignment]
    monkeypatch.setattr(relay, "_publish_rows", lambda *_: list(range(portion)))
    for _ in range(6):
        now += portion / rate
        monkeypatch.setattr(relay, "time", SimpleNamespace(monotonic=lambda now=now: now))
        inventory._publish()
    assert waits[-1:] == ([] if held is None else [pytest.approx(held, abs=1e-5)])


def test_after_a_pause_a_rush_before_it_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []
    inventory = relay.Relay("inventory")
    inventory._stopping = SimpleNamespace(wait=waits.append)  # type: ignore[assignment]
    for at, portion in ((100.0, 50), (100.3, 500), (160.0, 1)):
        monkeypatch.setattr(relay, "_publish_rows", lambda *_, portion=portion: list(range(portion)))
        monkeypatch.setattr(relay, "time", SimpleNamespace(monotonic=lambda at=at: at))
        inventory._publish()
    assert waits[1] == pytest.approx(0.1)
    assert waits[2] == pytest.approx(0.0, abs=1e-5)


def test_whoever_emits_wakes_the_relay_after_the_commit(
    django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
):
    """Once: a relay that was woken looks every few milliseconds for a while."""
    monkeypatch.setattr(outbox, "_emitted_at", {})
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(outbox, "query", lambda *asking: asked.append(asking))
    with django_capture_on_commit_callbacks(using="inventory", execute=True) as callbacks:
        for _ in range(3):
            outbox.wake_relay("inventory")
        assert asked == []

    assert len(callbacks) == 3
    assert asked == [("inventory", outbox.WAKE, ["inventory_outbox"])]
    monkeypatch.setattr(outbox, "query", query)
    with django_capture_on_commit_callbacks(using="inventory") as callbacks:
        emit_in_transaction(PaymentRefunded(order_id=1, reason="r"))
    assert len(callbacks) == 1


def test_what_cannot_be_told_is_lost_and_no_error(monkeypatch: pytest.MonkeyPatch):
    def away(*_: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(outbox, "_emitted_at", {})
    monkeypatch.setattr(outbox, "query", away)

    outbox._wake("inventory")


@pytest.mark.parametrize("lost", [False, True], ids=["", "its session was lost"])
def test_a_relay_that_pauses_is_woken(monkeypatch: pytest.MonkeyPatch, lost: bool):
    """On threads, whose sessions are not in the test's transaction."""
    monkeypatch.setattr(outbox, "_emitted_at", {})
    listening, pausing = threading.Event(), relay.Relay("inventory")

    def pause() -> float:
        pausing._pause(0.0)
        if lost:
            connections["inventory"].close()
            pausing._pause(0.0)
        listening.set()
        began = time.monotonic()
        pausing._pause(PATIENCE)
        connections.close_all()
        return time.monotonic() - began

    def wake() -> None:
        assert listening.wait(PATIENCE)
        outbox.wake_relay("inventory")
        connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        paused, woken = threads.submit(pause), threads.submit(wake)
        woken.result()
        assert paused.result() < PATIENCE
