"""DeliveryFailed, DeliveryCancelled → refund_payment, in every state a payment can be in."""

import pytest

from payments.models import GatewayLedger, Payment, SandboxSwitch
from payments.tasks import ask_for_refunds, charge_payment, refund_payment
from payments.tests.saga import (
    TRACE,
    asked,
    cancelled,
    held,
    name,
    outbox,
    reserved,
    run,
    settle,
    state,
    told,
    undeliverable,
)
from shop.contracts.events import PaymentRefunded

pytestmark = pytest.mark.django_db(databases=["payments"])


@pytest.mark.parametrize("make", [cancelled, undeliverable])
def test_a_charged_order_is_refunded(make):
    run(charge_payment, reserved())
    event = make()
    (refunded,) = run(refund_payment, event)
    assert refunded == PaymentRefunded(
        order_id=1, reason=event.reason, event_id=refunded.event_id, caused_by=event.event_id, trace=TRACE
    )
    assert state() == ("REFUNDED", False)
    assert held() == 0
    assert asked() == [("REFUND", "DONE")]
    payment = Payment.objects.get()
    assert payment.reason == event.reason
    assert payment.refunded_at is not None


def test_the_gateway_that_charged_is_the_one_that_refunds():
    run(charge_payment, reserved(1, gateway="KAKAO_PAY"), reserved(2, gateway="NAVER_PAY"))
    run(refund_payment, cancelled(1), cancelled(2))
    assert set(GatewayLedger.objects.values_list("gateway", "payment", "kind")) == {
        ("KAKAO_PAY", name(1), "CHARGE"),
        ("KAKAO_PAY", name(1), "REFUND"),
        ("NAVER_PAY", name(2), "CHARGE"),
        ("NAVER_PAY", name(2), "REFUND"),
    }


def test_undone_before_it_was_ever_charged_it_leaves_a_tombstone():
    (refunded,) = run(refund_payment, cancelled())
    assert told([refunded]) == [("PaymentRefunded", 1, "cancelled by the customer")]
    assert state() == ("VOIDED", False)
    payment = Payment.objects.get()
    assert (payment.user_id, payment.amount, payment.gateway, payment.refunded_at) == (None, 0, "", None)
    assert asked() == []


def test_a_declined_order_is_passed_over_for_its_end_was_told():
    run(charge_payment, reserved(token="tok_declined"))
    assert run(refund_payment, cancelled()) == []
    assert state() == ("FAILED", False)
    assert settle() == 0
    assert outbox() == []


def test_told_twice_it_refunds_once_and_says_the_same_again():
    run(charge_payment, reserved())
    event = cancelled()
    first = run(refund_payment, event)
    assert run(refund_payment, event) == first
    assert run(refund_payment, cancelled()) == []
    assert GatewayLedger.objects.filter(kind="REFUND").count() == 1


@pytest.mark.parametrize(
    ("token", "end", "questions"),
    [
        ("tok_timeout_charged", "REFUNDED", [("FIND", "STATE"), ("REFUND", "DONE")]),
        ("tok_timeout_not_charged", "VOIDED", [("FIND", "NOTFOUND")]),
    ],
)
def test_an_unknown_charge_is_not_compensated_but_looked_up(token, end, questions):
    run(charge_payment, reserved(token=token))
    event = cancelled()
    assert run(refund_payment, event) == []
    assert state() == ("REFUNDING", True)
    settle()
    (refunded,) = outbox()
    assert refunded == PaymentRefunded(
        order_id=1, reason=event.reason, event_id=refunded.event_id, caused_by=event.event_id, trace=TRACE
    )
    assert state()[0] == end
    assert held() == 0
    assert asked() == [("CHARGE", "UNKNOWN"), *questions]


def test_a_refund_without_an_answer_is_asked_for_again(settings):
    run(charge_payment, reserved())
    SandboxSwitch.objects.create(gateway="TOSS_PAYMENTS", away=True)
    assert run(refund_payment, cancelled()) == []
    assert state() == ("REFUNDING", True)
    settle()
    assert outbox() == []
    assert held() == 3_500_000
    SandboxSwitch.objects.update(away=False)
    settle()
    assert told(outbox()) == [("PaymentRefunded", 1, "cancelled by the customer")]
    assert state() == ("REFUNDED", False)
    assert held() == 0
    assert settle() == 0


def test_a_refund_that_was_made_but_not_answered_is_found(settings):
    run(charge_payment, reserved())
    ask_for_refunds([cancelled()])  # refunded, and the process is gone
    assert held() == 0
    assert told(run(refund_payment, cancelled())) == [("PaymentRefunded", 1, "cancelled by the customer")]
    assert state() == ("REFUNDED", False)
    assert GatewayLedger.objects.filter(kind="REFUND").count() == 1


def test_a_charge_that_becomes_known_between_the_question_and_the_transaction_is_refunded_by_the_timer():
    run(charge_payment, reserved(token="tok_timeout_charged"))
    event = cancelled()
    answers = ask_for_refunds([event])  # still unknown: nothing is asked
    settle()  # now it is COMPLETED
    assert told(outbox()) == [("PaymentCompleted", 1, None)]
    assert refund_payment([event], answers) == []
    assert state() == ("REFUNDING", True)
    settle()
    assert told(outbox()) == [("PaymentCompleted", 1, None), ("PaymentRefunded", 1, "cancelled by the customer")]
    assert held() == 0


def test_one_batch_holds_payments_in_every_state():
    run(charge_payment, reserved(1), reserved(2, "tok_declined"), reserved(3, "tok_timeout_charged"), reserved(4))
    run(refund_payment, cancelled(4))
    followers = run(refund_payment, *[cancelled(order_id) for order_id in (5, 4, 3, 2, 1)])
    assert told(followers) == [
        ("PaymentRefunded", 5, "cancelled by the customer"),
        ("PaymentRefunded", 1, "cancelled by the customer"),
    ]
    assert [state(order_id)[0] for order_id in (1, 2, 3, 4, 5)] == [
        "REFUNDED", "FAILED", "REFUNDING", "REFUNDED", "VOIDED",
    ]  # fmt: skip
