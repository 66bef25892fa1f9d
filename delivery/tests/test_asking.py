"""Parcels of a carrier that has to be asked: booked, cancelled and followed, whatever answer does not come."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from delivery import asking
from delivery.models import CarrierEvent, Delivery
from delivery.tasks import advance_deliveries, cancel_delivery, start_delivery
from delivery.tests.saga import TRACE, advance, authorized, cancelling, not_captured, outbox, paid, run, status, told
from fastdb.clock import database_time
from shop.contracts.events import DeliveryStarted
from shop.contracts.reasons import NOT_CAPTURED
from tests.support.carriers import ACCOUNT, LOST_ANSWER, NO_ANSWER, AskedCarrier, asked_carrier

pytestmark = pytest.mark.django_db(databases=["accounts", "default", "delivery"])

STARTED, HANDED_OVER, COMPLETED = [(f"Delivery{what}", 1, None) for what in ("Started", "HandedOver", "Completed")]
REFUSED = ("DeliveryCancellationRefused", 1, None)
CANCELLED = ("DeliveryCancelled", 1, "cancelled by the customer")


@pytest.fixture
def carrier(settings: Any) -> Iterator[AskedCarrier]:
    with asked_carrier(settings) as carrier:
        yield carrier


def book(carrier: AskedCarrier) -> None:
    run(start_delivery, paid())
    advance()
    assert status() == "PREPARING"


def key() -> str:
    """What the booking is called at the carrier."""
    return Delivery.objects.get().key


def test_another_shops_booking_of_an_order_with_the_same_number_is_not_taken_for_ours(carrier: AskedCarrier):
    book(carrier)
    of_another = key()
    Delivery.objects.all().delete()  # the database is set up anew; the carrier's account is the same
    run(start_delivery, paid())
    carrier.troubles.append(LOST_ANSWER)
    advance()
    advance()
    assert (status(), carrier.bookings) == ("PREPARING", 2)
    run(cancel_delivery, cancelling())
    advance()
    assert (carrier.books[key()].status, carrier.books[of_another].status) == ("CANCELLED", "BOOKED")


def test_what_is_to_be_booked_is_written_down_and_asked_for_later(carrier: AskedCarrier):
    event = paid()
    assert run(start_delivery, event) == []
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.tracking_number, delivery.account) == ("BOOKING", None, ACCOUNT)
    assert carrier.bookings == 0

    assert advance_deliveries() == 1

    delivery.refresh_from_db()
    assert (delivery.status, delivery.tracking_number, delivery.carrier) == ("PREPARING", "A000001", "Asked Parcels")
    assert (delivery.reference, delivery.label_url, delivery.attempts) == ("ref-1", "https://label", 0)
    (started,) = outbox()
    assert started == DeliveryStarted(
        order_id=1,
        user_id=7,
        tracking_number="A000001",
        event_id=started.event_id,
        caused_by=event.event_id,
        trace=TRACE,
    )


def test_it_is_followed_to_the_door(carrier: AskedCarrier):
    run(start_delivery, paid())
    for expected in ("PREPARING", "IN_TRANSIT", "DELIVERED"):
        assert advance() == 1
        assert status() == expected
    assert told(outbox()) == [STARTED, HANDED_OVER, COMPLETED]
    assert advance() == 0


@pytest.mark.parametrize("trouble", [NO_ANSWER, LOST_ANSWER])
def test_an_answer_that_does_not_come_is_asked_for_again_with_growing_pauses(carrier: AskedCarrier, trouble: str):
    run(start_delivery, paid())
    carrier.troubles.extend([trouble] * 3)
    pauses = []
    for _ in range(3):
        advance()
        due_at = Delivery.objects.get().due_at
        assert due_at is not None
        pauses.append((due_at - database_time("delivery")).total_seconds())
        assert (status(), outbox(), advance_deliveries()) == ("BOOKING", [], 0)
    assert [round(pause / 5) for pause in pauses] == [1, 2, 4]
    advance()
    assert (status(), told(outbox()), carrier.bookings) == ("PREPARING", [STARTED], 1)


def test_pauses_end_growing():
    assert [asking.pause_after(attempts) for attempts in (1, 2, 50)] == [
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
    book(carrier)
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
    asking._apply("BOOKING", [claimed], asking._ask((ACCOUNT, "BOOKING"), [claimed]))  # whose answer comes now
    assert status() == "CANCELLING"
    advance_deliveries()
    assert (status(), carrier.books[key()].status, told(outbox())) == ("CANCELLED", "CANCELLED", [CANCELLED])


def test_what_the_carrier_has_already_is_not_cancelled_and_goes_on(carrier: AskedCarrier):
    book(carrier)
    carrier.books[key()] = carrier.books[key()]._replace(status="IN_TRANSIT")  # it did not say so yet
    run(cancel_delivery, cancelling())
    advance()
    assert (status(), told(outbox())) == ("IN_TRANSIT", [STARTED, HANDED_OVER, REFUSED])
    advance()
    assert told(outbox())[-1] == COMPLETED


def test_a_report_may_be_faster_than_the_answer_to_a_cancellation(carrier: AskedCarrier):
    book(carrier)
    run(cancel_delivery, cancelling())
    assert tell(f"e1 {key()} IN_TRANSIT") == 202
    assert (status(), told(outbox())) == ("IN_TRANSIT", [STARTED, HANDED_OVER, REFUSED])
    carrier.books[key()] = carrier.books[key()]._replace(status="IN_TRANSIT")
    advance()
    assert told(outbox()) == [STARTED, HANDED_OVER, REFUSED, COMPLETED]


def test_a_booking_that_comes_true_after_its_cancellation_is_left_to_staff(carrier: AskedCarrier):
    run(start_delivery, paid())
    Delivery.objects.update(due_at=database_time("delivery"))
    (claimed,) = asking._claim()
    Delivery.objects.update(status="CANCELLED", due_at=None)  # an hour later, and the process goes on
    asking._apply("BOOKING", [claimed], asking._ask((ACCOUNT, "BOOKING"), [claimed]))
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.disputed_by, outbox()) == ("CANCELLED", "PREPARING", [])


def test_while_there_is_no_carrier_parcels_wait_and_then_one_takes_them(settings: Any):
    settings.CARRIERS = {}
    run(start_delivery, paid())
    advance()
    assert status() == "BOOKING"
    with asked_carrier(settings):
        advance()  # notes who takes it
        advance()
        assert (status(), Delivery.objects.get().account) == ("PREPARING", ACCOUNT)
    settings.CARRIERS = {}
    run(cancel_delivery, cancelling())
    assert (advance(), status()) == (1, "CANCELLING")  # until somebody can be asked again


def test_several_carriers_are_asked_side_by_side(settings: Any, monkeypatch: pytest.MonkeyPatch):
    import delivery.carriers as port

    with asked_carrier(settings) as one:
        other = AskedCarrier()
        settings.CARRIERS = settings.CARRIERS | {"OTHER": settings.CARRIERS[ACCOUNT]}
        monkeypatch.setitem(port._made, "OTHER", other)
        run(start_delivery, *[paid(order_id) for order_id in range(1, 5)])
        assert advance() == 4
        assert (one.bookings, other.bookings) == (2, 2)
        run(cancel_delivery, cancelling(1))
        assert advance() == 4
        assert [status(order_id) for order_id in (1, 2, 3, 4)] == ["CANCELLED", *["IN_TRANSIT"] * 3]


def test_a_batch_takes_as_many_statements_as_one(carrier: AskedCarrier):
    def counts(first: int, number: int) -> list[int]:
        orders = range(first, first + number)
        kinds = ["addr_refused_by_carrier", "addr_refused_by_recipient", "1 Road"]
        found = []
        for act in (
            lambda: run(start_delivery, *[paid(order_id, kinds[order_id % 3]) for order_id in orders]),
            advance,
            lambda: run(cancel_delivery, *[cancelling(order_id) for order_id in orders if order_id % 2]),
        ):
            with CaptureQueriesContext(connections["delivery"]) as captured:
                act()
            found.append(len(captured))
        Delivery.objects.all().delete()
        return found

    assert counts(1, 6) == counts(1001, 60)


# --- A webhook of the carrier's own -----------------------------------------------------------------------------------
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


def test_a_parcel_may_arrive_while_it_is_called_back(carrier: AskedCarrier):
    run(start_delivery, authorized())
    advance()
    advance()
    run(cancel_delivery, not_captured())
    assert tell(f"e1 {key()} DELIVERED") == 202
    assert (status(), told(outbox())[-1], advance()) == ("DELIVERED", COMPLETED, 0)


def tell(body: str, secret: str = "known", account: str = ACCOUNT) -> int:
    url = f"/api/v1/deliveries/reports/{account}"
    client = APIClient()
    answer = client.post(url, body.encode(), content_type="application/json", headers={"X-Secret": secret})
    return answer.status_code


def test_a_carrier_reports_by_its_own_webhook_once_and_in_any_order(carrier: AskedCarrier):
    book(carrier)
    for _ in range(2):
        assert tell(f"e1 {key()} DELIVERED") == 202
    assert tell(f"e2 {key()} IN_TRANSIT") == 202
    assert tell("e3 order-9 DELIVERED") == 202  # of nobody's we know
    assert (status(), told(outbox())) == ("DELIVERED", [STARTED, HANDED_OVER, COMPLETED])
    assert list(CarrierEvent.objects.order_by("event_id").values_list("carrier", "event_id")) == [
        (ACCOUNT, "e1"), (ACCOUNT, "e2"),
    ]  # fmt: skip


def test_a_report_that_is_not_the_carriers_is_refused(carrier: AskedCarrier):
    book(carrier)
    assert tell(f"e1 {key()} DELIVERED", secret="guessed") == 401
    assert tell(f"e1 {key()} DELIVERED", account="NOBODY") == 404
    assert (status(), CarrierEvent.objects.count()) == ("PREPARING", 0)
