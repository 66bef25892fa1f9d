"""Two processes at once, for real: threads with connections and transactions of their own."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections, transaction
from django.utils import timezone

from payments.models import GatewayLedger, Inbox, Payment
from payments.services import undo
from payments.tasks import charge_payment, refund_payment, settle_payments
from payments.tests.saga import cancelled, held, outbox, reserved, run, settle_all, state, told
from tests.support.locks import take_turns

pytestmark = pytest.mark.django_db(databases=["payments"], transaction=True)


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


def test_a_message_delivered_to_four_workers_at_once_has_one_effect():
    events = [reserved(order_id) for order_id in range(1, 51)]
    published = together(*[lambda: run(charge_payment, *events)] * 4)
    assert [sorted(told(one)) for one in published] == [[("PaymentCompleted", n, None) for n in range(1, 51)]] * 4
    assert len({event.event_id for one in published for event in one}) == 50
    assert Payment.objects.filter(status="COMPLETED").count() == 50
    assert Inbox.objects.count() == 50
    assert GatewayLedger.objects.count() == 50


@pytest.mark.parametrize("token", ["tok_timeout_charged", "tok_timeout_not_charged", "tok_flaky_3"])
def test_a_message_delivered_to_four_workers_at_once_is_settled_if_they_get_different_answers(token):
    events = [reserved(order_id, token) for order_id in range(1, 51)]
    published = together(*[lambda: run(charge_payment, *events)] * 4)
    settle_all()
    everything = [event for one in published for event in one] + outbox()
    assert sorted(told(list({event.event_id: event for event in everything}.values()))) == [
        ("PaymentCompleted", n, None) for n in range(1, 51)
    ]
    assert {state(order_id) for order_id in range(1, 51)} == {("COMPLETED", False)}
    assert GatewayLedger.objects.count() == 50


@pytest.mark.parametrize("token", ["tok_ok", "tok_declined", "tok_timeout_charged", "tok_timeout_not_charged"])
def test_charge_against_refund_against_timer(token):
    orders = range(1, 31)
    forwards = [reserved(order_id, token) for order_id in orders]
    backwards = [cancelled(order_id) for order_id in reversed(orders)]
    emitted = together(
        lambda: run(charge_payment, *forwards),
        lambda: run(refund_payment, *backwards),
        lambda: settle_payments() and [],
        lambda: settle_payments() and [],
    )
    settle_all()
    everything = [event for one in emitted if one for event in one] + outbox()
    for order_id in orders:
        ends = [
            type(event).__name__
            for event in everything
            if event.order_id == order_id and type(event).__name__ != "PaymentCompleted"
        ]
        assert ends == ["PaymentFailed" if state(order_id)[0] == "FAILED" else "PaymentRefunded"]
        assert held(order_id) == 0


def test_a_free_order_and_a_charged_one_that_are_undone_meanwhile():
    """Locked in another order, one of the two is aborted as a deadlock."""
    take_turns(
        "payments",
        lambda: undo([cancelled(2)], {}),
        lambda: run(charge_payment, reserved(1), reserved(2, amount=0)),
        lambda: undo([cancelled(1)], {}),
    )
    settle_all()
    assert [state(order_id) for order_id in (1, 2)] == [("REFUNDED", False), ("VOIDED", False)]


def test_two_timers_share_the_work_and_never_wait_for_each_other():
    run(charge_payment, *[reserved(order_id, "tok_timeout_charged") for order_id in range(1, 4)])
    Payment.objects.update(due_at=timezone.now())
    with transaction.atomic(using="payments"):
        held_row = Payment.objects.select_for_update().get(order_id=2)
        assert together(settle_payments) == [2]
        assert held_row.status == "PENDING"
    assert sorted(told(outbox())) == [("PaymentCompleted", 1, None), ("PaymentCompleted", 3, None)]
    assert settle_payments() == 1
    assert state(2) == ("COMPLETED", False)
