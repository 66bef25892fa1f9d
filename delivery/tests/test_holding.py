"""A parcel is held while its order is changed: before it is started, with a carrier that is asked, and too late; and it
goes where the changes say."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from delivery import answers, asking
from delivery.models import Delivery
from delivery.tasks import cancel_delivery, hold_parcel, let_go, start_delivery
from delivery.tests.saga import ADDRESS, TRACE, advance, book, cancelling, outbox, paid, run, status
from sagas.events import uuid7
from sagas.testing import rolled_back
from shop.contracts.events import Change, InventoryChanged, OrderChangeRequested, OrderEvent
from shop.seal import What, seal
from tests.conftest import SERVICES
from tests.support.carriers import ACCOUNT, AskedCarrier

pytestmark = pytest.mark.django_db(databases=["delivery"])

CHANGE = uuid7()


def wanted(change_id: UUID = CHANGE, address: str = "", present: str = "") -> OrderChangeRequested:
    sealed, known = (text and seal(text, What.ADDRESS, order_id=1) for text in (address, present))
    change = Change(change_id=change_id, amount=-1000, address=sealed, present_address=known)
    return OrderChangeRequested(order_id=1, change=change, trace=TRACE)


def ended(change_id: UUID = CHANGE, made: bool = True) -> InventoryChanged:
    return InventoryChanged(order_id=1, change_id=change_id, made=made, trace=TRACE)


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


def told() -> list[str]:
    return names(outbox())


def run_all(*steps: tuple[Any, OrderEvent]) -> list[str]:
    return [name for step, event in steps for name in names(run(step, event))]


def test_a_parcel_that_waits_for_its_carrier_stays_and_goes_on_afterwards():
    run(start_delivery, paid())
    assert names(run(hold_parcel, wanted())) == ["DeliveryHeld"]
    advance()
    assert (status(), told()) == ("HELD", [])
    assert names(run(let_go, ended())) == ["DeliveryStarted"]
    advance()
    assert (status(), told()) == ("IN_TRANSIT", ["DeliveryHandedOver"])


def test_what_is_held_before_it_is_started_starts_when_it_is_let_go():
    assert run_all((hold_parcel, wanted()), (start_delivery, paid())) == ["DeliveryHeld"]
    assert (status(), Delivery.objects.get().user_id) == ("HELD", 7)
    assert names(run(let_go, ended())) == ["DeliveryStarted"]
    assert status() == "PREPARING"


def test_what_is_held_and_let_go_before_it_is_started_starts_as_ever():
    assert run_all((hold_parcel, wanted()), (let_go, ended()), (start_delivery, paid())) == [
        "DeliveryHeld",
        "DeliveryStarted",
    ]
    assert (status(), Delivery.objects.get().address != "") == ("PREPARING", True)


def test_what_was_let_go_is_not_held_any_more():
    run(start_delivery, paid())
    run(let_go, ended())
    assert names(run(hold_parcel, wanted())) == ["DeliveryHoldRefused"]
    assert status() == "PREPARING"


def test_another_change_may_begin_before_the_last_one_is_let_go():
    other = uuid7()
    run(start_delivery, paid())
    assert run_all((hold_parcel, wanted()), (hold_parcel, wanted(other)), (let_go, ended())) == ["DeliveryHeld"] * 2
    assert status() == "HELD"
    run(let_go, ended(other))
    assert status() == "PREPARING"


@pytest.mark.parametrize("first", [True, False])
def test_a_cancellation_wins_over_a_change(first: bool):
    run(start_delivery, paid())
    both = [(cancel_delivery, cancelling()), (hold_parcel, wanted())]
    assert run_all(*(both if first else reversed(both)), (let_go, ended())) == (
        ["DeliveryCancelled", "DeliveryHoldRefused"] if first else ["DeliveryHeld", "DeliveryCancelled"]
    )
    assert status() == "CANCELLED"


def test_what_the_carrier_has_cannot_be_held():
    run(start_delivery, paid())
    advance()
    (refused,) = run(hold_parcel, wanted())
    assert (refused.reason, status()) == ("the carrier has the parcel already", "IN_TRANSIT")


# --- To another address -----------------------------------------------------------------------------------------------
def test_the_new_address_counts_when_the_change_is_made_and_travels_no_further():
    run(start_delivery, paid())
    before = Delivery.objects.get()
    (held,) = run(hold_parcel, wanted(address="2 Low Street"))
    assert held.change == Change(change_id=CHANGE, amount=-1000)
    assert Delivery.objects.get().address == before.address
    run(let_go, ended())
    after = Delivery.objects.get()
    assert (after.address, after.held_for, after.status) == ("2 Low Street", None, "PREPARING")
    assert after.key != before.key


def test_the_old_address_stays_when_the_change_is_refused_or_brings_none():
    run(start_delivery, paid())
    before = Delivery.objects.get().address
    run_all((hold_parcel, wanted(address="2 Low Street")), (let_go, ended(made=False)))
    assert Delivery.objects.get().address == before
    run_all((hold_parcel, wanted(other := uuid7())), (let_go, ended(other)))
    assert (status(), Delivery.objects.get().address) == ("PREPARING", before)


def test_what_is_let_go_before_it_is_started_is_booked_for_the_new_address():
    run_all((hold_parcel, wanted(address="2 Low Street addr_refused_by_carrier")), (let_go, ended()))
    assert run(start_delivery, paid()) == []
    assert status() == "BOOKING"
    advance()
    assert (status(), told()) == ("PREPARING", ["DeliveryStarted"])
    advance()
    assert status() == "FAILED"


def test_an_address_that_cannot_be_unsealed_is_a_dead_letter(settings: Any):
    run(start_delivery, paid())
    run(hold_parcel, wanted(address="2 Low Street"))
    settings.SEAL_KEYS = ["another one"]
    with pytest.raises(ValueError, match="not sealed with our secret"):
        run(let_go, ended())
    assert status() == "HELD"


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[Any, OrderEvent]], str]:
    """What delivery hears of an order that is changed several times, and where its parcel is to go. A change may come
    before the end of the last one, the start at any time, and everything twice."""
    events: list[tuple[Any, OrderEvent]] = []
    held, present = -1, ""
    for number, (moves, made) in enumerate(draw(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=4))):
        change_id, address = UUID(int=number + 1), f"{number} Low Street" if moves else ""
        held = draw(st.integers(held + 1, len(events)))
        events.insert(held, (hold_parcel, wanted(change_id, address, present)))
        events.insert(draw(st.integers(held + 1, len(events))), (let_go, ended(change_id, made)))
        present = address if moves and made else present
    events.insert(draw(st.integers(0, len(events))), (start_delivery, paid()))
    for first in draw(st.lists(st.integers(0, len(events) - 1), max_size=3)):
        events.insert(draw(st.integers(first + 1, len(events))), events[first])
    return events, present or ADDRESS


@pytest.mark.django_db(databases=SERVICES)
@hypothesis_settings(deadline=None)
@given(histories())
def test_a_parcel_goes_where_the_last_change_that_was_made_says(history: tuple[list[tuple[Any, OrderEvent]], str]):
    events, address = history
    with rolled_back():
        run_all(*events)
        advance()
        delivery = Delivery.objects.get()
        assert (delivery.address, delivery.held_for) == (address, None)
        assert delivery.status in ("PREPARING", "IN_TRANSIT")


# --- With a carrier that is asked -------------------------------------------------------------------------------------
def test_its_booking_is_cancelled_with_the_carrier_and_made_anew(carrier: AskedCarrier):
    book()
    before, request = Delivery.objects.get(), wanted()
    assert run(hold_parcel, request) == []
    advance()
    assert (status(), carrier.books[before.key].status) == ("HELD", "CANCELLED")
    *_, held = outbox()
    assert (type(held).__name__, held.change, held.caused_by) == ("DeliveryHeld", request.change, request.event_id)
    assert run(let_go, ended()) == []
    advance()
    after = Delivery.objects.get()
    assert (after.status, after.key != before.key, carrier.bookings) == ("PREPARING", True, 2)
    assert told() == ["DeliveryStarted", "DeliveryHeld", "DeliveryStarted"]


def test_a_carrier_that_was_faster_has_it(carrier: AskedCarrier):
    book()
    key = Delivery.objects.get().key
    carrier.books[key] = carrier.books[key]._replace(status="IN_TRANSIT")  # it did not say so yet
    run(hold_parcel, wanted())
    advance()
    assert (status(), told()) == ("IN_TRANSIT", ["DeliveryStarted", "DeliveryHandedOver", "DeliveryHoldRefused"])
    assert Delivery.objects.get().held_for is None


def test_a_cancellation_while_the_carrier_is_asked_ends_the_change(carrier: AskedCarrier):
    book()
    run(hold_parcel, wanted())
    assert names(run(cancel_delivery, cancelling())) == ["DeliveryHoldRefused"]
    advance()
    assert (status(), told()) == ("CANCELLED", ["DeliveryStarted", "DeliveryCancelled"])


def test_an_answer_about_the_booking_before_is_for_staff_to_see_to(carrier: AskedCarrier):
    run(start_delivery, paid())
    (claimed,) = asking._claim()
    late = asking._ask((ACCOUNT, "BOOKING"), [claimed])  # whose answer is long in coming
    run(hold_parcel, wanted())
    advance()
    run(let_go, ended())
    answers.apply("BOOKING", [claimed], late)
    assert (status(), Delivery.objects.get().disputed_by) == ("BOOKING", "PREPARING")
    advance()
    assert status() == "PREPARING"
