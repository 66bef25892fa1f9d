"""Messages that come twice, are broken, get lost, or are cut off on their way."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from django.apps import apps

from delivery.models import Delivery
from inventory.models import Reservation
from orders.models import Order
from sagas.events import encode
from sagas.publisher import broker
from shop.contracts.events import OrderCreated, PaymentCompleted
from tests.support.processes import eventually
from tests.support.proxy import Proxy
from tests.support.running_shop import PRICE, Queues, Shop, booked, stock_of

RESERVE = "inventory.reserve_stock"
JSON, PICKLE = "application/json", "cos\nsystem\n."
BATCH = 50
POISONED = 25  # the place of the bad event in its batch
LOAD = 45
CONNECTED = 4  # connections to the broker when everybody is there: two workers' and two relays', at least


def test_a_message_that_comes_three_times(running_shop: Shop, queues: Queues):
    order_id, checkout = running_shop.write_order()
    created = OrderCreated(order_id=order_id, checkout=checkout)
    body = json.dumps([[[encode(created)]], {}, {}])
    counts = _received(RESERVE)

    for _ in range(3):
        queues.put("inventory", body, headers=_headers(RESERVE), content_type=JSON)
    eventually(lambda: _received(RESERVE) == counts + 3)
    running_shop.comes_to(order_id, "DELIVERY_STARTED")
    running_shop.tell(created, "notifications.notify")
    assert running_shop.ends(order_id, audited=False) == [("COMPLETED", "")]

    inbox = apps.get_model("inventory.Inbox").objects
    assert inbox.filter(step=RESERVE, correlation_id=order_id).count() == 1
    eventually(lambda: Reservation.objects.get().status == "SHIPPED")  # by a step that no order waits for
    assert stock_of(running_shop.products[0]) == (9, 0)
    assert booked() == [("CHARGE", PRICE)]
    assert Delivery.objects.count() == 1


def _received(step: str) -> int:
    """How many messages for a step the workers have finished with."""
    replies = current_app.control.broadcast("stats", reply=True, limit=2, timeout=20) or []
    assert len(replies) == 2
    return sum(stats["total"].get(step, 0) for one in replies for stats in one.values())


def _headers(task: str) -> dict[str, Any]:
    """What Celery's messages have."""
    message_id = str(uuid4())
    return {"lang": "py", "task": task, "id": message_id, "root_id": message_id}


# —— Poison —————————————————————————————————————————————————————————————————————————————————————————————————————————
def _unreadable(event: dict[str, Any]) -> None:
    event["type"] = "Nonsense"


def _unhandleable(event: dict[str, Any]) -> None:
    event["checkout"]["address"] = "sealed by nobody"


@pytest.mark.parametrize("poison", [_unreadable, _unhandleable])
def test_a_bad_event_fails_alone(running_shop: Shop, poison: Callable[[dict[str, Any]], None]):
    orders = [running_shop.write_order() for _ in range(BATCH)]
    batch = [encode(PaymentCompleted(order_id=order_id, checkout=checkout)) for order_id, checkout in orders]
    bad_order, _ = orders[POISONED]
    poison(batch[POISONED])

    broker.send("delivery.start_delivery", batch, "poisoned by a test")

    eventually(apps.get_model("delivery.DeadLetter").objects.exists)
    good = {order_id for order_id, _ in orders} - {bad_order}
    eventually(lambda: Order.objects.filter(status="DELIVERY_STARTED").count() == BATCH - 1)
    assert set(Delivery.objects.values_list("order_id", flat=True)) == good
    assert set(Order.objects.filter(status="DELIVERY_STARTED").values_list("pk", flat=True)) == good
    letter = apps.get_model("delivery.DeadLetter").objects.get()
    assert (letter.step, letter.correlation_id, letter.attempts) == ("delivery.start_delivery", bad_order, 1)
    assert json.loads(letter.payload) == json.loads(json.dumps(batch[POISONED]))
    assert "sealed by nobody" not in letter.error


NONSENSE = [  # the body of a message, the task it is for, and what is kept of it
    ("{not json", RESERVE, "{not json"),
    ("5", RESERVE, "5"),
    ("[1, 2, 3]", RESERVE, "[1, 2, 3]"),
    ('[[["event"]], {"surprise": 1}, {}]', RESERVE, "event"),
    ('[[["of another shop"]], {}, {}]', "inventory.unheard_of", "of another shop"),
    ('[[["without a task"]], {}, {}]', "", "without a task"),
    (PICKLE, RESERVE, PICKLE),
]


def test_messages_that_make_no_sense(running_shop: Shop, queues: Queues):
    for body, task, _ in NONSENSE:
        kind = "application/x-python-serialize" if body == PICKLE else JSON
        queues.put("inventory", body, headers=_headers(task) if task else {}, content_type=kind)
    headers = _headers(RESERVE)
    del headers["id"]
    queues.put("inventory", '[[["without an id"]], {}, {}]', headers=headers, content_type=JSON)
    expected = {(task or "no task", kept) for _, task, kept in NONSENSE} | {(RESERVE, "without an id")}

    order_id = running_shop.place()
    running_shop.comes_to(order_id, "DELIVERY_STARTED")  # nobody was stopped by them

    def set_aside() -> bool:
        letters = apps.get_model("inventory.DeadLetter").objects.all()
        assert {(letter.step, json.loads(letter.payload)) for letter in letters} == expected
        return True

    eventually(set_aside)
    assert queues.waiting("inventory") == 0


# —— Trouble on the way —————————————————————————————————————————————————————————————————————————————————————————————
def test_connections_that_are_cut_under_load(running_shop: Shop, proxy: Proxy):
    running_shop.set_stock(running_shop.products[0], LOAD)
    orders, cuts = [], []
    for number in range(LOAD):
        orders.append(running_shop.place())
        if number % 15 == 10:
            eventually(lambda: proxy.connections >= CONNECTED)
            cuts.append(proxy.cut())

    assert running_shop.ends(*orders) == [("COMPLETED", "")] * LOAD
    assert len(cuts) == 3
    assert min(cuts) >= CONNECTED
    assert booked() == [("CHARGE", PRICE)] * LOAD
    assert stock_of(running_shop.products[0]) == (0, 0)


def test_what_flower_shows_holds_no_personal_data(running_shop: Shop):
    assert current_app.control.enable_events(reply=True)  # as Flower does
    seen: list[dict[str, Any]] = []
    with current_app.connection_for_read() as connection:
        receiver = current_app.events.Receiver(connection, handlers={"task-received": seen.append})
        with receiver.consumer_context(wakeup=False) as (listening, _, _):
            order_id = running_shop.place(address="서울특별시 중구 세종대로 110")
            eventually(lambda: _drained(listening) and len(_of_steps(seen)) >= 5)
    summaries = {event["name"]: event["args"] for event in _of_steps(seen)}
    assert summaries[RESERVE] == f"1 × OrderCreated (order {order_id})"
    assert all("checkout" not in str(event) and "address" not in str(event) for event in seen)


def _of_steps(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if "order" in str(event["args"])]


def _drained(connection: Any) -> bool:
    """Take in what workers have told of their tasks."""
    try:
        while True:
            connection.drain_events(timeout=0.05)
    except TimeoutError:
        return True
