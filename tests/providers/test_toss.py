"""Toss Payments: what only it does."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from msgspec.structs import replace

from lab.providers.books import CAPTURE, REFUND
from payments.gateways import ActionRequired, Captured, Declined, Done, Lookup, Notification, Refused, State, Waiting
from tests.providers.accounts import AMOUNT, Account, toss_account


@pytest.fixture
def account() -> Iterator[Account]:
    with toss_account() as opened:
        yield opened


def waiting(account: Account) -> Waiting:
    """A virtual account that waits for its deposit."""
    request = account.authorization(method="virtual_account")
    (action,) = account.gateway.authorize([request])
    (answer,) = account.gateway.confirm([account.came_back(request, action)])
    assert isinstance(answer, Waiting)
    return answer


def test_a_deposit_comes_later_and_is_told(account):
    answer = waiting(account)
    assert timedelta(days=6) < answer.until - datetime.now(UTC) < timedelta(days=8)
    assert set(answer.details) == {"bank", "account", "holder"}
    sought = [Lookup("order-1-a1b2c3", answer.reference)]
    assert account.gateway.find(sought) == [State(answer.reference, 0, 0, 0, action=answer)]
    assert account.booked() == []
    httpx.post(f"{account.stand_in.url}/bank/{answer.reference}", data={"action": "deposit"})
    headers, body = account.stand_in.notifications[-1]
    assert b'"secret": "ps_' in body
    assert b"eventType" not in body
    told = account.gateway.read_notification({name.lower(): value for name, value in headers.items()}, body)
    assert told.payment == "order-1-a1b2c3"
    assert account.gateway.find(sought) == [State(answer.reference, AMOUNT, AMOUNT, 0)]
    assert account.gateway.refund([account.operation(answer.reference, amount=3_000)]) == [Done(answer.reference)]
    assert account.booked() == [(CAPTURE, AMOUNT), (REFUND, 3_000)]


@pytest.mark.parametrize("about", [{"customerKey": "c_1"}, {"customerKey": "c_1", "orderId": None}, {}, None])
def test_an_event_about_something_else_names_no_payment_of_ours(account, about):
    body = json.dumps({"eventType": "CUSTOMER_STATUS_CHANGED", "data": about}).encode()
    told = account.gateway.read_notification({"tosspayments-webhook-transmission-id": "t_1"}, body)
    assert told == Notification("t_1")


def test_a_deposit_is_not_waited_for_any_longer(account):
    answer = waiting(account)
    assert account.gateway.void([account.operation(answer.reference)]) == [Done(answer.reference)]
    (found,) = account.gateway.find([Lookup("order-1-a1b2c3", answer.reference)])
    assert (found.captured, found.refunded, found.voided, found.action) == (0, 0, True, None)
    httpx.post(f"{account.stand_in.url}/bank/{answer.reference}", data={"action": "deposit"})
    assert account.booked() == []


def test_a_deposit_whose_customers_account_is_unknown_is_not_refunded(account):
    answer = waiting(account)
    httpx.post(f"{account.stand_in.url}/bank/{answer.reference}", data={"action": "deposit"})
    payment = account.stand_in.books.get("payment", answer.reference)
    payment["virtualAccount"]["refundReceiveAccount"] = None
    account.stand_in.books.put("payment", answer.reference, payment)
    (refused,) = account.gateway.refund([account.operation(answer.reference)])
    assert isinstance(refused, Refused)
    assert "account is unknown" in refused.reason


def test_a_closed_window_is_confirmed_without_its_query(account):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    came = account.came_back(request, action)
    assert set(came.parameters) >= {"paymentKey", "orderId", "amount"}
    assert account.gateway.confirm([replace(came, parameters={})]) == [Captured(action.reference)]


def test_the_query_is_not_believed(account):
    requests = [account.authorization(number) for number in (1, 2)]
    actions = account.gateway.authorize(requests)
    came = account.came_back(requests[0], actions[0])
    of_another = came.parameters | {"paymentKey": actions[1].reference, "amount": "1", "orderId": "order-2-a1b2c3"}
    assert account.gateway.confirm([replace(came, parameters=of_another)]) == [Captured(actions[0].reference)]
    cheaper = account.came_back(requests[1], actions[1])
    (answer,) = account.gateway.confirm([replace(cheaper, amount=1)])
    assert not isinstance(answer, Captured)
    assert account.booked(2) == []


def test_what_was_not_confirmed_within_ten_minutes_is_declined(account):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    came = account.came_back(request, action)
    payment = account.stand_in.books.get("payment", action.reference)
    payment["authenticatedAt"] = (datetime.now(UTC) - timedelta(minutes=11)).isoformat()
    account.stand_in.books.put("payment", action.reference, payment)
    (answer,) = account.gateway.confirm([came])
    assert isinstance(answer, Declined)
    assert "EXPIRED_PAYMENT" in answer.reason


def test_a_repeated_request_is_answered_as_it_is_now(account):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    account.gateway.confirm([account.came_back(request, action)])
    payment = account.stand_in.books.get("payment", action.reference)
    for known in ("payment", "key"):  # some seconds later
        for id in (action.reference, f"/v1/payments {request.key}"):
            if body := account.stand_in.books.get(known, id):
                (body.get("body") or body)["requestedAt"] = "2026-01-01T00:00:00+09:00"
                account.stand_in.books.put(known, id, body)
    assert payment["status"] == "DONE"
    assert account.gateway.authorize([request]) == [Captured(action.reference)]


def test_only_won(account):
    (answer,) = account.gateway.authorize([replace(account.authorization(), currency="USD")])
    assert answer == Declined("PAY002: Toss Payments takes KRW, not USD")
    assert not isinstance(answer, ActionRequired)
