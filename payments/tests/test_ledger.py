"""Our ledger: each operation is entered before its gateway is asked, and a payment's sums follow from its entries."""

import pytest
from django.db import IntegrityError, transaction

from payments.models import GatewayLedger, Payment, PaymentOperation, SandboxSwitch
from payments.services import ask_for_charges, ask_for_refunds
from payments.tasks import charge_payment, refund_payment
from payments.tests.saga import cancelled, entries, name, reserved, run, settle, settle_all, state, sums
from sagas.testing import Crash, calling

pytestmark = pytest.mark.django_db(databases=["payments"])

PRICE = 3_500_000


def die_at(boundary):
    def on_pass(passed):
        if passed == boundary:
            raise Crash(passed)

    return calling(on_pass)


def test_a_charge_is_entered_before_the_gateway_is_asked():
    with die_at("charge.intended"), pytest.raises(Crash):
        ask_for_charges([reserved()])
    assert entries() == [("CHARGE", PRICE, "OPEN")]
    assert GatewayLedger.objects.count() == 0


def test_a_charge_that_succeeds():
    run(charge_payment, reserved())
    assert entries() == [("CHARGE", PRICE, "SUCCEEDED")]
    assert sums() == (PRICE, PRICE, 0)
    entry, payment = PaymentOperation.objects.get(), Payment.objects.get()
    assert (entry.key, entry.currency, entry.reference) == (name(), "KRW", f"sandbox-{name()}")
    assert (payment.reference, entry.settled_at is not None) == (f"sandbox-{name()}", True)


def test_a_charge_that_is_declined():
    run(charge_payment, reserved(token="tok_declined"))
    assert entries() == [("CHARGE", PRICE, "REFUSED")]
    assert PaymentOperation.objects.get().reason == "PAY002: declined"
    assert sums() == (0, 0, 0)


def test_a_charge_whose_outcome_is_unknown_stays_open_until_the_timer_knows():
    run(charge_payment, reserved(token="tok_timeout_charged"))
    assert (entries(), sums()) == ([("CHARGE", PRICE, "OPEN")], (0, 0, 0))
    settle()
    assert (entries(), sums()) == ([("CHARGE", PRICE, "SUCCEEDED")], (PRICE, PRICE, 0))
    assert Payment.objects.get().reference == f"sandbox-{name()}"


def test_a_refund_is_entered_before_the_gateway_is_asked():
    run(charge_payment, reserved())
    with die_at("refund.committed"), pytest.raises(Crash):
        ask_for_refunds([1])
    assert entries()[1:] == [("REFUND", PRICE, "OPEN")]
    assert GatewayLedger.objects.filter(kind="REFUND").count() == 0
    run(refund_payment, cancelled())  # the message comes again
    assert entries()[1:] == [("REFUND", PRICE, "SUCCEEDED")]
    assert (sums(), state()) == ((PRICE, PRICE, PRICE), ("REFUNDED", False))


def test_a_refund_without_an_answer_is_asked_for_with_the_same_key():
    run(charge_payment, reserved())
    SandboxSwitch.objects.create(gateway="TOSS_PAYMENTS", away=True)
    assert run(refund_payment, cancelled()) == []
    assert (entries()[1:], sums()) == ([("REFUND", PRICE, "OPEN")], (PRICE, PRICE, 0))
    SandboxSwitch.objects.update(away=False)
    settle()
    assert (entries()[1:], sums()) == ([("REFUND", PRICE, "SUCCEEDED")], (PRICE, PRICE, PRICE))
    assert GatewayLedger.objects.get(kind="REFUND").key == PaymentOperation.objects.get(kind="REFUND").key


def test_a_charge_that_comes_true_when_its_order_is_undone():
    run(charge_payment, reserved(token="tok_timeout_charged"))
    run(refund_payment, cancelled())
    settle()
    assert entries() == [("CHARGE", PRICE, "SUCCEEDED"), ("REFUND", PRICE, "SUCCEEDED")]
    assert (sums(), state()) == ((PRICE, PRICE, PRICE), ("REFUNDED", False))


def test_a_charge_that_never_reached_the_gateway():
    run(charge_payment, reserved(token="tok_timeout_not_charged"))
    run(refund_payment, cancelled())
    settle_all()
    assert (entries(), sums(), state()) == ([("CHARGE", PRICE, "REFUSED")], (0, 0, 0), ("VOIDED", False))


def test_what_was_given_back_by_hand_is_entered_and_not_given_back_again():
    run(charge_payment, reserved())
    GatewayLedger.objects.create(
        gateway="TOSS_PAYMENTS", payment=name(), key="by hand", kind="REFUND", amount=PRICE, currency="KRW"
    )
    run(refund_payment, cancelled())
    settle()
    assert GatewayLedger.objects.filter(kind="REFUND").count() == 1
    assert (sums(), state()) == ((PRICE, PRICE, PRICE), ("REFUNDED", False))


def test_a_tombstone_has_no_entries():
    run(refund_payment, cancelled())
    assert (entries(), sums(), state()) == ([], (0, 0, 0), ("VOIDED", False))


@pytest.mark.parametrize("impossible", [{"refunded": PRICE + 1}, {"captured": PRICE + 1}, {"authorized": PRICE - 1}])
def test_the_database_refuses_sums_that_cannot_be(impossible):
    run(charge_payment, reserved())
    with pytest.raises(IntegrityError), transaction.atomic(using="payments"):
        Payment.objects.update(**impossible)
