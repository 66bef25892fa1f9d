"""What RabbitMQ sets aside is brought home as dead letters, and replayed through it."""

import itertools
import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from django.db import OperationalError

from inventory.models import DeadLetter, Reservation
from orders.models import DeadLetter as OrdersDeadLetter
from sagas import dead_letter_queue, dead_letters
from sagas.conf import hook
from sagas.events import encode
from sagas.publisher import broker, send
from shop.contracts.events import OrderCreated
from tests.support.processes import eventually
from tests.support.running_shop import Queues, Shop

STEP = "inventory.reserve_stock"


@pytest.fixture(autouse=True)
def _fresh_connection(shop: Shop) -> None:
    """Everything is declared anew by whoever publishes first."""
    broker.disconnect()
    broker.backlog()


def sent_and_rejected(shop: Shop, queues: Queues, *order_ids: int) -> list[OrderCreated]:
    events = [OrderCreated(order_id=order_id, checkout=shop.checkout(order_id)) for order_id in order_ids]
    send(STEP, [encode(event) for event in events], "by a test")
    queues.set_aside("inventory")
    return events


def test_what_was_set_aside_is_kept_event_by_event(shop: Shop, queues: Queues):
    events = sent_and_rejected(shop, queues, 1, 2)

    assert dead_letter_queue.drain("inventory") == 1

    letters = DeadLetter.objects.order_by("pk")
    assert [(letter.correlation_id, letter.event_id, letter.step) for letter in letters] == [
        (event.order_id, event.event_id, STEP) for event in events
    ]
    assert {letter.error for letter in letters} == {"DeadLettered: rejected"}
    assert (queues.waiting("inventory.dead"), dead_letter_queue.drain("inventory")) == (0, 0)


def test_the_broker_still_says_who_sent_it(shop: Shop, queues: Queues, monkeypatch: pytest.MonkeyPatch):
    senders = []

    def may_emit(_self: Any, sender: str | None, _event: type) -> bool:
        senders.append(sender)
        return False

    monkeypatch.setattr(type(hook()), "may_emit", may_emit)
    sent_and_rejected(shop, queues, 1)

    dead_letter_queue.drain("inventory")

    with broker.producer() as producer:
        assert senders == [producer.connection.userid]
    assert DeadLetter.objects.get().error == f"Impostor: OrderCreated from {senders[0]}"


def test_what_cannot_be_kept_stays_in_the_queue(shop: Shop, queues: Queues, monkeypatch: pytest.MonkeyPatch):
    sent_and_rejected(shop, queues, 1)

    def fail(*_: Any) -> None:
        raise OperationalError("the database system is shutting down")

    with monkeypatch.context() as patch:
        patch.setattr(dead_letters, "record", fail)
        with pytest.raises(OperationalError):
            dead_letter_queue.drain("inventory")
    assert DeadLetter.objects.count() == 0
    eventually(lambda: queues.waiting("inventory.dead") == 1)

    assert dead_letter_queue.drain("inventory") == 1
    assert DeadLetter.objects.get().attempts == 1


def test_a_long_queue_is_drained_in_portions(shop: Shop, queues: Queues, monkeypatch: pytest.MonkeyPatch):
    now = itertools.count(0.0, 0.4 * dead_letter_queue.AT_MOST)  # each look at the clock takes that long
    monkeypatch.setattr(dead_letter_queue, "time", SimpleNamespace(monotonic=now.__next__))
    for number in range(3):
        queues.put("inventory.dead", f"not JSON {number}", headers={}, content_type="text/plain")

    assert [dead_letter_queue.drain("inventory") for _ in range(3)] == [2, 1, 0]
    payloads = DeadLetter.objects.order_by("pk").values_list("payload", flat=True)
    assert [json.loads(payload) for payload in payloads] == ["not JSON 0", "not JSON 1", "not JSON 2"]


def test_a_tick_that_has_expired_leaves_nothing_behind(shop: Shop, queues: Queues):
    current_app.send_task("orders.look_after", queue="orders", expiration=0.001, retry=False, ignore_result=True)
    eventually(lambda: queues.waiting("orders.dead") == 1)

    assert dead_letter_queue.drain("orders") == 1
    assert OrdersDeadLetter.objects.count() == 0


def test_a_replay_goes_through_the_broker_and_is_resolved_by_success(shop: Shop, queues: Queues):
    order_id, checkout = shop.write_order()
    send(STEP, [encode(OrderCreated(order_id=order_id, checkout=checkout))], "by a test")
    queues.set_aside("inventory")
    dead_letter_queue.drain("inventory")
    letter = DeadLetter.objects.get()
    worker = shop.processes.worker("inventory", queues=("inventory",))

    call_command("deadletters", "replay", "inventory", str(letter.pk))

    eventually(lambda: DeadLetter.objects.get().resolution == "HANDLED")
    assert Reservation.objects.get().status == "RESERVED"
    eventually(lambda: queues.waiting("payments") == 1)
    shop.processes.stop(worker)
