"""The timer against a cancellation, for real: threads with connections and transactions of their own."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections, transaction
from django.utils import timezone

from delivery.models import Delivery
from delivery.tasks import advance_deliveries, cancel_delivery, start_delivery
from delivery.tests.saga import cancelling, outbox, paid, run, status, told
from tests.support.locks import somebody_waits_for_us

pytestmark = pytest.mark.django_db(databases=["delivery"], transaction=True)


def together(*calls):
    """Run all calls at the same time; what each returned."""
    start = Barrier(len(calls))

    def one(call):
        try:
            start.wait(timeout=10)
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=30) for future in [pool.submit(one, call) for call in calls]]


def test_the_timer_skips_what_a_cancellation_holds():
    run(start_delivery, paid(1), paid(2), paid(3))
    Delivery.objects.update(due_at=timezone.now())
    with transaction.atomic(using="delivery"):
        cancel_delivery([cancelling(2)])
        assert together(advance_deliveries) == [2]
    assert [status(order_id) for order_id in (1, 2, 3)] == ["IN_TRANSIT", "CANCELLED", "IN_TRANSIT"]
    assert advance_deliveries() == 0


def test_a_cancellation_waits_for_the_timer_and_finds_the_parcel_handed_over():
    run(start_delivery, paid())
    Delivery.objects.update(due_at=timezone.now())
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(using="delivery"):
            Delivery.objects.select_for_update().get()
            waiting = pool.submit(together, lambda: run(cancel_delivery, cancelling()))
            while not somebody_waits_for_us("delivery"):
                pass
            Delivery.objects.update(status="IN_TRANSIT", handed_over_at=timezone.now())
        (followers,) = waiting.result(timeout=30)
    assert told(followers) == [("DeliveryCancellationRefused", 1, None)]
    assert status() == "IN_TRANSIT"


def test_every_parcel_is_cancelled_or_handed_over_and_never_both():
    orders = range(1, 101)
    run(start_delivery, *[paid(order_id) for order_id in orders])
    Delivery.objects.update(due_at=timezone.now())
    batches = [[cancelling(order_id) for order_id in reversed(orders) if order_id % 4 == part] for part in range(4)]
    results = together(
        *[lambda batch=batch: run(cancel_delivery, *batch) for batch in batches],
        lambda: advance_deliveries() and [],
        lambda: advance_deliveries() and [],
    )
    answers = {event.order_id: type(event).__name__ for result in results if result for event in result}
    assert set(answers) == set(orders)
    for order_id in orders:
        assert (answers[order_id], status(order_id)) in {
            ("DeliveryCancelled", "CANCELLED"),
            ("DeliveryCancellationRefused", "IN_TRANSIT"),
        }
    handed_over = {order_id for order_id, answer in answers.items() if answer == "DeliveryCancellationRefused"}
    assert {(type(event).__name__, event.order_id) for event in outbox()} == {
        ("DeliveryHandedOver", order_id) for order_id in handed_over
    }


def test_started_and_cancelled_at_the_same_moment():
    orders = range(1, 51)
    started, cancelled = together(
        lambda: run(start_delivery, *[paid(order_id) for order_id in orders]),
        lambda: run(cancel_delivery, *[cancelling(order_id) for order_id in reversed(orders)]),
    )
    assert sorted(told(cancelled)) == [("DeliveryCancelled", n, "cancelled by the customer") for n in orders]
    assert Delivery.objects.filter(status="CANCELLED").count() == 50
    begun = Delivery.objects.exclude(tracking_number=None).values_list("order_id", flat=True)
    assert sorted(event.order_id for event in started) == sorted(begun)
