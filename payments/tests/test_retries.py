"""How long the pauses are between two questions about one payment, and when it is asked about no more."""

import pytest

from payments.gateways.naver import NaverGateway
from payments.models import Payment, SandboxSwitch
from payments.retries import CHECKS_AFTER_VOIDING, FIRST_PAUSE, LONGEST_PAUSE
from payments.tasks import charge_payment, refund_payment
from payments.tests.saga import asked, cancelled, outbox, reserved, run, settle, settle_all, state, told
from providers import Limits
from shop.contracts.payments import ADAPTERS

pytestmark = pytest.mark.django_db(databases=["payments"])


def test_the_pauses_double_up_to_half_a_minute():
    SandboxSwitch.objects.create(gateway="TOSS_PAYMENTS", away=True)
    run(charge_payment, reserved())
    pauses = []
    for _ in range(9):
        payment = Payment.objects.get()
        assert payment.due_at is not None
        pauses.append((payment.due_at - payment.updated_at).total_seconds())
        settle()
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_voided_payment_is_looked_after_for_longer_than_a_request_may_be_under_way():
    after = sum(min(FIRST_PAUSE * 2**number, LONGEST_PAUSE) for number in range(CHECKS_AFTER_VOIDING))
    naver = NaverGateway("NAVER", dict.fromkeys(ADAPTERS["naver"].wants, "x"))
    assert after > naver.provider.limits.timeout > Limits().timeout
    naver.provider.close()


def test_a_voided_payment_is_looked_after_for_a_while_and_then_left_alone():
    run(charge_payment, reserved(token="tok_timeout_not_charged"))
    run(refund_payment, cancelled())
    settle()
    assert state() == ("VOIDED", True)
    settle_all()
    assert state() == ("VOIDED", False)
    assert asked()[1:] == [("FIND", "NOTFOUND")] * (1 + CHECKS_AFTER_VOIDING)
    assert told(outbox()) == [("PaymentRefunded", 1, "cancelled by the customer")]
