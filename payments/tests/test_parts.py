"""Refunds of a part, by staff or by a change: never more than was taken, racing with the refund of the rest."""

import pytest

from payments import ledger
from payments.gateway_calls import refund
from payments.models import GatewayLedger, Payment, SandboxSwitch
from payments.services import ask_for_refunds
from payments.tasks import change_payment, charge_payment, enter_refund, refund_payment
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
from sagas.events import uuid7
from shop.contracts.events import Change, DeliveryHeld, OrderRefundRequested, PaymentChanged, PaymentRefundCompleted

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


# --- What follows from a change of the order --------------------------------------------------------------------------
def changed(amount: int = -500_000) -> DeliveryHeld:
    return DeliveryHeld(order_id=1, change=Change(change_id=uuid7(), amount=amount), trace=TRACE)


def test_the_difference_that_a_change_makes_is_given_back_once():
    run(charge_payment, reserved())
    held_for = changed()
    for _ in range(2):
        assert run(change_payment, held_for) == []
    settle()
    (done,) = outbox()
    assert (type(done), done.change_id, done.caused_by) == (
        PaymentChanged,
        held_for.change.change_id,
        held_for.event_id,
    )
    assert (held(), state()) == (PRICE - 500_000, ("COMPLETED", False))


@pytest.mark.parametrize(("amount", "answer"), [(0, "PaymentChanged"), (-PRICE - 1, "PaymentChangeRefused")])
def test_where_there_is_nothing_to_ask_the_gateway_the_answer_comes_at_once(amount: int, answer: str):
    run(charge_payment, reserved())
    assert names(run(change_payment, changed(amount))) == [answer]


def test_of_an_order_that_is_undone_nothing_is_left_for_a_change():
    run(charge_payment, reserved())
    run(refund_payment, cancelled())
    assert names(run(change_payment, changed())) == ["PaymentChangeRefused"]


def test_a_change_is_told_what_became_of_it_when_the_order_is_undone_meanwhile():
    run(charge_payment, reserved())
    run(change_payment, changed())
    assert names(run(refund_payment, cancelled())) == ["PaymentChanged", "PaymentRefunded"]
    settle_all()
    assert (state(), held()) == (("REFUNDED", False), 0)


def test_also_when_its_refund_was_made_and_only_the_gateway_knows():
    """…as of a refund that staff want: whoever waits for an answer gets one."""
    run(charge_payment, reserved())
    for step, event in ((change_payment, changed()), (enter_refund, wanted(PRICE - 500_000))):
        run(step, event)
    refund(_rows())  # its answers are lost
    Payment.objects.update(status="REFUNDING", reason="x")
    settle_all()
    assert sorted(names(outbox())) == ["PaymentChanged", "PaymentRefundCompleted", "PaymentRefunded"]
    assert (state(), held()) == (("REFUNDED", False), 0)


def _rows() -> list[Payment]:
    payments = list(Payment.objects.all())
    ledger.load(payments)
    return payments
