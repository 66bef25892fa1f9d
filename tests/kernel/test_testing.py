"""The checks of `sagas.testing` fail when a saga is broken, and the dialogue says what it misses."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from inventory.models import Reservation, StockItem
from inventory.services import seed_stock
from orders.cancellation import request_cancellation
from orders.models import Order
from sagas import Event, execution
from sagas.registry import STEPS, AnyStep
from sagas.testing import Conformance, given
from shop.contracts.events import (
    Checkout,
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    Line,
    OrderCreated,
    PaymentFailed,
)
from tests.conftest import SERVICES
from tests.support.ordering import place_order
from tests.support.sagas import SAGA_TIMERS

pytestmark = [
    pytest.mark.django_db(databases=SERVICES),
    pytest.mark.usefixtures("bus", "no_waiting", "gateways_answer_soon"),
]

effects: list[int] = []  # of a step, where no transaction takes them back


def paid() -> int:
    effects.clear()
    return place_order(user_id=1, lines=[Line(1, 2)]).pk


def cancelled() -> int:
    order_id = paid()
    request_cancellation(order_id)
    return order_id


class Orders(Conformance):
    """A small part of tests/system/test_conformance.py."""

    scenarios = {"paid": paid}
    timers = SAGA_TIMERS
    crashes = 1
    orders = 3

    def state(self, key: int) -> Any:
        return Order.objects.get(pk=key).status, len(effects)

    def assert_sound(self, key: int) -> None:
        status = Order.objects.get(pk=key).status
        on_hand, reserved = StockItem.objects.values_list("on_hand", "reserved").get(product_id=1)
        assert (status, on_hand, reserved) in [("COMPLETED", 8, 0), ("CANCELLED", 10, 0)], (status, on_hand, reserved)


class CancelledOrders(Orders):
    scenarios = {"cancelled": cancelled}
    races = {"cancelled"}
    orders = 20


@pytest.fixture(autouse=True)
def stock() -> None:
    seed_stock({1: 10})


@pytest.fixture(autouse=True)
def not_played_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class is sound in one test and broken in another."""
    monkeypatch.setattr(Conformance, "_undisturbed_plays", {})


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts another function in a step's place; it is given the step's own, and the events."""

    def put(name: str, function: Callable[..., Any]) -> None:
        sound = STEPS[name].function
        monkeypatch.setattr(STEPS[name], "function", lambda events: function(sound, events))

    return put


def leaking(step: Callable[..., Any], events: Sequence[Any]) -> Any:
    """The effect is not the transaction's, so nobody knows that it is there already."""
    effects.append(1)
    return step(events)


def deaf(step: Callable[..., Any], events: Sequence[Any]) -> list[Any]:
    """Does its work, and tells nobody."""
    step(events)
    return []


def forgetful(step: Callable[..., Any], events: Sequence[Any]) -> list[Any]:
    """Undoes what is there, and leaves no tombstone for what comes late."""
    released = step(events)
    Reservation.objects.filter(status="RELEASED", lines=None).delete()
    return released


@pytest.mark.parametrize("check", [name for name in dir(Conformance) if name.startswith("test_")])
def test_every_check_passes_for_a_sound_saga(check: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Orders, "_steps", lambda self, kind: {"inventory.reserve_stock"} if kind == "effect" else set())

    getattr(Orders(), check)()


@pytest.mark.parametrize(
    ("check", "orders", "step", "fault", "message"),
    [
        ("test_it_ends", Orders, "inventory.reserve_stock", deaf, "paid"),
        ("test_every_message_three_times", Orders, "orders.mark_reserved", leaking, "every message three times"),
        ("test_any_order", CancelledOrders, "inventory.release_stock", forgetful, "random order"),
        ("test_a_crash_at_every_boundary", Orders, "inventory.reserve_stock", leaking, "a crash at "),
        ("test_an_effect_that_comes_last", CancelledOrders, "inventory.release_stock", forgetful, "came last"),
        ("test_an_undo_before_its_effect", CancelledOrders, "inventory.release_stock", forgetful, "came first"),
        (
            "test_every_message_once_more_when_all_is_over",
            Orders,
            "orders.mark_reserved",
            leaking,
            "every message once more",
        ),
    ],
)
def test_a_check_fails_for_a_broken_step(
    broken: Callable[..., None], check: str, orders: type[Conformance], step: str, fault: Any, message: str
):
    broken(step, fault)

    with pytest.raises(AssertionError, match=message):
        getattr(orders(), check)()


def test_a_lost_message_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """A kernel that forgets what a step has emitted cannot publish it again."""
    monkeypatch.setattr("sagas.inbox.decode_all", lambda emitted, types: [])

    with pytest.raises(AssertionError, match=r"paid, message \d+ was lost"):
        Orders().test_a_lost_message()


def test_an_unreadable_event_that_nobody_records_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sagas.dead_letters.record", lambda *args: None)

    with pytest.raises(AssertionError, match="has 0 dead letters"):
        Orders().test_an_event_that_cannot_be_read_fails_alone()


def test_an_unreadable_event_that_takes_its_neighbours_along_is_noticed(monkeypatch: pytest.MonkeyPatch):
    def all_or_none(step: AnyStep, payload: msgspec.Raw) -> list[Any]:
        events = decode_each(step, payload)
        return events if len(events) == len(msgspec.json.decode(payload)) else []

    decode_each = execution._decode
    monkeypatch.setattr(execution, "_decode", all_or_none)

    with pytest.raises(AssertionError, match="with events that cannot be read"):
        Orders().test_an_event_that_cannot_be_read_fails_alone()


def test_an_undo_that_no_scenario_reaches_is_named():
    with pytest.raises(AssertionError, match=r"No scenario reaches \['delivery.cancel_delivery', "):
        Orders().test_an_undo_before_its_effect()


# --- The dialogue ---------------------------------------------------------------------------------------------------
def created(order_id: int = 1, quantity: int = 2) -> OrderCreated:
    checkout = Checkout(
        user_id=1,
        amount=2000,
        currency="KRW",
        payment_gateway="TOSS_PAYMENTS",
        payment_token="tok_visa",
        lines=(Line(1, quantity),),
    )
    return OrderCreated(order_id=order_id, checkout=checkout)


def test_a_dialogue_names_each_step_and_what_it_emits():
    (
        given(created())
        .expect("inventory.reserve_stock").emits(InventoryReserved)
        .expect("orders.mark_reserved").emits_nothing()
    )  # fmt: skip


def test_a_dialogue_plays_a_refusal():
    (
        given(created(quantity=11))
        .expect("inventory.reserve_stock").emits(InventoryReservationFailed)
        .expect("orders.cancel_order")
    )  # fmt: skip


def test_a_dialogue_begins_anywhere():
    given(PaymentFailed(order_id=1, reason="declined")).expect("inventory.release_stock").emits(InventoryReleased)


def test_a_dialogue_says_which_messages_wait():
    with pytest.raises(
        AssertionError, match=r"No message for payments.charge_payment. Waiting: inventory.reserve_stock"
    ):
        given(created()).expect("payments.charge_payment")


def test_a_dialogue_says_what_was_emitted_instead():
    told = r"inventory.reserve_stock emitted \['InventoryReserved'\], expected \['InventoryReservationFailed'\]"
    with pytest.raises(AssertionError, match=told):
        given(created()).expect("inventory.reserve_stock").emits(InventoryReservationFailed)


def test_a_dialogue_refuses_an_event_of_no_saga():
    class Elsewhere(Event, frozen=True, kw_only=True):
        order_id: int

    with pytest.raises(AssertionError, match="Elsewhere belongs to no saga"):
        given(Elsewhere(order_id=1))
