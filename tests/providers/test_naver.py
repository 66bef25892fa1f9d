"""NaverPay: what only it does."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from msgspec.structs import replace

from lab.providers import naver
from lab.providers.books import CAPTURE, REFUND
from lab.providers.server import FAIL_AFTER, LOSE_ANSWER, MALFORMED
from payments import gateways
from payments.gateways import ActionRequired, Captured, Declined, Done, Lookup, Refused, State, Unknown
from payments.gateways import naver as adapter
from payments.gateways.naver import NaverGateway
from payments.models import Payment
from payments.settling import come_back
from payments.tasks import charge_payment, refund_payment
from payments.tests import saga
from shop.contracts.payments import Configured
from tests.providers.accounts import AMOUNT, Account, naver_account

KEYS = {"client_id": "a", "client_secret": "b", "chain_id": "c"}


@pytest.fixture
def account() -> Iterator[Account]:
    with naver_account() as opened:
        yield opened


def long_ago(account: Account, kind: str, name: str, minutes: int) -> None:
    """Set back by so many minutes the times of all objects of a kind at the stand-in."""
    books, then = account.stand_in.books, datetime.now(naver.KOREA) - timedelta(minutes=minutes)
    for one in books.all(kind):
        key = one["reserveId"] if kind == "reservation" else one["paymentId"]
        books.put(kind, key, one | {name: then.strftime(naver.STAMP)})


def made(reference: str, minutes: int) -> str:
    """A reference as it would be had it been reserved so many minutes ago."""
    then = datetime.now(naver.KOREA) - timedelta(minutes=minutes)
    return f"{reference.partition('@')[0]}@{then.strftime(naver.STAMP)}"


@pytest.mark.parametrize("fault", [LOSE_ANSWER, FAIL_AFTER, MALFORMED])
def test_an_approval_whose_answer_was_lost_is_found_without_the_query(account, fault):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    came = account.came_back(request, action)
    account.stand_in.faults.plan("confirm", fault)
    assert isinstance(account.gateway.confirm([came])[0], Unknown)
    number = came.parameters["paymentId"]
    assert isinstance(account.gateway.void([account.operation(action.reference)])[0], Refused)  # it is paid
    assert account.gateway.confirm([replace(came, parameters={})]) == [Captured(number)]
    assert account.gateway.find([Lookup(request.payment, action.reference)]) == [State(number, AMOUNT, AMOUNT, 0)]
    assert account.gateway.refund([account.operation(action.reference)]) == [Done(number)]
    assert account.booked() == [(CAPTURE, AMOUNT), (REFUND, AMOUNT)]


def test_one_approval_is_found_on_any_page_of_the_history(account, monkeypatch):
    monkeypatch.setattr(adapter, "ROWS", 2)
    request = account.authorization(1)
    (action,) = account.gateway.authorize([request])
    for number in (2, 3, 4):
        account.paid(number)
    account.gateway.confirm([account.came_back(request, action)])
    (found,) = account.gateway.find([Lookup(request.payment, action.reference)])
    assert (found.captured, found.action) == (AMOUNT, None)


def test_nothing_is_approved_without_its_number(account):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    came = account.came_back(request, action)
    for query in ({}, {"resultCode": "Success"}, {"resultCode": "Success", "paymentId": "../v1/cancel"}):
        (waiting,) = account.gateway.confirm([replace(came, parameters=query)])
        assert waiting == action  # the same time and page, so that nobody is told anew
    (declined,) = account.gateway.confirm([replace(came, parameters=came.parameters | {"paymentId": "20260101NP1"})])
    assert isinstance(declined, Declined)
    assert "InvalidPaymentId" in declined.reason
    assert account.booked() == []
    assert account.gateway.confirm([came]) == [Captured(came.parameters["paymentId"])]


def test_another_payments_number_is_not_believed(account):
    requests = [account.authorization(number) for number in (1, 2)]
    actions = account.gateway.authorize(requests)
    came = account.came_back(requests[0], actions[0])
    (answer,) = account.gateway.confirm([replace(came, payment="order-2-a1b2c3", reference=actions[1].reference)])
    assert isinstance(answer, Unknown)
    assert account.booked(2) == []
    assert account.gateway.confirm([replace(came, parameters={})]) == [Captured(came.parameters["paymentId"])]
    (cheaper,) = account.gateway.confirm([replace(came, amount=1)])
    assert isinstance(cheaper, Unknown)


def test_a_page_that_was_not_paid_in_time_is_over(account):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    assert timedelta(minutes=14) < action.until - datetime.now(UTC) <= timedelta(minutes=15)
    long_ago(account, "reservation", "made", 16)
    assert "EXPIRED" in httpx.get(action.url).text
    (found,) = account.gateway.find([Lookup(request.payment, made(action.reference, 16))])
    assert found.action is not None  # who paid in the last minute can still be approved
    (found,) = account.gateway.find([Lookup(request.payment, made(action.reference, 27))])
    assert (found.captured, found.voided, found.action) == (0, True, None)


def test_what_was_not_approved_within_ten_minutes_is_declined(account):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    came = account.came_back(request, action)
    long_ago(account, "payment", "authenticated", 11)
    (answer,) = account.gateway.confirm([came])
    assert isinstance(answer, Declined)
    assert "TimeExpired" in answer.reason
    assert account.booked() == []


def test_of_two_refunds_at_once_each_happens_once(account):
    reference = account.paid()
    refunds = [account.operation(reference, key, amount=3_000) for key in ("one", "two", "one", "two")]
    with ThreadPoolExecutor() as at_once:
        list(at_once.map(lambda one: account.gateway.refund([one]), refunds))
    for one in refunds * 2:
        assert account.gateway.refund([one]) == [Done(reference)]
    assert account.booked() == [(CAPTURE, AMOUNT), (REFUND, 3_000), (REFUND, 3_000)]


def test_a_refund_before_which_another_comes_is_refused_and_made_again(account):
    reference = account.paid()
    account.stand_in.refusals["refund"].append("RestAmountDiff")
    refund = [account.operation(reference, amount=3_000)]
    assert isinstance(account.gateway.refund(refund)[0], Unknown)
    for _ in range(2):
        assert account.gateway.refund(refund) == [Done(reference)]
    assert account.booked() == [(CAPTURE, AMOUNT), (REFUND, 3_000)]


def test_a_cancellation_between_reading_and_cancelling_is_noticed(account, monkeypatch):
    reference, find = account.paid(), account.gateway._find

    def then_another(sought):
        found = find(sought)
        monkeypatch.undo()
        assert account.gateway._refund(account.operation(reference, "another", amount=1_000)) == Done(reference)
        return found

    monkeypatch.setattr(account.gateway, "_find", then_another)
    refund = [account.operation(reference, amount=3_000)]
    (unknown,) = account.gateway.refund(refund)
    assert isinstance(unknown, Unknown)
    assert "RestAmountDiff" in unknown.reason
    assert account.gateway.refund(refund) == [Done(reference)]
    assert account.booked() == [(CAPTURE, AMOUNT), (REFUND, 1_000), (REFUND, 3_000)]


def test_a_refusal_of_the_moment_is_not_kept(account):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    came = account.came_back(request, action)
    account.stand_in.refusals["confirm"].append("MaintenanceOngoing")
    assert isinstance(account.gateway.confirm([came])[0], Unknown)
    (captured,) = account.gateway.confirm([came])
    account.stand_in.refusals["refund"].extend(["MaintenanceOngoing", "FaultCheckOngoing", "AlreadyOnGoing"])
    refund = [account.operation(captured.reference, amount=3_000)]
    answers = [account.gateway.refund(refund)[0] for _ in range(5)]
    assert [type(one) for one in answers] == [Unknown] * 3 + [Done] * 2
    assert account.booked() == [(CAPTURE, AMOUNT), (REFUND, 3_000)]


def test_a_refund_that_naverpay_completes_by_itself_is_not_made_twice(account):
    reference = account.paid()
    account.stand_in.refusals["refund"].append("CancelNotComplete")
    refund = [account.operation(reference, amount=3_000)]
    for _ in range(2):
        assert account.gateway.refund(refund) == [Done(reference)]
    assert account.booked() == [(CAPTURE, AMOUNT), (REFUND, 3_000)]


def test_a_refund_that_can_never_be_is_refused(account):
    reference = account.paid()
    account.stand_in.refusals["refund"].append("CancelDeadlineExpired")
    (refused,) = account.gateway.refund([account.operation(reference, "x" * 200)])  # longer than a key may be
    assert refused == Refused("PAY003: CancelDeadlineExpired: planned")
    (refused,) = account.gateway.refund([account.operation(reference, "more", amount=AMOUNT + 1)])
    assert isinstance(refused, Refused)
    assert "OverRemainAmount" in refused.reason
    assert account.booked() == [(CAPTURE, AMOUNT)]


def test_a_cancelled_payment_is_not_approved_again(account):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    came = account.came_back(request, action)
    (captured,) = account.gateway.confirm([came])
    account.gateway.refund([account.operation(captured.reference)])
    assert account.gateway.confirm([came]) == [captured]
    assert account.booked() == [(CAPTURE, AMOUNT), (REFUND, AMOUNT)]


def test_what_naverpay_does_not_take_is_declined(account):
    (answer,) = account.gateway.authorize([replace(account.authorization(), currency="USD")])
    assert answer == Declined("PAY002: NaverPay takes KRW, not USD")
    (answer,) = account.gateway.authorize([replace(account.authorization(), amount=99)])
    assert answer == Declined("PAY002: InvalidParameter: minAmountUnder")


def test_tests_have_a_host_of_their_own():
    for mode, api, page in (
        ("production", "https://pay.paygate.naver.com", "https://m.pay.naver.com"),
        ("development", "https://dev-pay.paygate.naver.com", "https://test-m.pay.naver.com"),
    ):
        gateway = NaverGateway("NAVER", KEYS | {"mode": mode})
        assert gateway._api == f"{api}/naverpay-partner/naverpay/payments"
        assert gateway._waiting("R1@20260101000000").url == f"{page}/payments/R1"
    with pytest.raises(ValueError, match="none of production, development"):
        NaverGateway("NAVER", KEYS | {"mode": "test"})


def test_the_customer_is_sent_to_the_page_of_the_reservation(account):
    (action,) = account.gateway.authorize([account.authorization()])
    assert isinstance(action, ActionRequired)
    assert action.url == f"{account.stand_in.url}/payments/{action.reference.partition('@')[0]}"


@pytest.mark.django_db(databases=["payments"])
def test_a_lost_approval_completes_the_order_and_its_cancellation_gives_all_back(account, settings, monkeypatch):
    settings.PAYMENT_GATEWAYS = {"NAVER": Configured("naver", KEYS)}
    monkeypatch.setitem(gateways._made, "NAVER", account.gateway)
    (required,) = saga.run(charge_payment, saga.reserved(token="", gateway="NAVER", amount=AMOUNT))
    returned = httpx.post(required.url, data={"action": "pay"}).headers["Location"]
    account.stand_in.faults.plan("confirm", LOSE_ANSWER)
    come_back(1, dict(parse_qsl(urlsplit(returned).query)))
    assert saga.state()[0] == "WAITING"
    saga.settle_all()
    assert saga.told(saga.outbox()) == [("PaymentCompleted", 1, None)]
    payment = Payment.objects.get()
    assert (payment.status, f"paymentId={payment.reference}" in returned) == ("COMPLETED", True)
    saga.run(refund_payment, saga.cancelled())
    saga.settle_all()
    moved = [(one.kind, one.amount) for one in account.stand_in.books.entries(payment.idempotency_key)]
    assert moved == [(CAPTURE, AMOUNT), (REFUND, AMOUNT)]


def test_a_long_list_is_read_to_its_end_though_some_of_its_pages_fail(account, monkeypatch):
    monkeypatch.setattr(adapter, "ROWS", 1)
    for number in (1, 2, 3):
        account.paid(number)
    account.stand_in.faults.plan("find", "", LOSE_ANSWER, FAIL_AFTER, "", MALFORMED)
    assert len(list(account.gateway.statement(datetime.now(naver.KOREA).date()))) == 3


def test_who_wait_are_looked_up_in_a_list_that_is_read_on_from_where_it_ended(account):
    for number in range(101, 101 + adapter.ROWS):  # a page of the list, and one more approval later
        account.paid(number)
    requests = [account.authorization(number) for number in (1, 2, 3)]
    actions = account.gateway.authorize(requests)
    waiting = [Lookup(request.payment, action.reference) for request, action in zip(requests, actions, strict=True)]
    assert all(state.action and not state.captured for state in account.gateway.find(waiting))
    came = account.came_back(requests[1], actions[1])
    account.stand_in.faults.plan("confirm", LOSE_ANSWER)
    account.gateway.confirm([came])
    first, found, last = account.gateway.find(waiting)
    assert (first.captured, last.captured) == (0, 0)
    assert found == State(came.parameters["paymentId"], AMOUNT, AMOUNT, 0)
