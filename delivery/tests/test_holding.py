"""A parcel is held while its order is changed: before it is started, with a carrier that is asked, and too late."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from delivery import asking
from delivery.models import Delivery
from delivery.tasks import cancel_delivery, hold_parcel, let_go, start_delivery
from delivery.tests.saga import TRACE, advance, cancelling, outbox, paid, run, status
from sagas.events import uuid7
from shop.contracts.events import Change, InventoryChanged, OrderChangeRequested, OrderEvent
from tests.support.carriers import ACCOUNT, AskedCarrier, asked_carrier

pytestmark = pytest.mark.django_db(databases=["delivery"])

CHANGE = uuid7()


@pytest.fixture
def carrier(settings: Any) -> Iterator[AskedCarrier]:
    with asked_carrier(settings) as one:
        yield one


def wanted(change_id: UUID = CHANGE) -> OrderChangeRequested:
    return OrderChangeRequested(order_id=1, change=Change(change_id=change_id, amount=-1000), trace=TRACE)


def ended(change_id: UUID = CHANGE) -> InventoryChanged:
    return InventoryChanged(order_id=1, change_id=change_id, trace=TRACE)


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


def told() -> list[str]:
    return names(outbox())


def book() -> None:
    run(start_delivery, paid())
    advance()
    assert status() == "PREPARING"


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
    asking._apply("BOOKING", [claimed], late)
    assert (status(), Delivery.objects.get().disputed_by) == ("BOOKING", "PREPARING")
    advance()
    assert status() == "PREPARING"
