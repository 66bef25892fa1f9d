"""The timer: asking again, with pauses, and what it does when things change while it asks."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from payments import gateways, settling
from payments.gateways import Captured, PaymentGateway
from payments.gateways.sandbox import SandboxGateway
from payments.models import Payment, SandboxSwitch
from payments.settling import LEASE
from payments.tasks import charge_payment, refund_payment, settle_payments
from payments.tests.saga import cancelled, entries, held, outbox, reserved, run, settle, settle_all, state, told

pytestmark = pytest.mark.django_db(databases=["payments"])

REFUND_TOLD = ("PaymentRefunded", 1, "cancelled by the customer")


class Interrupted:
    """A gateway during whose next call something else happens: `before` it is reached, or `after` it has answered."""

    def __init__(self, inner: PaymentGateway) -> None:
        self.inner = inner
        self.before: Callable[[], object] | None = None
        self.after: Callable[[], object] | None = None

    def __getattr__(self, name: str):
        return lambda batch: self._call(getattr(self.inner, name), batch)

    def _call(self, call, batch):
        before, after, self.before, self.after = self.before, self.after, None, None
        if before:
            before()
        answers = call(batch)
        if after:
            after()
        return answers


@pytest.fixture
def toss(monkeypatch) -> Interrupted:
    interrupted = Interrupted(gateways.gateway("TOSS_PAYMENTS"))
    monkeypatch.setitem(gateways._made, "TOSS_PAYMENTS", interrupted)
    return interrupted


def due_at() -> datetime:
    due = Payment.objects.get().due_at
    assert due is not None
    return due


def test_nothing_due_means_nothing_done():
    run(charge_payment, reserved(token="tok_flaky_3"))
    assert due_at() > timezone.now()
    assert settle_payments() == 0
    assert outbox() == []


def test_while_one_process_asks_no_other_does(toss):
    run(charge_payment, reserved(token="tok_timeout_charged"))
    seen = []
    toss.before = lambda: seen.append((settle_payments(), due_at() - timezone.now() > LEASE - timedelta(seconds=5)))
    settle()
    assert seen == [(0, True)]
    assert told(outbox()) == [("PaymentCompleted", 1, None)]


def test_a_process_that_dies_while_it_asks_is_replaced_when_its_lease_ends(toss):
    run(charge_payment, reserved(token="tok_timeout_charged"))

    def die() -> None:
        raise KeyboardInterrupt

    toss.after = die
    with pytest.raises(KeyboardInterrupt):
        settle()
    assert state() == ("PENDING", True)
    assert settle_payments() == 0
    settle()  # the lease has ended
    assert told(outbox()) == [("PaymentCompleted", 1, None)]
    assert held() == 3_500_000


@pytest.mark.parametrize("token", ["tok_timeout_charged", "tok_timeout_not_charged"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cancellation_while_the_timer_asks_for_the_charge(toss, token, when):
    run(charge_payment, reserved(token=token))
    setattr(toss, when, lambda: run(refund_payment, cancelled()))
    settle()
    assert outbox() == []  # the charge that landed is nobody's news any more
    assert state() == ("REFUNDING", True)
    settle_all()
    assert told(outbox()) == [REFUND_TOLD]
    assert state() == ("REFUNDED", False)
    assert held() == 0


def test_a_cancellation_and_another_timer_while_the_timer_asks_for_the_charge(toss):
    run(charge_payment, reserved(token="tok_timeout_not_charged"))

    def cancel_and_settle() -> None:
        run(refund_payment, cancelled())
        settle()
        assert state() == ("VOIDED", True)

    toss.before = cancel_and_settle
    settle()  # its charge lands on a payment that has been voided
    assert held() == 3_500_000
    assert told(outbox()) == [REFUND_TOLD]
    settle()
    assert told(outbox()) == [REFUND_TOLD]
    assert state() == ("REFUNDED", False)
    assert held() == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_two_timers_refund_once_and_tell_it_once(toss, when):
    run(charge_payment, reserved(token="tok_timeout_charged"))
    run(refund_payment, cancelled())
    setattr(toss, when, settle)
    settle()
    assert told(outbox()) == [REFUND_TOLD]
    assert state() == ("REFUNDED", False)
    assert held() == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_two_timers_let_go_once_of_what_waits_for_its_customer(toss, when):
    run(charge_payment, reserved(token="tok_action"))
    run(refund_payment, cancelled())
    setattr(toss, when, settle)
    settle()
    settle_all()
    assert told(outbox()) == [REFUND_TOLD]
    assert state() == ("VOIDED", False)
    assert entries() == [("CHARGE", 3_500_000, "REFUSED"), ("VOID", 3_500_000, "SUCCEEDED")]


def test_a_timer_that_hears_nothing_leaves_alone_what_another_has_settled(toss):
    run(charge_payment, reserved(token="tok_timeout_charged"))
    run(refund_payment, cancelled())

    def settle_and_go_away() -> None:
        settle()
        SandboxSwitch.objects.create(gateway="TOSS_PAYMENTS", away=True)

    toss.after = settle_and_go_away
    settle()
    assert told(outbox()) == [REFUND_TOLD]
    assert state() == ("REFUNDED", False)


def test_a_cancellation_while_the_step_asks_for_the_charge(toss):
    toss.before = lambda: run(refund_payment, cancelled())
    assert run(charge_payment, reserved()) == []
    assert state() == ("REFUNDING", True)
    settle()
    assert told(outbox()) == [REFUND_TOLD]
    assert held() == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_while_the_step_asks_no_timer_does(toss, when):
    seen = []
    setattr(toss, when, lambda: seen.append(settle()))
    assert told(run(charge_payment, reserved())) == [("PaymentCompleted", 1, None)]
    assert seen == [0]
    assert held() == 3_500_000


def test_a_gateway_that_is_away_does_not_keep_the_timer_from_the_others():
    run(charge_payment, reserved(1, "tok_timeout_charged"), reserved(2, "tok_timeout_charged", gateway="NAVER_PAY"))
    SandboxSwitch.objects.create(gateway="TOSS_PAYMENTS", away=True)
    assert settle() == 2
    assert told(outbox()) == [("PaymentCompleted", 2, None)]
    assert (state(1), state(2)) == (("PENDING", True), ("COMPLETED", False))


def test_a_payment_that_cannot_be_written_keeps_no_other_from_it(monkeypatch, caplog):
    run(charge_payment, *(reserved(number, "tok_timeout_charged") for number in range(1, 6)))
    run(charge_payment, reserved(6, "tok_action"))
    authorize = SandboxGateway.authorize

    def too_long_for_one(self, requests):
        answers = zip(requests, authorize(self, requests), strict=True)
        return [Captured("x" * 200) if one.order_id == 3 else answer for one, answer in answers]

    with monkeypatch.context() as mistaken:
        mistaken.setattr(SandboxGateway, "authorize", too_long_for_one)
        assert settle() == 6
    assert sorted(told(outbox())) == [("PaymentCompleted", number, None) for number in (1, 2, 4, 5)]
    assert {state(number) for number in (1, 2, 4, 5)} == {("COMPLETED", False)}
    assert (state(3), state(6)) == (("PENDING", True), ("WAITING", True))
    assert "The payment of order 3 cannot be settled" in caplog.text
    assert settle_payments() == 0  # it is put off
    settle()
    assert state(3) == ("COMPLETED", False)


def test_an_outage_of_the_database_puts_all_off(monkeypatch):
    run(charge_payment, *(reserved(number, "tok_timeout_charged") for number in range(1, 3)))
    asked = []

    def away(payments, now):
        asked.append(len(payments))
        raise OperationalError("the server closed the connection")

    with monkeypatch.context() as outage:
        outage.setattr(settling, "save", away)
        Payment.objects.update(due_at=timezone.now())
        with pytest.raises(OperationalError):
            settling.settle_due()
    assert asked == [2]
    settle()
    assert (state(1), state(2)) == (("COMPLETED", False), ("COMPLETED", False))
