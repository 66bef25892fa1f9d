"""Money that is held when an order is placed, and taken at hand-over: whatever answer does not come, and whoever is
faster."""

from typing import Any

import pytest

from payments.captures import ask_for_captures, capture_again, write_off
from payments.gateways import Refused, pages
from payments.gateways.sandbox import SandboxGateway
from payments.models import GatewayLedger, Payment, PaymentOperation, SandboxSwitch
from payments.retries import LOOK_AT_HOLD
from payments.tasks import capture_payment, charge_payment, enter_refund, refund_payment
from payments.tests.saga import (
    TRACE,
    cancelled,
    entries,
    name,
    outbox,
    reserved,
    run,
    settle,
    settle_all,
    state,
    sums,
    told,
    undeliverable,
)
from sagas.testing import calling
from shop.contracts.events import DeliveryPaymentDue, OrderRefundRequested, PaymentCaptured
from shop.contracts.reasons import NOT_CAPTURED

pytestmark = pytest.mark.django_db(databases=["payments"])

PRICE = 3_500_000
FAILED = ("PaymentCaptureFailed", 1, NOT_CAPTURED)
HELD = ("AUTHORIZE", PRICE, "SUCCEEDED")


@pytest.fixture(autouse=True)
def _at_hand_over(settings: Any) -> None:
    settings.PAYMENT_CAPTURE = "at_hand_over"


def due(order_id: int = 1) -> DeliveryPaymentDue:
    return DeliveryPaymentDue(order_id=order_id, trace=TRACE)


def hold(token: str = "tok_ok") -> None:
    assert told(run(charge_payment, reserved(token=token))) == [("PaymentAuthorized", 1, None)]


def booked(*kinds: str) -> list[tuple[str, int]]:
    """What the gateway has done, of these kinds or all."""
    rows = GatewayLedger.objects.order_by("pk").values_list("kind", "amount")
    return [row for row in rows if not kinds or row[0] in kinds]


def gateway_away(*, away: bool) -> None:
    SandboxSwitch.objects.update_or_create(gateway="TOSS_PAYMENTS", defaults={"away": away})


def test_money_is_held_and_taken_when_the_carrier_has_the_parcel():
    hold()
    assert (state(), sums(), entries(), booked()) == (
        ("AUTHORIZED", True), (PRICE, 0, 0), [HELD], [("AUTHORIZE", PRICE)],
    )  # fmt: skip
    payment = Payment.objects.get()
    assert (payment.token, payment.checkout) == ("", None)
    event = due()
    (captured,) = run(capture_payment, event)
    assert captured == PaymentCaptured(
        order_id=1,
        user_id=7,
        amount=PRICE,
        currency="KRW",
        event_id=captured.event_id,
        caused_by=event.event_id,
        trace=TRACE,
    )
    assert (state(), sums()) == (("COMPLETED", False), (PRICE, PRICE, 0))
    assert entries() == [HELD, ("CAPTURE", PRICE, "SUCCEEDED")]
    assert run(capture_payment, due()) == []
    assert booked() == [("AUTHORIZE", PRICE), ("CAPTURE", PRICE)]


def test_a_gateway_that_cannot_hold_money_takes_it_at_once(monkeypatch: pytest.MonkeyPatch):
    cannot = SandboxGateway.capabilities._replace(separate_capture=False)
    monkeypatch.setattr(SandboxGateway, "capabilities", cannot)
    assert told(run(charge_payment, reserved())) == [("PaymentCompleted", 1, None)]
    assert run(capture_payment, due()) == []
    assert booked() == [("CHARGE", PRICE)]


def test_money_that_is_held_is_taken_also_when_the_setting_has_changed_since(settings: Any):
    run(charge_payment, reserved(1, token="tok_timeout_charged"))
    settings.PAYMENT_CAPTURE = "at_once"
    settle()
    assert told(outbox()) == [("PaymentAuthorized", 1, None)]
    assert told(run(capture_payment, due())) == [("PaymentCaptured", 1, None)]
    assert booked() == [("AUTHORIZE", PRICE), ("CAPTURE", PRICE)]


def test_a_customer_who_pays_on_a_page_has_the_money_held():
    run(charge_payment, reserved(token="tok_action"))
    pages.decide("TOSS_PAYMENTS", name(), paid=True)
    settle()
    assert told(outbox()) == [("PaymentAuthorized", 1, None)]
    assert told(run(capture_payment, due())) == [("PaymentCaptured", 1, None)]


def test_a_capture_is_entered_before_the_gateway_is_asked_and_asked_for_again_with_the_same_key():
    hold()
    gateway_away(away=True)
    ask_for_captures([1])
    assert (entries(), state()) == ([HELD, ("CAPTURE", PRICE, "OPEN")], ("AUTHORIZED", True))
    assert run(capture_payment, due()) == []
    settle()
    assert (entries(), state()) == ([HELD, ("CAPTURE", PRICE, "OPEN")], ("CAPTURING", True))
    gateway_away(away=False)
    settle()
    assert told(outbox()) == [("PaymentCaptured", 1, None)]
    assert (state(), booked("CAPTURE")) == (("COMPLETED", False), [("CAPTURE", PRICE)])


def test_a_capture_whose_answer_was_lost_is_made_once():
    hold()
    ask_for_captures([1])  # and the worker dies
    assert told(run(capture_payment, due())) == [("PaymentCaptured", 1, None)]
    assert booked("CAPTURE") == [("CAPTURE", PRICE)]


def test_what_the_gateway_does_not_hold_any_more_is_for_staff():
    hold("tok_hold_lost")
    assert run(capture_payment, due()) == []  # refused; that nothing was taken all the same is asked first
    settle()
    assert told(outbox()) == [FAILED]
    assert (state(), sums()) == (("UNPAID", False), (PRICE, 0, 0))
    assert entries() == [HELD, ("CAPTURE", PRICE, "REFUSED")]


def test_a_refused_capture_of_what_was_taken_by_hand_is_none_that_failed():
    hold("tok_hold_lost")
    run(capture_payment, due())
    GatewayLedger.objects.create(
        gateway="TOSS_PAYMENTS", payment=name(), key="by hand", kind="CAPTURE", amount=PRICE, currency="KRW"
    )
    settle()
    assert told(outbox()) == [("PaymentCaptured", 1, None)]
    assert entries() == [HELD, ("CAPTURE", PRICE, "REFUSED"), ("CAPTURE", PRICE, "SUCCEEDED")]
    assert state() == ("COMPLETED", False)


def test_a_hold_that_ends_before_the_hand_over_is_found_by_the_timer():
    hold("tok_hold_lost")
    settle()
    assert (told(outbox()), state()) == ([FAILED], ("UNPAID", False))
    assert run(capture_payment, due()) == []  # the parcel has left all the same: that was told already


def test_a_hold_that_lasts_is_looked_at_from_time_to_time():
    hold()
    settle()
    looked_at = Payment.objects.get()
    assert looked_at.due_at is not None
    assert looked_at.due_at - looked_at.updated_at == LOOK_AT_HOLD
    assert (outbox(), state(), settle()) == ([], ("AUTHORIZED", True), 1)


def test_what_was_found_before_a_capture_was_refused_does_not_count(monkeypatch: pytest.MonkeyPatch):
    hold()
    monkeypatch.setattr(SandboxGateway, "capture", lambda self, asked: [Refused("no") for _ in asked])
    refused: list[Any] = []

    def refuse_once(point: str) -> None:
        if point == "settle.answered" and not refused:  # the timer has looked up what is held
            refused.append(True)
            run(capture_payment, due())

    with calling(refuse_once):
        settle()
    assert (refused, outbox(), state()) == ([True], [], ("CAPTURING", True))
    settle()
    assert (told(outbox()), state()) == ([FAILED], ("UNPAID", False))


def test_a_part_that_is_wanted_back_while_a_capture_is_under_way_is_given_back():
    hold()
    ask_for_captures([1])
    request = OrderRefundRequested(order_id=1, amount=1_000, reason="a scratch")
    assert run(enter_refund, request) == []
    run(capture_payment, due())
    settle_all()
    assert ("PaymentRefundCompleted", 1, None) in told(outbox())
    assert sums() == (PRICE, PRICE, 1_000)
    assert booked()[1:] == [("CAPTURE", PRICE), ("REFUND", 1_000)]


# --- Undone -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("away", [False, True])
def test_what_is_held_is_let_go_of_when_the_order_is_cancelled(away: bool):
    hold()
    gateway_away(away=away)
    assert run(refund_payment, cancelled()) == []
    settle()
    gateway_away(away=False)
    settle_all()
    assert told(outbox()) == [("PaymentRefunded", 1, "cancelled by the customer")]
    assert (state(), booked()) == (("VOIDED", False), [("AUTHORIZE", PRICE), ("VOID", PRICE)])
    assert run(capture_payment, due()) == []


@pytest.mark.parametrize("taken", [False, True])
def test_a_parcel_that_is_refused_while_the_outcome_of_the_capture_is_unknown(taken: bool):
    hold()
    if taken:
        ask_for_captures([1])
    gateway_away(away=True)
    run(capture_payment, due())
    assert run(refund_payment, undeliverable()) == []
    gateway_away(away=False)
    settle_all()
    assert told(outbox()) == [("PaymentRefunded", 1, "refused by the carrier")]
    undone = [("CAPTURE", PRICE), ("REFUND", PRICE)] if taken else [("VOID", PRICE)]
    assert booked() == [("AUTHORIZE", PRICE), *undone]
    assert state() == ("REFUNDED" if taken else "VOIDED", False)
    assert not PaymentOperation.objects.filter(outcome="OPEN").exists()


def test_an_unpaid_payment_is_undone_when_its_parcel_comes_back():
    hold("tok_hold_lost")
    settle()
    run(refund_payment, undeliverable())
    settle_all()
    assert told(outbox()) == [FAILED, ("PaymentRefunded", 1, "refused by the carrier")]
    assert state() == ("VOIDED", False)


# --- Parts ------------------------------------------------------------------------------------------------------------
def part(amount: int) -> OrderRefundRequested:
    return OrderRefundRequested(order_id=1, amount=amount, reason="one piece less", trace=TRACE)


def test_of_what_is_held_so_much_less_is_taken():
    hold()
    assert told(run(enter_refund, part(500_000))) == [("PaymentRefundCompleted", 1, None)]
    assert told(run(enter_refund, part(3_000_000)))[0][0] == "PaymentRefundRefused"  # nothing would be left to take
    assert told(run(capture_payment, due())) == [("PaymentCaptured", 1, None)]
    assert booked() == [("AUTHORIZE", PRICE), ("CAPTURE", 3_000_000)]
    assert sums() == (PRICE, 3_000_000, 0)
    assert told(run(refund_payment, undeliverable())) == [("PaymentRefunded", 1, "refused by the carrier")]
    assert booked("REFUND") == [("REFUND", 3_000_000)]


@pytest.mark.parametrize(("token", "news"), [("tok_ok", "PaymentRefundCompleted"), ("tok_hold_lost", "")])
def test_a_part_that_is_wanted_back_while_the_money_is_being_taken_waits_for_that(token: str, news: str):
    hold(token)
    gateway_away(away=True)
    run(capture_payment, due())
    wanted = part(500_000)
    assert run(enter_refund, wanted) == []
    gateway_away(away=False)
    settle_all()
    if news:
        assert [name for name, *_ in told(outbox())] == ["PaymentCaptured", news]
        assert (booked("REFUND"), state()) == ([("REFUND", 500_000)], ("COMPLETED", False))
    else:
        assert told(outbox()) == [("PaymentRefundRefused", 1, NOT_CAPTURED), FAILED]
        assert outbox()[0].caused_by == wanted.event_id
        assert (booked("REFUND"), state()) == ([], ("UNPAID", False))


# --- What staff do ----------------------------------------------------------------------------------------------------
def unpaid() -> int:
    hold("tok_hold_lost")
    settle()
    assert state() == ("UNPAID", False)
    return Payment.objects.get().pk


def test_staff_have_it_captured_after_all():
    payment_id = unpaid()
    assert capture_again([payment_id]) == 1
    settle_all()
    assert told(outbox()) == [FAILED, FAILED]
    GatewayLedger.objects.filter(kind="VOID").delete()  # the bank holds it again
    assert capture_again([payment_id]) == 1
    settle_all()
    assert told(outbox())[2:] == [("PaymentCaptured", 1, None)]
    assert (state(), booked("CAPTURE")) == (("COMPLETED", False), [("CAPTURE", PRICE)])
    assert capture_again([payment_id]) == write_off([payment_id], "too late") == 0


def test_staff_write_it_off():
    payment_id = unpaid()
    assert write_off([payment_id], "the customer has moved") == 1
    assert told(outbox()) == [FAILED, ("PaymentWrittenOff", 1, None)]
    assert state() == ("WRITTEN_OFF", False)
    assert Payment.objects.get().reason == NOT_CAPTURED  # which its customer reads: not what staff say
    assert capture_again([payment_id]) == 0
