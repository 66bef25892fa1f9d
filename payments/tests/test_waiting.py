"""Payments that wait for their customers, on a page or for a transfer: paid, given up, too late, undone meanwhile."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from payments.gateways import Notification, Unknown, pages
from payments.gateways.sandbox import SandboxGateway
from payments.links import order_of, return_url
from payments.models import GatewayLedger, GatewayNotification, Payment, SandboxPage
from payments.settling import come_back, take_notification
from payments.tasks import charge_payment, refund_payment
from payments.tests.saga import (
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
    told,
)
from shop.contracts.events import PaymentActionRequired
from shop.contracts.payments import AT_HAND_OVER, AT_ONCE

pytestmark = pytest.mark.django_db(databases=["payments"])

PRICE = 3_500_000
REFUND_TOLD = ("PaymentRefunded", 1, "cancelled by the customer")
NOT_PAID = ("PaymentFailed", 1, "PAY002: not paid in time")


def wait(token: str = "tok_action") -> PaymentActionRequired:
    """An order whose customer has to pay on a page."""
    (required,) = run(charge_payment, reserved(token=token))
    return required


def decide(*, paid: bool) -> None:
    pages.decide("TOSS_PAYMENTS", name(), paid=paid)


def time_is_over() -> None:
    past = timezone.now() - timedelta(days=30)
    Payment.objects.update(created_at=past, action_until=past)


def visit(path: str, **query: str):
    return Client().get(path, query, follow=True)


def page(kind: str = "return") -> str:
    return f"/api/v1/payments/{kind}/" + return_url(1).rpartition("/")[2]


# --- Waiting ----------------------------------------------------------------------------------------------------------
def test_an_order_waits_for_its_customer():
    required = wait()
    assert (required.order_id, required.user_id) == (1, 7)
    assert required.url.endswith(page("sandbox"))
    assert timezone.now() < required.until < timezone.now() + timedelta(minutes=16)
    assert state() == ("WAITING", True)
    assert (entries(), held()) == ([("CHARGE", PRICE, "OPEN")], 0)
    payment = Payment.objects.get()
    assert (payment.token, payment.checkout["payment_token"]) == ("", "")  # it is of no more use


def test_the_owner_waits_no_longer_than_the_settings_say(settings):
    settings.PAY_WITHIN, settings.DEPOSIT_WITHIN = timedelta(minutes=2), timedelta(hours=1)
    assert wait().until <= timezone.now() + timedelta(minutes=2)
    (deposit,) = run(charge_payment, reserved(2, "tok_deposit"))
    assert timedelta(minutes=2) < deposit.until - timezone.now() <= timedelta(hours=1)


def test_told_twice_it_waits_once():
    event = reserved(token="tok_action")
    first = run(charge_payment, event)
    assert run(charge_payment, event) == first
    settle()
    assert outbox() == []  # nothing new


def test_a_lost_answer_is_asked_for_again_and_then_it_waits(settings):
    settings.GATEWAY_FAILURE_RATES = {"TOSS_PAYMENTS": 1.0}
    assert run(charge_payment, reserved(token="tok_action")) == []
    settings.GATEWAY_FAILURE_RATES = {}
    settle()
    assert [type(event).__name__ for event in outbox()] == ["PaymentActionRequired"]


# --- Paid -------------------------------------------------------------------------------------------------------------
def test_who_pays_and_comes_back_is_charged():
    wait()
    decide(paid=True)
    come_back(1, {"outcome": "paid"})
    assert told(outbox()) == [("PaymentCompleted", 1, None)]
    assert (state(), sums(), held()) == (("COMPLETED", False), (PRICE, PRICE, 0), PRICE)
    assert Payment.objects.get().action_url == ""


def test_who_pays_and_closes_the_window_is_charged_all_the_same():
    wait()
    decide(paid=True)
    settle()
    assert told(outbox()) == [("PaymentCompleted", 1, None)]
    assert entries() == [("CHARGE", PRICE, "SUCCEEDED")]


def test_who_comes_back_without_having_paid_is_waited_for():
    wait()
    come_back(1, {"outcome": "paid"})  # which anybody can write
    assert (state(), outbox()) == (("WAITING", True), [])


def test_who_gives_up_is_not_charged():
    wait()
    decide(paid=False)
    come_back(1, {"outcome": "cancelled"})
    assert told(outbox()) == [("PaymentFailed", 1, "PAY002: given up on the payment page")]
    assert (state(), held()) == (("FAILED", False), 0)


def test_a_transfer_may_take_days():
    required = wait("tok_deposit")
    assert required.until > timezone.now() + timedelta(days=2)
    assert required.url == return_url(1)
    assert b"110-123-456789" in visit(page()).content
    settle()
    assert state() == ("WAITING", True)
    decide(paid=True)
    settle()
    assert told(outbox()) == [("PaymentCompleted", 1, None)]


# --- Not paid in time -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("token", ["tok_action", "tok_deposit"])
def test_what_was_not_paid_in_time_is_let_go_of(token):
    wait(token)
    time_is_over()
    SandboxPage.objects.update(until=timezone.now() + timedelta(hours=1))  # the gateway would still take it
    settle()
    assert told(outbox()) == [NOT_PAID]
    assert state() == ("FAILED", False)
    assert entries() == [("CHARGE", PRICE, "REFUSED"), ("VOID", PRICE, "SUCCEEDED")]
    decide(paid=True)
    assert held() == 0


def test_what_was_paid_in_the_last_moment_is_kept():
    wait()
    decide(paid=True)
    time_is_over()
    settle()
    assert told(outbox()) == [("PaymentCompleted", 1, None)]


def test_who_pays_while_the_wait_is_being_ended_is_charged(monkeypatch):
    wait()
    time_is_over()
    SandboxPage.objects.update(until=timezone.now() + timedelta(hours=1))
    void = pages.void

    def paid_just_before(gateway, keys):
        decide(paid=True)
        return void(gateway, keys)

    monkeypatch.setattr(pages, "void", paid_just_before)
    settle()
    assert (state(), outbox()) == (("WAITING", True), [])
    settle()
    assert told(outbox()) == [("PaymentCompleted", 1, None)]
    assert entries() == [("CHARGE", PRICE, "SUCCEEDED"), ("VOID", PRICE, "REFUSED")]


@pytest.fixture
def void_unheard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Gateways void, but the answer is lost; calling it ends that."""
    with monkeypatch.context() as lost:
        void = SandboxGateway.void
        lost.setattr(SandboxGateway, "void", lambda self, asked: [Unknown("lost") for _ in void(self, asked)])
        yield lost.undo


LET_GO_OF = [("CHARGE", PRICE, "REFUSED"), ("VOID", PRICE, "SUCCEEDED")]


def test_a_wait_that_was_ended_unheard_is_ended_by_asking_again(void_unheard):
    wait()
    time_is_over()
    settle()
    come_back(1, {"outcome": "paid"})  # which the gateway refuses by now
    assert (state(), outbox()) == (("WAITING", True), [])
    void_unheard()
    settle()
    assert told(outbox()) == [NOT_PAID]
    assert (state(), entries()) == (("FAILED", False), LET_GO_OF)


def test_what_was_let_go_of_unheard_is_entered_when_the_gateway_says_so(void_unheard):
    wait()
    run(refund_payment, cancelled())
    for _ in range(9):
        settle()
    assert told(outbox()) == [REFUND_TOLD]
    assert (state(), entries()[1]) == (("VOIDED", True), ("VOID", PRICE, "OPEN"))
    void_unheard()
    settle_all()
    assert (state(), entries()) == (("VOIDED", False), LET_GO_OF)
    assert told(outbox()) == [REFUND_TOLD]


# --- Undone -----------------------------------------------------------------------------------------------------------
def test_an_order_that_is_undone_while_it_waits_can_be_paid_no_more():
    wait()
    assert run(refund_payment, cancelled()) == []
    settle()
    assert told(outbox()) == [REFUND_TOLD]
    decide(paid=True)
    settle_all()
    assert (state(), held()) == (("VOIDED", False), 0)
    assert entries() == [("CHARGE", PRICE, "REFUSED"), ("VOID", PRICE, "SUCCEEDED")]


def test_who_pays_while_the_order_is_undone_gets_it_back():
    wait()
    run(refund_payment, cancelled())
    decide(paid=True)
    settle()
    assert told(outbox()) == [REFUND_TOLD]
    assert (state(), held(), sums()) == (("REFUNDED", False), 0, (PRICE, PRICE, PRICE))


def test_a_page_that_was_given_up_when_its_order_is_undone():
    wait()
    decide(paid=False)
    run(refund_payment, cancelled())
    settle_all()
    assert told(outbox()) == [REFUND_TOLD]
    assert state() == ("VOIDED", False)


# --- The pages --------------------------------------------------------------------------------------------------------
def test_the_pages_lead_through_a_payment():
    wait()
    assert "waits for your payment" in visit(page()).content.decode()
    sandbox = visit(page("sandbox")).content.decode()
    assert "Sandbox: pay for order 1?" in sandbox
    paid = Client().post(page("sandbox"), {"decision": "pay"}, follow=True)
    assert [url for url, _ in paid.redirect_chain] == [f"{page()}?outcome=paid", page()]
    assert "Order 1 is paid" in paid.content.decode()
    assert told(outbox()) == [("PaymentCompleted", 1, None)]


def test_twice_by_the_back_button_and_on_another_device_it_stands_as_it_stands():
    wait()
    Client().post(page("sandbox"), {"decision": "pay"}, follow=True)
    for answer in (
        visit(page(), outcome="paid"),
        visit(page(), outcome="cancelled"),
        visit(page("sandbox")),
        Client().post(page("sandbox"), {"decision": "cancel"}, follow=True),
    ):
        assert "Order 1 is paid" in answer.content.decode()
    assert (held(), len(outbox())) == (PRICE, 1)


def test_the_pages_say_how_it_ended():
    wait()
    Client().post(page("sandbox"), {"decision": "cancel"}, follow=True)
    assert "was not paid" in visit(page()).content.decode()
    Payment.objects.update(status="VOIDED")
    assert "is cancelled" in visit(page()).content.decode()
    korean = Client().get(page(), headers={"Accept-Language": "ko"}).content.decode()
    assert "취소되었습니다" in korean


STANDING = {
    "PENDING": "Your payment is being looked after",
    "WAITING": "Order 1 waits for your payment",
    "AUTHORIZED": "The payment for order 1 is confirmed",
    "CAPTURING": "The payment for order 1 is confirmed",
    "UNPAID": "The payment for order 1 could not be taken",
    "WRITTEN_OFF": "The payment for order 1 could not be taken",
    "COMPLETED": "Order 1 is paid",
    "FAILED": "Order 1 was not paid",
    "REFUNDING": "Order 1 is cancelled",
    "REFUNDED": "Order 1 is cancelled",
    "VOIDED": "Order 1 is cancelled",
}


@pytest.mark.parametrize("status", Payment.Status)
def test_the_page_says_how_the_payment_stands(status):
    wait()
    is_open = status in ("PENDING", "WAITING", "AUTHORIZED", "CAPTURING", "REFUNDING")
    due = timezone.now() if is_open else None
    Payment.objects.update(status=status, due_at=due, capture_later=True, authorized=PRICE)
    text = visit(page()).content.decode()
    assert f"<h1>{STANDING[status]}</h1>" in text
    assert ('http-equiv="refresh"' in text) == (status in ("PENDING", "WAITING"))


@pytest.mark.parametrize("kind", ["return", "sandbox"])
def test_nobody_comes_back_for_another_order(kind):
    wait()
    signed = page(kind)
    for forged in (signed.replace("/1.", "/2."), signed[:-1], f"/api/v1/payments/{kind}/1", f"{signed}x"):
        assert Client().get(forged).status_code == 404
    assert order_of("x" * 5000) is None


def test_without_the_sandbox_its_page_is_not_there(settings):
    wait()
    settings.SANDBOX = False
    assert Client().get(page("sandbox")).status_code == 404


# --- What providers tell ----------------------------------------------------------------------------------------------
def due_at() -> datetime:
    due = Payment.objects.get().due_at
    assert due is not None
    return due


def notify(event: str = "1", gateway: str = "TOSS_PAYMENTS", **more: str):
    told = {"event": event, "payment": name()} | more
    return Client().post(f"/api/v1/payments/notifications/{gateway}", told, content_type="application/json")


@pytest.mark.parametrize("by_name", [True, False])
def test_a_notification_is_a_hint_that_has_the_provider_asked_at_once(by_name):
    wait()
    decide(paid=True)
    assert due_at() > timezone.now()
    told_of = Notification("1", name()) if by_name else Notification("1", "", f"sandbox-{name()}")
    take_notification("TOSS_PAYMENTS", told_of)
    assert due_at() < timezone.now() + timedelta(seconds=1)  # of two clocks
    assert outbox() == []
    settle()
    assert told(outbox()) == [("PaymentCompleted", 1, None)]


def test_a_notification_that_lies_changes_nothing():
    wait()
    notify()
    settle()
    assert (state(), outbox()) == (("WAITING", True), [])


def test_a_notification_is_taken_in_once():
    wait()
    notify()
    later = timezone.now() + timedelta(minutes=5)
    Payment.objects.update(due_at=later)
    assert notify().status_code == 202
    assert (due_at(), GatewayNotification.objects.count()) == (later, 1)
    notify("2")
    assert due_at() < later


@pytest.mark.parametrize("status", ["nobody's", "COMPLETED"])
def test_a_notification_that_has_nothing_looked_up_is_not_kept(status):
    if status == "COMPLETED":
        run(charge_payment, reserved())
    assert notify().status_code == 202
    assert GatewayNotification.objects.count() == 0


def test_a_notification_that_names_no_payment_has_none_looked_up(settings):
    settings.GATEWAY_FAILURE_RATES = {"TOSS_PAYMENTS": 1.0}
    run(charge_payment, reserved())  # its reference is not known yet
    later = due_at()
    take_notification("TOSS_PAYMENTS", Notification("1"))
    assert (due_at(), GatewayNotification.objects.count()) == (later, 0)


@pytest.mark.parametrize("capture", [AT_ONCE, AT_HAND_OVER])
@pytest.mark.parametrize("found_by", ["notification", "customer"])
def test_money_that_comes_after_a_failure_is_given_back(found_by, capture, settings):
    settings.PAYMENT_CAPTURE = capture
    wait()
    decide(paid=False)
    settle()
    assert state() == ("FAILED", False)
    SandboxPage.objects.update(decision="OPEN")
    decide(paid=True)
    notify() if found_by == "notification" else visit(page(), outcome="paid")
    settle_all()
    assert (state(), held()) == (("REFUNDED" if capture == AT_ONCE else "VOIDED", False), 0)
    assert GatewayLedger.objects.filter(kind="REFUND" if capture == AT_ONCE else "VOID").count() == 1
    assert told(outbox()) == [("PaymentFailed", 1, "PAY002: given up on the payment page")]


def test_what_was_paid_while_nobody_asked_after_the_undo_is_given_back():
    wait()
    run(refund_payment, cancelled())
    settle_all()
    SandboxPage.objects.update(decision="OPEN")
    decide(paid=True)
    notify()
    settle_all()
    assert (state(), held()) == (("REFUNDED", False), 0)
    assert told(outbox()) == [REFUND_TOLD]


def test_a_failure_of_which_a_notification_tells_nothing_new_stays_one(settings):
    run(charge_payment, reserved(token="tok_declined"))
    notify()
    settings.GATEWAY_FAILURE_RATES = {"TOSS_PAYMENTS": 1.0}
    settle()
    assert state() == ("FAILED", True)  # not answered: it is asked again
    settings.GATEWAY_FAILURE_RATES = {}
    settle_all()
    assert (state(), outbox()) == (("FAILED", False), [])


def test_a_notification_that_is_forged_or_for_nobody_is_refused(settings):
    url = "/api/v1/payments/notifications/TOSS_PAYMENTS"
    assert Client().post(url, {"event": "1"}, content_type="application/json").status_code == 401
    settings.SANDBOX = False
    assert notify().status_code == 401
    assert notify(gateway="NOBODY").status_code == 404
    take_notification("TOSS_PAYMENTS", Notification("x" * 500, "y" * 500))
    assert GatewayLedger.objects.count() == 0
