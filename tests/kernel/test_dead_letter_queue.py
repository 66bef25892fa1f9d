"""What the broker has set aside becomes dead letters, and nothing of it is lost or blocks the rest."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app

from inventory import services
from inventory.models import DeadLetter
from orders.models import DeadLetter as OrdersDeadLetter
from sagas import dead_letter_queue, dead_letters, publisher
from sagas.conf import hook
from sagas.events import encode
from sagas.execution import execute
from sagas.registry import STEPS, local_services
from sagas.relay import Relay
from sagas.testing import Bus
from tests.support.sagas import created

pytestmark = pytest.mark.django_db(databases=local_services())

RESERVE = "inventory.reserve_stock"


@pytest.fixture(autouse=True)
def stock() -> None:
    services.seed_stock({1: 100})


def body(*events: Any) -> bytes:
    return json.dumps([[events], {}, {"callbacks": None}]).encode()


def headers(task: str | None = RESERVE, reason: str = "delivery_limit") -> dict[str, Any]:
    return {"x-first-death-reason": reason} | ({"task": task} if task else {})


def test_each_event_of_a_dead_message_is_a_dead_letter(bus: Bus):
    message = body(encode(created(1)), encode(created(2)), {"type": "Nonsense"})

    dead_letter_queue.record_message("inventory", message, headers())

    letters = list(DeadLetter.objects.order_by("pk"))
    assert [(letter.correlation_id, letter.event_type) for letter in letters] == [
        (1, "OrderCreated"),
        (2, "OrderCreated"),
        (None, "Nonsense"),
    ]
    assert {(letter.step, letter.error) for letter in letters} == {(RESERVE, "DeadLettered: delivery_limit")}
    assert [json.loads(letter.payload) for letter in letters] == json.loads(message)[0][0]

    dead_letters.replay(letters[0])
    bus.deliver()
    assert DeadLetter.objects.get(pk=letters[0].pk).resolution == "HANDLED"


def test_a_message_that_comes_again_is_the_same_dead_letter(bus: Bus):
    message = body(encode(created(1)), "x")

    for _ in range(2):  # the relay died before its acknowledgement
        dead_letter_queue.record_message("inventory", message, headers())

    assert list(DeadLetter.objects.order_by("pk").values_list("correlation_id", "attempts")) == [(1, 2), (None, 2)]


def test_what_was_handled_before_its_worker_died_is_no_dead_letter(bus: Bus):
    event = encode(created(1))
    execute(STEPS[RESERVE], [event])

    dead_letter_queue.record_message("inventory", body(event, encode(created(2))), headers())

    assert list(DeadLetter.objects.values_list("correlation_id", "resolution")) == [(2, "")]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\x00",
        b"{",
        b"7",
        b"[]",
        b"[[[]], {}, {}]",
        b"[[7], {}, {}]",
        b"[[[], []], {}, {}]",
        "text \udcff \0 text",
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_kept_as_it_is(message: bytes | str):
    dead_letter_queue.record_message("inventory", message, headers(task=None))

    letter = DeadLetter.objects.get()
    assert (letter.step, letter.event_type, letter.correlation_id) == ("no task", "", None)
    text = json.loads(letter.payload)
    assert text[:5] == (message if isinstance(message, str) else message.decode(errors="backslashreplace"))[:5]
    assert len(text) <= dead_letter_queue.SHOWN
    assert letter.error == "DeadLettered: delivery_limit"
    with pytest.raises(dead_letters.NoSuchStep):
        dead_letters.replay(letter)


@pytest.mark.parametrize("task", ["inventory.\0burn\ud800", "x" * 1000])
def test_a_task_that_nobody_knows_is_kept_with_its_events(task: str):
    dead_letter_queue.record_message("inventory", body(encode(created(1))), headers(task=task, reason="rejected"))

    letter = DeadLetter.objects.get()
    assert (letter.correlation_id, letter.error) == (1, "DeadLettered: rejected")


def test_a_broker_that_gives_no_reason():
    dead_letter_queue.record_message("inventory", body(7), {"task": RESERVE})

    assert DeadLetter.objects.get().error == "DeadLettered: set aside"


@pytest.mark.parametrize("reason", ["expired", "delivery_limit"])
def test_a_tick_that_nobody_had_time_for_is_nothing_to_keep(reason: str):
    dead_letter_queue.record_message(
        "orders", json.dumps([[], {}, {}]), headers(task="orders.look_after", reason=reason)
    )

    assert OrdersDeadLetter.objects.count() == 0


def test_the_broker_in_memory_sets_nothing_aside(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(current_app.conf, "broker_write_url", "memory://")
    publisher.broker.disconnect()
    try:
        assert dead_letter_queue.drain("inventory") == 0
    finally:
        publisher.broker.disconnect()


def test_a_long_queue_does_not_keep_the_relay_from_its_outbox(monkeypatch: pytest.MonkeyPatch):
    """A relay that does not come round for 30 seconds is ended by its supervisor."""
    now, waiting, acknowledged = [100.0], list(range(1000)), list[int]()

    def get(queue: str) -> Any:
        assert queue == "inventory.dead"
        return SimpleNamespace(body=b"", headers={}, properties={}, delivery_tag=waiting.pop(0)) if waiting else None

    @contextmanager
    def producer() -> Iterator[Any]:
        yield SimpleNamespace(channel=SimpleNamespace(basic_get=get, basic_ack=acknowledged.append))

    def record(*_: Any) -> None:
        now[0] += 0.4

    monkeypatch.setattr(dead_letter_queue.broker, "producer", producer)
    monkeypatch.setattr(dead_letter_queue, "record_message", record)
    monkeypatch.setattr(dead_letter_queue, "time", SimpleNamespace(monotonic=lambda: now[0]), raising=False)

    assert dead_letter_queue.drain("inventory") == len(acknowledged) == 3
    assert now[0] < 102
    assert dead_letter_queue.drain("inventory") == 3
    assert acknowledged == list(range(6))

    del waiting[1:]
    assert [dead_letter_queue.drain("inventory") for _ in range(2)] == [1, 0]


def test_a_forged_event_stays_one_when_the_broker_sets_it_aside(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(hook()), "may_emit", lambda _self, sender, _event: sender == "orders")
    message = body(encode(created(1)), {"type": "Nonsense"}, {"type": ["no", "name"]}, 7)

    dead_letter_queue.record_message("inventory", message, headers(), "thief")
    dead_letter_queue.record_message("inventory", body(encode(created(2))), headers(), "orders")

    letters = list(DeadLetter.objects.order_by("pk"))
    unknown = "DeadLettered: delivery_limit"
    assert [letter.error for letter in letters] == [
        "Impostor: OrderCreated from thief", unknown, unknown, unknown, unknown
    ]  # fmt: skip
    with pytest.raises(dead_letters.Impostor):
        dead_letters.replay(letters[0])
    assert bus.messages == []
    dead_letters.replay(letters[-1])
    assert len(bus.messages) == 1


def test_what_cannot_be_kept_does_not_stop_the_relay(monkeypatch: pytest.MonkeyPatch):
    calls = []

    def fail_always(service: str) -> int:
        calls.append(service)
        raise ValueError

    monkeypatch.setattr(dead_letter_queue, "drain", fail_always)
    relay = Relay("inventory")

    relay._drain_dead_letters()
    relay._drain_dead_letters()  # not before some seconds have passed

    assert calls == ["inventory"]
