"""Parcels of a carrier that has to be asked: booked and followed, whatever answer does not come."""

from typing import Any

import pytest
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext

import delivery.carriers as port
from delivery import asking
from delivery.carriers import Booked
from delivery.models import Delivery
from delivery.tasks import advance_deliveries, cancel_delivery, start_delivery
from delivery.tests.saga import (
    COMPLETED,
    HANDED_OVER,
    STARTED,
    TRACE,
    advance,
    as_user,
    book,
    cancelling,
    key,
    outbox,
    paid,
    run,
    status,
    told,
)
from fastdb.clock import database_time
from shop.contracts.events import DeliveryStarted
from tests.support.carriers import ACCOUNT, LOST_ANSWER, NO_ANSWER, AskedCarrier, asked_carrier

OTHER = "OTHER"

pytestmark = pytest.mark.django_db(databases=["accounts", "default", "delivery"])


def test_another_shops_booking_of_an_order_with_the_same_number_is_not_taken_for_ours(carrier: AskedCarrier):
    book()
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


@pytest.fixture
def two(carrier: AskedCarrier, settings: Any, monkeypatch: pytest.MonkeyPatch) -> AskedCarrier:
    """Beside the one that takes orders with even numbers, another."""
    settings.CARRIERS = settings.CARRIERS | {OTHER: settings.CARRIERS[ACCOUNT]}
    monkeypatch.setitem(port._made, OTHER, other := AskedCarrier())
    return other


def number_all(carrier: AskedCarrier, number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a carrier give all parcels the same number."""
    monkeypatch.setattr(carrier, "_book", lambda booking: Booked(number, "Asked Parcels"))


def test_two_carriers_may_give_the_same_number(
    carrier: AskedCarrier, two: AskedCarrier, monkeypatch: pytest.MonkeyPatch
):
    number_all(carrier, "N1", monkeypatch)
    number_all(two, "N1", monkeypatch)
    run(start_delivery, paid(1), paid(2, user_id=8))

    advance()

    booked = Delivery.objects.order_by("order_id").values_list("account", "tracking_number", "status")
    assert list(booked) == [(OTHER, "N1", "PREPARING"), (ACCOUNT, "N1", "PREPARING")]
    assert [as_user(user).get("/api/v1/deliveries/N1").json()["orderId"] for user in (7, 8)] == [1, 2]
    assert as_user(9, staff=True).get("/api/v1/deliveries/N1").json()["orderId"] == 2  # the newest


def test_an_answer_that_cannot_be_written_down_holds_up_no_other(
    carrier: AskedCarrier, two: AskedCarrier, monkeypatch: pytest.MonkeyPatch
):
    """Say a number that the carrier has given before."""
    run(start_delivery, paid(2))
    advance()
    assert status(2) == "PREPARING"
    real = carrier._book
    monkeypatch.setattr(carrier, "_book", lambda one: Booked("A000002", "?") if one.order_id == 6 else real(one))
    run(start_delivery, *[paid(order_id) for order_id in (1, 4, 6, 8, 10)])

    pauses = []
    for _ in range(2):
        advance_deliveries()
        left = Delivery.objects.get(order_id=6)
        assert left.due_at is not None
        pauses.append(round((left.due_at - database_time("delivery")).total_seconds()))
        Delivery.objects.filter(pk=left.pk).update(due_at=database_time("delivery"))

    assert [one.order_id for one in Delivery.objects.filter(status="BOOKING")] == [6]
    assert (left.tracking_number, pauses) == (None, [5, 10])
    assert sorted(event.order_id for event in outbox() if isinstance(event, DeliveryStarted)) == [1, 2, 4, 8, 10]

    monkeypatch.setattr(carrier, "_book", real)
    advance_deliveries()
    assert status(6) == "PREPARING"


def test_an_outage_while_an_answer_is_written_down_is_none_of_its_own(
    carrier: AskedCarrier, monkeypatch: pytest.MonkeyPatch
):
    written = []

    def away(question: str, asked: Any, answers: Any) -> None:
        written.append(len(asked))
        raise OperationalError("the database system is shutting down")

    monkeypatch.setattr(asking, "apply", away)
    run(start_delivery, paid(1), paid(2))

    with pytest.raises(OperationalError):
        advance()

    assert written == [2]


def test_a_carrier_whose_adapter_fails_holds_up_no_other(
    carrier: AskedCarrier, two: AskedCarrier, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(two, "book", lambda bookings: 1 / 0)
    run(start_delivery, paid(1), paid(2))

    advance()

    assert (status(1), status(2)) == ("BOOKING", "PREPARING")


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
