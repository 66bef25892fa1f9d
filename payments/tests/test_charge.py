"""InventoryReserved → charge_payment."""

import msgspec
import pytest

from payments.gateway_calls import charge
from payments.models import GatewayLedger, Payment, SandboxSwitch, Unsent
from payments.services import ask_for_charges
from payments.tasks import charge_payment, enter_refund, refund_payment
from payments.tests.saga import (
    TRACE,
    asked,
    cancelled,
    held,
    outbox,
    reserved,
    run,
    settle,
    settle_all,
    state,
    told,
)
from shop.contracts.events import Checkout, OrderRefundRequested, PaymentCompleted
from shop.contracts.reasons import NOT_SO_MUCH
from shop.seal import What, is_sealed, seal

pytestmark = pytest.mark.django_db(databases=["payments"])


def test_a_charged_order_goes_on_with_its_checkout():
    event = reserved()
    (completed,) = run(charge_payment, event)
    assert completed == PaymentCompleted(
        order_id=1,
        checkout=msgspec.structs.replace(event.checkout, payment_token=""),
        event_id=completed.event_id,
        caused_by=event.event_id,
        trace=TRACE,
    )
    assert state() == ("COMPLETED", False)
    assert held() == 3_500_000
    assert asked() == []  # the ledger tells
    payment = Payment.objects.get()
    assert (payment.user_id, payment.amount, payment.currency, payment.gateway, payment.reason) == (
        7, 3_500_000, "KRW", "TOSS_PAYMENTS", "",
    )  # fmt: skip
    assert payment.checkout is None  # nobody will have to ask again
    assert settle() == 0
    assert outbox() == []


def test_what_costs_nothing_goes_on_without_asking_a_gateway():
    free, other = reserved(1, token="", gateway="", amount=0), reserved(2)
    completed = {event.order_id: event for event in run(charge_payment, free, other)}
    assert completed[1].checkout == free.checkout
    assert (state(1), asked(1), held(1), held(2)) == (("COMPLETED", False), [], 0, 3_500_000)
    assert told(run(charge_payment, free)) == [("PaymentCompleted", 1, None)]  # told again, written once
    reason = "cancelled by the customer"
    assert told(run(refund_payment, cancelled(1), cancelled(2))) == [
        ("PaymentRefunded", 1, reason),
        ("PaymentRefunded", 2, reason),
    ]
    assert (state(1), asked(1)) == (("VOIDED", False), [])
    assert run(refund_payment, cancelled(1)) == []
    assert settle() == 0
    assert [row.payment for row in GatewayLedger.objects.all()] == [Payment.objects.get(order_id=2).idempotency_key] * 2


def test_what_costs_nothing_and_was_undone_before_does_not_go_on():
    run(refund_payment, cancelled())
    assert run(charge_payment, reserved(token="", gateway="", amount=0)) == []
    assert state() == ("VOIDED", False)


def test_nothing_is_given_back_of_what_cost_nothing():
    run(charge_payment, reserved(token="", gateway="", amount=0))
    asked_for = OrderRefundRequested(order_id=1, amount=1, reason="a scratch")
    assert told(run(enter_refund, asked_for)) == [("PaymentRefundRefused", 1, NOT_SO_MUCH)]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("tok_declined", "PAY002: declined"),
        ("tok_insufficient_funds", "PAY002: insufficient funds"),
        ("tok_nobody_knows", "PAY002: unknown token"),
    ],
)
def test_a_declined_order_fails_with_the_gateways_reason(token, reason):
    assert told(run(charge_payment, reserved(token=token))) == [("PaymentFailed", 1, reason)]
    assert state() == ("FAILED", False)
    assert Payment.objects.get().reason == reason
    assert held() == 0


def test_an_unknown_gateway_is_a_refusal_and_stops_nobody_else():
    followers = run(charge_payment, reserved(1, gateway="PAYPAL"), reserved(2))
    assert sorted(told(followers)) == [
        ("PaymentCompleted", 2, None),
        (
            "PaymentFailed",
            1,
            "PAY005: There is no payment gateway 'PAYPAL'; there are TOSS_PAYMENTS, KAKAO_PAY, NAVER_PAY.",
        ),
    ]


@pytest.mark.parametrize(
    ("token", "times", "held_meanwhile"),
    [("tok_timeout_charged", 1, 3_500_000), ("tok_timeout_not_charged", 1, 0), ("tok_flaky_3", 3, 0)],
)
def test_an_unknown_outcome_is_asked_for_with_the_same_key_until_it_is_known(token, times, held_meanwhile):
    event = reserved(token=token)
    assert run(charge_payment, event) == []
    for _ in range(times - 1):
        assert settle() == 1
    assert outbox() == []
    assert state() == ("PENDING", True)
    assert msgspec.convert(Payment.objects.get().checkout, Checkout) == event.checkout
    assert held() == held_meanwhile
    assert settle() == 1
    (completed,) = outbox()
    assert completed == PaymentCompleted(
        order_id=1,
        checkout=msgspec.structs.replace(event.checkout, payment_token=""),
        event_id=completed.event_id,
        caused_by=event.event_id,
        trace=TRACE,
    )
    assert state() == ("COMPLETED", False)
    assert held() == 3_500_000
    assert GatewayLedger.objects.count() == 1
    assert asked() == [("CHARGE", "UNKNOWN")] * times + [("CHARGE", "CAPTURED")]
    assert settle() == 0


def test_an_unknown_outcome_can_turn_out_declined():
    SandboxSwitch.objects.create(gateway="TOSS_PAYMENTS", away=True)
    assert run(charge_payment, reserved(token="tok_declined")) == []
    SandboxSwitch.objects.update(away=False)
    settle()
    assert told(outbox()) == [("PaymentFailed", 1, "PAY002: declined")]
    assert state() == ("FAILED", False)


def test_a_gateway_that_is_away_holds_up_its_own_orders_only():
    SandboxSwitch.objects.create(gateway="KAKAO_PAY", away=True)
    followers = run(
        charge_payment,
        reserved(1, gateway="KAKAO_PAY"),
        reserved(2, gateway="TOSS_PAYMENTS"),
        reserved(3, gateway="NAVER_PAY", token="tok_declined"),
    )
    assert sorted(told(followers)) == [("PaymentCompleted", 2, None), ("PaymentFailed", 3, "PAY002: declined")]
    assert state(1) == ("PENDING", True)
    assert Payment.objects.get(order_id=1).asked.get().detail == "KAKAO_PAY is away"
    settle()
    assert outbox() == []
    SandboxSwitch.objects.update(away=False)
    settle()
    assert told(outbox()) == [("PaymentCompleted", 1, None)]
    assert (held(1), held(2), held(3)) == (3_500_000, 3_500_000, 0)


def test_told_twice_it_charges_once_and_says_the_same_again():
    event = reserved()
    first = run(charge_payment, event)
    assert run(charge_payment, event) == first
    assert held() == 3_500_000
    assert GatewayLedger.objects.count() == 1


def test_told_by_another_event_it_emits_nothing_new():
    run(charge_payment, reserved())
    assert run(charge_payment, reserved()) == []
    assert held() == 3_500_000


def test_told_twice_it_rearms_what_the_timer_had_said():
    event = reserved(token="tok_timeout_charged")
    run(charge_payment, event)
    settle()
    Unsent.objects.all().delete()  # published
    assert run(charge_payment, event) == []
    assert Unsent.objects.filter(outbox__caused_by=event.event_id).count() == 1


def test_a_charge_whose_process_died_before_writing_it_down_is_not_made_twice():
    event = reserved()
    ask_for_charges([event])  # … and the process is gone
    assert state() == ("PENDING", False)
    assert settle() == 0  # the message comes again, that is enough
    assert told(run(charge_payment, event)) == [("PaymentCompleted", 1, None)]
    assert held() == 3_500_000
    assert GatewayLedger.objects.count() == 1


def test_two_workers_with_the_same_message_leave_an_open_outcome_to_the_timer():
    event = reserved(token="tok_timeout_charged")
    assert run(charge_payment, event) == []  # one gets no answer …
    ask_for_charges([event])  # … the other has begun before that, and gets one …
    assert run(charge_payment, event) == []  # … when the event is handled already
    assert state() == ("PENDING", True)
    settle()
    assert told(outbox()) == [("PaymentCompleted", 1, None)]
    assert held() == 3_500_000


def test_a_charge_whose_process_died_is_refunded_when_its_order_is_undone():
    """Also when its message was lost: either the order emits its first event again, or it is undone."""
    ask_for_charges([reserved()])
    assert run(refund_payment, cancelled()) == []
    settle()
    assert told(outbox()) == [("PaymentRefunded", 1, "cancelled by the customer")]
    assert state() == ("REFUNDED", False)
    assert held() == 0


def test_only_the_orders_of_the_batch_are_completed_whatever_is_known_of_others():
    """One was handled by somebody else meanwhile: the gateway's answer for it is not ours to apply."""
    events = [reserved(order_id) for order_id in (1, 2)]
    answers = ask_for_charges(events)
    assert told(charge_payment(events[1:], answers)) == [("PaymentCompleted", 2, None)]
    assert state(1) == ("PENDING", False)
    assert state(2) == ("COMPLETED", False)


def test_an_order_undone_before_it_came_is_not_charged():
    assert told(run(refund_payment, cancelled())) == [("PaymentRefunded", 1, "cancelled by the customer")]
    assert run(charge_payment, reserved()) == []
    assert state() == ("VOIDED", False)
    assert asked() == []
    assert GatewayLedger.objects.count() == 0


def test_a_late_charge_is_refunded():
    event = reserved(token="tok_timeout_charged")
    answers = ask_for_charges([event])  # on its way to the gateway …
    intended = list(Payment.objects.all())
    assert run(refund_payment, cancelled()) == []
    GatewayLedger.objects.all().delete()  # … which has not heard of it yet …
    settle_all()
    assert told(outbox()) == [("PaymentRefunded", 1, "cancelled by the customer")]
    assert state() == ("VOIDED", False)  # looked after for as long as is reasonable
    charge(intended)  # … and now has
    assert held() == 3_500_000
    assert charge_payment([event], answers) == []
    settle()
    assert state() == ("REFUNDED", False)
    assert held() == 0
    assert told(outbox()) == [("PaymentRefunded", 1, "cancelled by the customer")]  # told once


def test_a_late_charge_is_refunded_also_when_its_process_died():
    event = reserved()
    ask_for_charges([event])
    intended = list(Payment.objects.all())
    run(refund_payment, cancelled())
    GatewayLedger.objects.all().delete()
    settle_all()
    assert state() == ("VOIDED", False)
    charge(intended)  # the request had been on its way all that time
    assert held() == 3_500_000
    assert run(charge_payment, event) == []  # the message comes again, for nobody acknowledged it
    settle()
    assert state() == ("REFUNDED", False)
    assert held() == 0


# --- The token --------------------------------------------------------------------------------------------------------
def sealed(token: str, *, order_id: int = 1) -> str:
    return seal(token, What.PAYMENT_TOKEN, order_id=order_id)


def kept() -> tuple[str, str]:
    """What a payment keeps that would charge somebody."""
    payment = Payment.objects.get()
    return payment.token, str(payment.checkout)


def test_a_token_is_sealed_until_it_is_asked_with_and_gone_afterwards():
    token = sealed("tok_timeout_charged")
    assert run(charge_payment, reserved(token=token)) == []
    assert kept()[0] == token
    settle()
    (completed,) = outbox()
    assert (state(), kept()) == (("COMPLETED", False), ("", "None"))
    assert completed.checkout.payment_token == ""

    for order_id, token in enumerate(("tok_ok", "tok_declined"), 2):
        Payment.objects.all().delete()
        for event in run(charge_payment, reserved(order_id, sealed(token, order_id=order_id))):
            assert token not in str(event)
            assert not is_sealed(getattr(getattr(event, "checkout", None), "payment_token", ""))
        assert kept() == ("", "None")


def test_a_token_is_gone_when_its_order_is_undone():
    ask_for_charges([reserved(token=sealed("tok_ok"))])
    run(refund_payment, cancelled())
    assert kept() == ("", "None")


def test_a_token_of_another_order_charges_nobody():
    """Whoever can send events has seen a customer's token, sealed; one of their own orders cannot use it."""
    stolen = sealed("tok_ok", order_id=2)
    assert told(run(charge_payment, reserved(1, token=stolen), reserved(3))) == [("PaymentCompleted", 3, None)]
    assert (state(1), held(1), held(3)) == (("PENDING", True), 0, 3_500_000)
    assert settle() == 1
    assert GatewayLedger.objects.count() == 1
    assert told(run(refund_payment, cancelled(1))) == []
    settle_all()
    assert state(1) == ("VOIDED", False)
