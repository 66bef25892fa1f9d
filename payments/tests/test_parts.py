"""Refunds of a part, by staff: never more than was taken, racing with the refund of the rest."""

import pytest

from payments.models import GatewayLedger, SandboxSwitch
from payments.services import ask_for_refunds
from payments.tasks import charge_payment, enter_refund, refund_payment
from payments.tests.saga import (
    TRACE,
    cancelled,
    entries,
    held,
    name,
    outbox,
    reserved,
    run,
    settle,
    settle_all,
    state,
    sums,
)
from shop.contracts.events import OrderRefundRequested, PaymentRefundCompleted

pytestmark = pytest.mark.django_db(databases=["payments"])

PRICE = 3_500_000


def wanted(amount: int = 500_000) -> OrderRefundRequested:
    return OrderRefundRequested(order_id=1, amount=amount, reason="a scratch", trace=TRACE)


def names(events) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_part_is_given_back():
    run(charge_payment, reserved())
    asked = wanted()
    assert run(enter_refund, asked) == []
    assert entries()[1:] == [("REFUND", 500_000, "OPEN")]  # before the gateway is asked
    settle()
    (completed,) = outbox()
    assert completed == PaymentRefundCompleted(
        order_id=1,
        refund_id=asked.event_id,
        amount=500_000,
        user_id=7,
        currency="KRW",
        event_id=completed.event_id,
        caused_by=asked.event_id,
        trace=TRACE,
    )
    assert (state(), sums(), held()) == (("COMPLETED", False), (PRICE, PRICE, 500_000), PRICE - 500_000)


def test_told_twice_it_is_given_back_once():
    run(charge_payment, reserved())
    asked = wanted()
    run(enter_refund, asked)
    settle()
    assert run(enter_refund, asked) == []
    settle_all()
    assert (held(), len(outbox())) == (PRICE - 500_000, 1)


def test_several_are_given_back_and_never_more_than_was_taken():
    run(charge_payment, reserved())
    for amount in (2_000_000, 1_500_000):
        assert run(enter_refund, wanted(amount)) == []
    assert names(run(enter_refund, wanted(1))) == ["PaymentRefundRefused"]
    settle()
    assert names(outbox()) == ["PaymentRefundCompleted"] * 2
    assert (state(), held(), sums()) == (("COMPLETED", False), 0, (PRICE, PRICE, PRICE))


@pytest.mark.parametrize("token", ["tok_declined", "tok_timeout_charged", "tok_action", None])
def test_what_was_not_charged_is_not_given_back(token):
    if token:
        run(charge_payment, reserved(token=token))
    (refused,) = run(enter_refund, wanted())
    assert refused.reason == "there is not so much left to give back"
    assert held() in (0, PRICE)


def test_without_an_answer_it_is_asked_for_again_with_the_same_key():
    run(charge_payment, reserved())
    run(enter_refund, wanted())
    SandboxSwitch.objects.create(gateway="TOSS_PAYMENTS", away=True)
    settle()
    assert (outbox(), state()) == ([], ("COMPLETED", True))
    SandboxSwitch.objects.update(away=False)
    settle()
    assert names(outbox()) == ["PaymentRefundCompleted"]
    assert GatewayLedger.objects.filter(kind="REFUND").count() == 1


def test_what_the_gateway_refuses_is_refused():
    run(charge_payment, reserved())
    run(enter_refund, wanted())
    GatewayLedger.objects.create(
        gateway="TOSS_PAYMENTS", payment=name(), key="by hand", kind="REFUND", amount=PRICE, currency="KRW"
    )
    settle()
    assert names(outbox()) == ["PaymentRefundRefused"]
    assert (entries()[1:], state()) == ([("REFUND", 500_000, "REFUSED")], ("COMPLETED", False))


def test_the_rest_is_given_back_when_the_order_is_undone():
    run(charge_payment, reserved())
    run(enter_refund, wanted())
    settle()
    assert names(run(refund_payment, cancelled())) == ["PaymentRefunded"]
    assert entries()[1:] == [("REFUND", 500_000, "SUCCEEDED"), ("REFUND", 3_000_000, "SUCCEEDED")]
    assert (state(), held()) == (("REFUNDED", False), 0)


def test_an_order_that_is_undone_while_a_part_is_open_gives_back_everything_once():
    run(charge_payment, reserved())
    run(enter_refund, wanted())
    assert names(run(refund_payment, cancelled())) == ["PaymentRefundCompleted", "PaymentRefunded"]
    settle_all()
    assert (state(), held()) == (("REFUNDED", False), 0)
    assert GatewayLedger.objects.filter(kind="REFUND").count() == 2
    assert names(run(enter_refund, wanted(1))) == ["PaymentRefundRefused"]


def test_a_part_that_comes_between_the_question_and_its_answer_finds_nothing_left():
    run(charge_payment, reserved())
    answers = ask_for_refunds([1])
    assert names(run(enter_refund, wanted())) == ["PaymentRefundRefused"]
    assert names(refund_payment([cancelled()], answers)) == ["PaymentRefunded"]
    assert held() == 0


def test_all_of_it_in_parts_and_then_undone():
    run(charge_payment, reserved())
    run(enter_refund, wanted(PRICE))
    settle()
    run(refund_payment, cancelled())
    settle()
    assert (state(), held()) == (("REFUNDED", False), 0)
    assert names(outbox()) == ["PaymentRefundCompleted", "PaymentRefunded"]
