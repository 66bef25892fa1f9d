"""What becomes of a parcel by what its carrier answers, also late, or when something else has happened to it."""

from datetime import timedelta

import pytest

from delivery import answers, asking
from delivery.models import Delivery
from delivery.tasks import advance_deliveries, cancel_delivery, start_delivery
from delivery.tests.saga import (
    COMPLETED,
    HANDED_OVER,
    STARTED,
    advance,
    authorized,
    book,
    cancelling,
    key,
    not_captured,
    outbox,
    paid,
    run,
    status,
    told,
)
from fastdb.clock import database_time
from shop.contracts.reasons import NOT_CAPTURED
from tests.support.carriers import ACCOUNT, LOST_ANSWER, NO_ANSWER, AskedCarrier

pytestmark = pytest.mark.django_db(databases=["accounts", "default", "delivery"])

REFUSED = ("DeliveryCancellationRefused", 1, None)
CANCELLED = ("DeliveryCancelled", 1, "cancelled by the customer")


def test_pauses_end_growing():
    assert [answers.pause_after(attempts) for attempts in (1, 2, 50)] == [
        timedelta(seconds=5), timedelta(seconds=10), timedelta(minutes=10),
    ]  # fmt: skip


def test_what_the_carrier_refuses_fails(carrier: AskedCarrier):
    run(start_delivery, paid(address="addr_refused_by_carrier"))
    advance()
    assert status() == "FAILED"
    assert told(outbox()) == [("DeliveryFailed", 1, "carrier: out of reach")]
    assert run(cancel_delivery, cancelling()) == []


def test_what_nobody_was_asked_about_is_cancelled_at_once(carrier: AskedCarrier):
    run(start_delivery, paid())
    assert told(run(cancel_delivery, cancelling())) == [CANCELLED]
    assert (status(), advance(), carrier.bookings) == ("CANCELLED", 0, 0)


def test_a_booking_is_cancelled_with_the_carrier_first(carrier: AskedCarrier):
    book()
    event = cancelling()
    assert run(cancel_delivery, event) == []
    assert status() == "CANCELLING"
    carrier.troubles.append(LOST_ANSWER)
    advance()
    assert status() == "CANCELLING"
    advance()
    assert (status(), carrier.books[key()].status) == ("CANCELLED", "CANCELLED")
    *_, cancelled = outbox()
    assert (told([cancelled]), cancelled.caused_by) == ([CANCELLED], event.event_id)
    assert run(cancel_delivery, cancelling()) == []


@pytest.mark.parametrize("trouble", [NO_ANSWER, LOST_ANSWER])
def test_a_booking_whose_outcome_is_unknown_is_cancelled_by_its_key(carrier: AskedCarrier, trouble: str):
    run(start_delivery, paid())
    carrier.troubles.append(trouble)
    advance()
    assert run(cancel_delivery, cancelling()) == []
    advance()
    assert (status(), told(outbox())) == ("CANCELLED", [CANCELLED])
    assert {known.status for known in carrier.books.values()} <= {"CANCELLED"}


def test_a_booking_under_way_is_waited_for_before_it_is_cancelled(carrier: AskedCarrier):
    run(start_delivery, paid())
    Delivery.objects.update(attempts=1, due_at=database_time("delivery") + asking.LEASE)  # somebody asks just now
    run(cancel_delivery, cancelling())
    assert (status(), advance_deliveries()) == ("CANCELLING", 0)
    (claimed,) = Delivery.objects.all()
    claimed.status = "BOOKING"
    answers.apply("BOOKING", [claimed], asking._ask((ACCOUNT, "BOOKING"), [claimed]))  # whose answer comes now
    assert status() == "CANCELLING"
    advance_deliveries()
    assert (status(), carrier.books[key()].status, told(outbox())) == ("CANCELLED", "CANCELLED", [CANCELLED])


def test_what_the_carrier_has_already_is_not_cancelled_and_goes_on(carrier: AskedCarrier):
    book()
    carrier.books[key()] = carrier.books[key()]._replace(status="IN_TRANSIT")  # it did not say so yet
    run(cancel_delivery, cancelling())
    advance()
    assert (status(), told(outbox())) == ("IN_TRANSIT", [STARTED, HANDED_OVER, REFUSED])
    advance()
    assert told(outbox())[-1] == COMPLETED


def test_a_booking_that_comes_true_after_its_cancellation_is_left_to_staff(carrier: AskedCarrier):
    run(start_delivery, paid())
    Delivery.objects.update(due_at=database_time("delivery"))
    (claimed,) = asking._claim()
    Delivery.objects.update(status="CANCELLED", due_at=None)  # an hour later, and the process goes on
    answers.apply("BOOKING", [claimed], asking._ask((ACCOUNT, "BOOKING"), [claimed]))
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.disputed_by, outbox()) == ("CANCELLED", "PREPARING", [])


@pytest.mark.parametrize("trouble", ["", NO_ANSWER, LOST_ANSWER])
@pytest.mark.parametrize("recalls", [True, False])
def test_a_parcel_that_is_not_paid_is_called_back_if_its_carrier_can(
    carrier: AskedCarrier, recalls: bool, trouble: str
):
    carrier.recalls = recalls
    assert run(start_delivery, authorized()) == []
    advance()
    advance()
    assert told(outbox()) == [STARTED, HANDED_OVER, ("DeliveryPaymentDue", 1, None)]
    assert run(cancel_delivery, not_captured()) == []
    assert (status(), run(cancel_delivery, cancelling())[0].order_id) == ("RECALLING", 1)
    carrier.troubles.append(trouble)
    advance()
    if trouble:
        assert status() == "RECALLING"
        advance()
    if recalls:
        assert (status(), told(outbox())[3:]) == ("FAILED", [("DeliveryFailed", 1, NOT_CAPTURED)])
    else:
        assert (status(), outbox()[3:]) == ("IN_TRANSIT", [])
        advance()
        assert (told(outbox())[3:], outbox()[-1].unpaid) == ([COMPLETED], True)
        assert run(cancel_delivery, not_captured()) == []
