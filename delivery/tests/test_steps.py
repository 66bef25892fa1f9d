"""Starting and cancelling deliveries, in every order in which it may happen."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from msgspec.structs import replace

from delivery.models import Delivery, Unsent
from delivery.tasks import advance_deliveries, cancel_delivery, start_delivery
from delivery.tests.saga import ADDRESS, TRACE, advance, cancelling, outbox, paid, run, status, told
from fastdb.clock import database_time
from shop.contracts.carriers import ConfiguredCarrier
from shop.contracts.events import DeliveryCompleted, DeliveryFailed, DeliveryHandedOver, DeliveryStarted
from shop.contracts.reasons import NO_ADDRESS

pytestmark = pytest.mark.django_db(databases=["delivery"])

CANCELLED = ("DeliveryCancelled", 1, "cancelled by the customer")
REFUSED = ("DeliveryCancellationRefused", 1, None)


def test_a_paid_order_is_prepared_for_its_carrier(settings):
    settings.HANDOVER_AFTER = 3
    event = paid(2)
    (started,) = run(start_delivery, event)
    assert started == DeliveryStarted(
        order_id=2,
        user_id=7,
        tracking_number="LG0000000002",
        event_id=started.event_id,
        caused_by=event.event_id,
        trace=TRACE,
    )
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.carrier, delivery.address) == ("PREPARING", "로젠택배", ADDRESS)
    assert delivery.due_at is not None
    assert timedelta(seconds=2) < delivery.due_at - database_time("delivery") <= timedelta(seconds=3)
    assert (delivery.handed_over_at, delivery.delivered_at) == (None, None)
    assert advance_deliveries() == 0


def test_the_carriers_take_turns_and_no_number_comes_twice():
    run(start_delivery, *[paid(order_id) for order_id in (4, 5, 6, 7, 123_456_789_012)])
    assert list(Delivery.objects.order_by("order_id").values_list("tracking_number", flat=True)) == [
        "CJ0000000004", "HJ0000000005", "LG0000000006", "EP0000000007", "CJ123456789012",
    ]  # fmt: skip
    assert list(Delivery.objects.order_by("order_id").values_list("carrier", flat=True)) == [
        "CJ대한통운", "한진택배", "로젠택배", "우체국택배", "CJ대한통운",
    ]  # fmt: skip


def test_an_order_without_an_address_is_delivered_too():
    run(start_delivery, paid(address=""))
    assert Delivery.objects.get().address == ""


def test_an_address_that_was_not_sealed_is_an_error():
    event = paid()
    open_letter = replace(event, checkout=replace(event.checkout, address=ADDRESS))
    with pytest.raises(ValueError, match="not sealed"):
        start_delivery([open_letter])
    assert Delivery.objects.count() == 0


def test_what_is_given_in_exchange_goes_where_the_first_order_went():
    run(start_delivery, paid(1), paid(2, address="부산광역시"))
    assert told(run(start_delivery, paid(3, "", exchange_of=1), paid(4, "", exchange_of=2))) == [
        ("DeliveryStarted", 3, None),
        ("DeliveryStarted", 4, None),
    ]
    assert list(Delivery.objects.order_by("order_id").values_list("address", flat=True)) == [
        *(ADDRESS, "부산광역시"),
        *(ADDRESS, "부산광역시"),
    ]


def test_what_is_given_in_exchange_fails_once_the_address_is_forgotten():
    run(start_delivery, paid(1))
    Delivery.objects.update(address="")
    event = paid(2, "", exchange_of=1)
    assert told(run(start_delivery, event, paid(3))) == [("DeliveryStarted", 3, None)]
    run(start_delivery, event)
    run(cancel_delivery, cancelling(4))
    run(start_delivery, paid(4, "", exchange_of=1))  # it was cancelled before
    assert told(outbox()) == [("DeliveryFailed", 2, NO_ADDRESS)]
    assert [one.caused_by for one in outbox()] == [event.event_id]
    assert (status(2), status(4)) == ("FAILED", "CANCELLED")


def test_told_twice_it_starts_once_and_says_the_same_again():
    event = paid()
    first = run(start_delivery, event)
    assert run(start_delivery, event) == first
    assert run(start_delivery, paid()) == []
    assert Delivery.objects.count() == 1


def test_in_time_it_is_handed_over_and_arrives(settings):
    settings.DELIVERED_AFTER = 5
    event = paid()
    run(start_delivery, event)
    assert advance() == 1
    delivery = Delivery.objects.get()
    assert delivery.status == "IN_TRANSIT"
    assert delivery.due_at is not None
    assert delivery.handed_over_at is not None
    assert delivery.due_at - delivery.handed_over_at == timedelta(seconds=5)
    (handed_over,) = outbox()
    parcel: dict[str, Any] = {"order_id": 1, "user_id": 7, "tracking_number": "HJ0000000001"}
    parcel |= {"caused_by": event.event_id, "trace": TRACE}
    assert handed_over == DeliveryHandedOver(**parcel, event_id=handed_over.event_id)
    assert advance() == 1
    _, completed = outbox()
    assert completed == DeliveryCompleted(**parcel, event_id=completed.event_id)
    delivery.refresh_from_db()
    assert delivery.status == "DELIVERED"
    assert delivery.due_at is None
    assert delivery.delivered_at is not None
    assert delivery.delivered_at > delivery.handed_over_at
    assert advance() == 0


@pytest.mark.parametrize(
    ("address", "moves", "reason"),
    [
        ("서울 addr_refused_by_carrier 110", 1, "refused by the carrier (인수 거부)"),
        ("addr_refused_by_recipient", 2, "refused by the recipient (수령 거부)"),
    ],
)
def test_a_refused_parcel_fails(address, moves, reason):
    event = paid(address=address)
    run(start_delivery, event)
    for _ in range(moves):
        assert "DeliveryFailed" not in {type(event).__name__ for event in outbox()}
        assert advance() == 1
    *handed_over, failed = outbox()
    assert [type(event).__name__ for event in handed_over] == ["DeliveryHandedOver"] * (moves - 1)
    assert failed == DeliveryFailed(
        order_id=1, user_id=7, reason=reason, event_id=failed.event_id, caused_by=event.event_id, trace=TRACE
    )
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.reason, delivery.due_at, delivery.delivered_at) == ("FAILED", reason, None, None)
    assert advance() == 0


def test_told_again_it_rearms_what_the_timer_had_said():
    event = paid()
    run(start_delivery, event)
    advance()
    advance()
    Unsent.objects.all().delete()  # published
    run(start_delivery, event)
    assert Unsent.objects.count() == 2


def test_before_the_carrier_has_it_it_can_be_cancelled():
    run(start_delivery, paid())
    event = cancelling()
    (cancelled,) = run(cancel_delivery, event)
    assert told([cancelled]) == [CANCELLED]
    assert (cancelled.caused_by, cancelled.trace) == (event.event_id, TRACE)
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.reason, delivery.due_at) == ("CANCELLED", "cancelled by the customer", None)
    assert advance() == 0
    assert outbox() == []


@pytest.mark.parametrize(("moves", "stays"), [(1, "IN_TRANSIT"), (2, "DELIVERED")])
def test_once_the_carrier_has_it_it_cannot_be_cancelled(moves, stays):
    run(start_delivery, paid())
    for _ in range(moves):
        advance()
    assert told(run(cancel_delivery, cancelling())) == [REFUSED]
    assert status() == stays


def test_a_carrier_that_has_given_us_numbers_moves_parcels_by_its_messages_alone(settings):
    settings.CARRIERS = {"NR": ConfiguredCarrier("numbered", {"title": "Number Post", "prefix": "7"})}
    (started,) = run(start_delivery, paid(1, "addr_refused_by_carrier"))
    assert advance() == 0
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.carrier, started.tracking_number) == ("PREPARING", "Number Post", "70000000001")
    assert told(run(cancel_delivery, cancelling())) == [CANCELLED]


def test_a_failed_delivery_is_passed_over_for_its_end_was_told():
    run(start_delivery, paid(address="addr_refused_by_carrier"))
    advance()
    assert run(cancel_delivery, cancelling()) == []
    assert status() == "FAILED"


def test_cancelled_before_it_was_started_it_leaves_a_tombstone_and_never_starts():
    assert told(run(cancel_delivery, cancelling())) == [CANCELLED]
    assert run(start_delivery, paid()) == []
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.tracking_number, delivery.user_id, delivery.due_at) == (
        "CANCELLED", None, None, None,
    )  # fmt: skip
    assert advance() == 0


def test_cancelling_twice_is_answered_once():
    run(start_delivery, paid())
    event = cancelling()
    first = run(cancel_delivery, event)
    assert run(cancel_delivery, event) == first
    assert run(cancel_delivery, cancelling()) == []
    run(cancel_delivery, cancelling(2))
    assert run(cancel_delivery, cancelling(2)) == []


def test_one_batch_holds_deliveries_in_every_state():
    run(start_delivery, paid(1), paid(2, "addr_refused_by_carrier"))
    advance()
    run(start_delivery, paid(3))
    run(cancel_delivery, cancelling(4))
    followers = run(cancel_delivery, *[cancelling(order_id, f"reason {order_id}") for order_id in (5, 4, 3, 2, 1)])
    assert told(followers) == [
        ("DeliveryCancelled", 5, "reason 5"),
        ("DeliveryCancelled", 3, "reason 3"),
        ("DeliveryCancellationRefused", 1, None),
    ]
    assert [status(order_id) for order_id in (1, 2, 3, 4, 5)] == [
        "IN_TRANSIT", "FAILED", "CANCELLED", "CANCELLED", "CANCELLED",
    ]  # fmt: skip
    assert Delivery.objects.get(order_id=3).reason == "reason 3"


def statements(call) -> int:
    with CaptureQueriesContext(connections["delivery"]) as captured:
        call()
    return len(captured)


def test_a_batch_of_a_hundred_takes_as_many_statements_as_a_batch_of_one():
    def counts(first: int, number: int) -> list[int]:
        orders = range(first, first + number)
        kinds = ["addr_refused_by_carrier", "addr_refused_by_recipient", ADDRESS]
        events = [paid(order_id, kinds[order_id % 3]) for order_id in orders]
        doomed = [cancelling(order_id) for order_id in orders]
        late = [cancelling(order_id + 5000) for order_id in orders]
        return [
            statements(lambda: run(start_delivery, *events)),
            statements(lambda: run(cancel_delivery, *late)),
            statements(lambda: run(cancel_delivery, *doomed)),
        ]

    assert counts(1, 1) == counts(1001, 100)


def test_advancing_takes_as_many_statements_for_a_hundred_as_for_three():
    def counts(first: int, number: int) -> list[int]:
        kinds = ["addr_refused_by_carrier", "addr_refused_by_recipient", ADDRESS]
        run(start_delivery, *[paid(order_id, kinds[order_id % 3]) for order_id in range(first, first + number)])
        return [statements(advance), statements(advance)]

    assert counts(1, 3) == counts(1001, 100)
    assert len(outbox()) == 103 + 69  # those that were handed over have two
