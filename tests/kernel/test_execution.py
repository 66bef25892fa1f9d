"""The kernel around a step: once per event, in a crash, a race, a bad batch, an outage."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import stamina
from celery.exceptions import Reject, SoftTimeLimitExceeded
from django.db import OperationalError

from inventory import reservations, services
from inventory.models import DeadLetter, Inbox, StockItem
from sagas import dead_letters
from sagas.conf import choreography, hook
from sagas.events import decode, encode
from sagas.execution import ForeignEvent, execute
from sagas.registry import STEPS, local_services
from sagas.relay import publish_outbox
from sagas.testing import Bus, Crash, calling
from sagas.testing.bus import arrived
from shop.contracts.events import (
    DeliveryCompleted,
    InventoryReleased,
    InventoryReserved,
    OrderCreated,
)
from tests.support.sagas import crash_at, created, emit_in_transaction, sent

pytestmark = pytest.mark.django_db(databases=local_services())

RESERVE = STEPS["inventory.reserve_stock"]


@pytest.fixture(autouse=True)
def stock() -> None:
    services.seed_stock({1: 100})


def test_what_somebody_else_has_sent_has_no_effect_and_is_seen(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def may_emit(self: Any, sender: str | None, event: type) -> bool:
        asked.append((sender, event))
        return False

    monkeypatch.setattr(type(hook()), "may_emit", may_emit)
    monkeypatch.setattr(
        "sagas.execution.current_task", SimpleNamespace(request=SimpleNamespace(properties={"user_id": "thief"}))
    )
    execute(RESERVE, [encode(created(1)), encode(created(2))])
    assert asked[0] == ("thief", OrderCreated)
    assert (Inbox.objects.count(), bus.messages) == (0, [])
    errors = set(DeadLetter.objects.values_list("error", flat=True))
    assert errors == {"Impostor: OrderCreated from thief"}
    assert DeadLetter.objects.count() == 2


RESERVED_1 = [("payments.charge_payment", "InventoryReserved", 1), ("orders.mark_reserved", "InventoryReserved", 1)]


def test_an_event_is_handled_recorded_and_answered(bus: Bus):
    event = created(1, trace="00-abc-def-01")

    execute(RESERVE, [encode(event)])

    assert sent(bus) == RESERVED_1
    row = Inbox.objects.get()
    assert (row.step, row.event_id, row.event_type, row.correlation_id) == (
        "inventory.reserve_stock",
        event.event_id,
        "OrderCreated",
        1,
    )
    answer = decode(bus.messages[0][1][0], choreography().events)
    assert (answer.caused_by, answer.trace) == (event.event_id, "00-abc-def-01")
    assert [decode(raw, choreography().events) for raw in row.emitted] == [answer]


def test_a_message_delivered_three_times_has_one_effect_and_the_same_answer(bus: Bus):
    message = [encode(created(1))]

    for _ in range(3):
        execute(RESERVE, message)

    assert StockItem.objects.get(product_id=1).reserved == 1
    assert sent(bus) == RESERVED_1 * 3
    assert len({raw["event_id"] for _, payload in bus.messages for raw in payload}) == 1


def test_what_was_handled_is_answered_though_the_step_would_not_take_it_any_more(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
):
    first, second = created(1), created(2)
    execute(RESERVE, [encode(first)])
    bus.messages.clear()

    def stricter(orders: list[OrderCreated]) -> list[InventoryReserved]:
        assert all(order.order_id != 1 for order in orders), "not this one"
        return reserve(orders)

    reserve = RESERVE.function
    monkeypatch.setattr(RESERVE, "function", stricter)
    execute(RESERVE, [encode(first), encode(second)])

    assert sorted(order_id for step, _, order_id in sent(bus) if step == "payments.charge_payment") == [1, 2]
    assert not DeadLetter.objects.exists()
    assert Inbox.objects.get(correlation_id=1).repeats == 1


def test_an_event_twice_in_one_message_is_one_event(bus: Bus):
    message = encode(created(1))

    execute(RESERVE, [message, message])

    assert (StockItem.objects.get(product_id=1).reserved, sent(bus)) == (1, RESERVED_1)


def test_two_events_of_one_order_in_one_message_are_handled_after_each_other(bus: Bus):
    first, second = created(1), created(1)

    execute(RESERVE, [encode(first), encode(created(2)), encode(second)])

    assert StockItem.objects.get(product_id=1).reserved == 2  # order 1 once, order 2 once
    emitted = dict(Inbox.objects.values_list("event_id", "emitted"))
    assert len(emitted[first.event_id]) == 1
    assert emitted[second.event_id] == []


@pytest.mark.parametrize("point", ["step.received", "step.written"])
def test_a_crash_before_the_commit_leaves_no_trace(bus: Bus, point: str):
    message = [encode(created(1))]
    with pytest.raises(Crash), calling(crash_at(point)):
        execute(RESERVE, message)

    assert (StockItem.objects.get(product_id=1).reserved, Inbox.objects.count(), bus.messages) == (0, 0, [])

    execute(RESERVE, message)

    assert (StockItem.objects.get(product_id=1).reserved, sent(bus)) == (1, RESERVED_1)


@pytest.mark.parametrize("point", ["step.committed", "publisher.before_send", "publisher.confirmed", "step.published"])
def test_after_a_crash_between_commit_and_acknowledgement_the_chain_goes_on(bus: Bus, point: str):
    message = [encode(created(1))]
    with pytest.raises(Crash), calling(crash_at(point)):
        execute(RESERVE, message)
    bus.messages.clear()

    execute(RESERVE, message)

    assert (StockItem.objects.get(product_id=1).reserved, Inbox.objects.count(), sent(bus)) == (1, 1, RESERVED_1)


@pytest.mark.parametrize("arriving", [arrived, list], ids=["as the shop writes it", "as Celery does"])
def test_a_poison_event_leaves_its_forty_nine_neighbours_done(bus: Bus, arriving: Any):
    good = [encode(created(order_id)) for order_id in range(1, 50)]
    poison = {**encode(created(50)), "checkout": {"amount": "much"}}

    execute(RESERVE, arriving([*good[:20], poison, *good[20:]]))

    assert (StockItem.objects.get(product_id=1).reserved, Inbox.objects.count()) == (49, 49)
    (letter,) = DeadLetter.objects.all()
    assert (letter.step, letter.correlation_id, letter.event_type, letter.payload) == (
        "inventory.reserve_stock",
        50,
        "OrderCreated",
        json.dumps(poison),
    )
    assert "amount" in letter.error or "user_id" in letter.error
    assert len({order for _, _, order in sent(bus)}) == 49


@pytest.mark.parametrize(
    "raw", [None, 7, "x", [], {}, {"type": "Nonsense"}, {"type": "\0\ud800"}, {"type": "OrderCompleted", "order_id": 1}]
)
def test_what_is_no_event_of_this_step_is_a_dead_letter(bus: Bus, raw: Any):
    execute(RESERVE, [raw])

    assert (DeadLetter.objects.get().payload, bus.messages) == (json.dumps(raw), [])

    execute(RESERVE, [raw])  # again: the same dead letter
    assert DeadLetter.objects.get().attempts == 2


def test_an_event_that_makes_the_step_fail_fails_alone(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    real, batches = reservations.reserve, []

    def failing(orders: Any) -> Any:
        batches.append(len(orders))
        return 1 / 0 if 13 in orders else real(orders)

    monkeypatch.setattr(reservations, "reserve", failing)

    execute(RESERVE, [encode(created(order_id)) for order_id in range(1, 51)])

    assert batches == [50, 25, 12, 13, 6, 3, 1, 2, 3, 7, 25]  # halves: few runs, however large the batch
    assert StockItem.objects.get(product_id=1).reserved == 49
    letter = DeadLetter.objects.get()
    assert (letter.correlation_id, letter.error, letter.attempts) == (13, "ZeroDivisionError: division by zero", 1)

    bus.messages.clear()
    dead_letters.replay(letter)
    bus.deliver()  # still broken
    assert (DeadLetter.objects.get().attempts, DeadLetter.objects.get().resolved_at) == (2, None)

    monkeypatch.undo()
    dead_letters.replay(letter)
    bus.deliver()
    letter.refresh_from_db()
    assert (letter.resolution, StockItem.objects.get(product_id=1).reserved) == ("HANDLED", 50)

    dead_letters.replay(letter)  # once more changes nothing
    bus.deliver()
    assert StockItem.objects.get(product_id=1).reserved == 50


def test_an_outage_is_waited_out_without_a_dead_letter(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    real, outages = reservations.reserve, iter(range(3))

    def restarting(orders: Any) -> Any:
        if next(outages, None) is not None:
            raise OperationalError("the database system is starting up")
        return real(orders)

    monkeypatch.setattr(reservations, "reserve", restarting)
    with stamina.set_testing(True, attempts=10):
        execute(RESERVE, [encode(created(1))])

    assert next(outages, "used up") == "used up"
    assert (StockItem.objects.get(product_id=1).reserved, DeadLetter.objects.count(), sent(bus)) == (1, 0, RESERVED_1)


@pytest.mark.parametrize("orders", [(1,), (1, 2, 3)])
def test_a_step_that_hangs_gives_its_message_back(bus: Bus, monkeypatch: pytest.MonkeyPatch, orders: tuple[int, ...]):
    """Its events need not be bad. The broker counts how often the message comes back."""
    batches = []

    def hanging(orders: Any) -> Any:
        batches.append(len(orders))
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(reservations, "reserve", hanging)

    with pytest.raises(Reject) as back:
        execute(RESERVE, [encode(created(order_id)) for order_id in orders])

    assert (back.value.requeue, batches) == (True, [len(orders)])
    assert (DeadLetter.objects.count(), Inbox.objects.count(), bus.messages) == (0, 0, [])


def test_a_message_that_cannot_be_published_in_time_is_given_back(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    def hang(*_: Any) -> None:
        raise SoftTimeLimitExceeded

    with monkeypatch.context() as patch:
        patch.setattr(bus, "send", hang)
        with pytest.raises(Reject) as back:
            execute(RESERVE, message := [encode(created(1))])
    assert (back.value.requeue, DeadLetter.objects.count()) == (True, 0)

    execute(RESERVE, message)
    assert sent(bus) == RESERVED_1


def test_a_step_may_emit_for_the_orders_of_its_batch_only(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(RESERVE, "function", lambda events: [InventoryReleased(order_id=99, reason="?")])

    execute(RESERVE, [encode(created(1))])

    assert DeadLetter.objects.get().error.startswith(ForeignEvent.__name__)
    assert bus.messages == []


def test_what_followed_by_a_timer_is_published_again_when_its_cause_comes_again(bus: Bus):
    event = created(1)
    execute(RESERVE, [encode(event)])
    follower = DeliveryCompleted(order_id=1, user_id=7, tracking_number="T1", caused_by=event.event_id)
    emit_in_transaction(follower)
    publish_outbox("inventory")
    bus.messages.clear()

    execute(RESERVE, [encode(event)])
    publish_outbox("inventory")

    assert ("orders.complete_order", "DeliveryCompleted", 1) in sent(bus)
