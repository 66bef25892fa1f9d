"""KakaoPay: what only it does."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lab.providers.books import CAPTURE, REFUND
from lab.providers.server import LOSE_ANSWER
from payments.gateways import ActionRequired, Captured, Declined, Done, Lookup, Unknown
from tests.providers.accounts import AMOUNT, Account, kakao_account


@pytest.fixture
def account() -> Iterator[Account]:
    with kakao_account() as opened:
        yield opened


def test_nothing_is_approved_without_its_token(account):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    came = account.came_back(request, action)
    assert set(came.parameters) >= {"pg_token"}
    (waiting,) = account.gateway.confirm([replace(came, parameters={})])
    assert isinstance(waiting, ActionRequired)
    assert waiting.url == ""  # it was named once
    (declined,) = account.gateway.confirm([replace(came, parameters={"pg_token": "another"})])
    assert isinstance(declined, Declined)
    assert account.booked() == []
    assert account.gateway.confirm([came]) == [Captured(action.reference)]


def test_of_two_refunds_at_once_each_happens_once(account):
    reference = account.paid()
    refunds = [account.operation(reference, key, amount=3_000) for key in ("one", "two", "one", "two")]
    with ThreadPoolExecutor() as at_once:
        list(at_once.map(lambda one: account.gateway.refund([one]), refunds))
    for one in refunds:
        assert account.gateway.refund([one]) == [Done(reference)]
    assert account.booked() == [(CAPTURE, AMOUNT), (REFUND, 3_000), (REFUND, 3_000)]


def test_an_approval_whose_answer_was_lost_is_looked_up(account):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    came = account.came_back(request, action)
    account.stand_in.faults.plan("confirm", LOSE_ANSWER)
    assert isinstance(account.gateway.confirm([came])[0], Unknown)
    assert account.gateway.confirm([came]) == [Captured(action.reference)]
    assert account.booked() == [(CAPTURE, AMOUNT)]


def test_a_page_that_was_not_paid_in_time_is_over(account):
    request = account.authorization()
    (action,) = account.gateway.authorize([request])
    assert timedelta(minutes=14) < action.until - datetime.now(UTC) <= timedelta(minutes=15)
    order = account.stand_in.books.get("order", action.reference)
    account.stand_in.books.put("order", action.reference, order | {"created_at": "2026-01-01T00:00:00"})
    (found,) = account.gateway.find([Lookup(request.payment, action.reference)])
    assert (found.captured, found.voided, found.action) == (0, True, None)


def test_another_payments_number_is_not_believed(account):
    requests = [account.authorization(number) for number in (1, 2)]
    actions = account.gateway.authorize(requests)
    came = account.came_back(requests[0], actions[0])
    (answer,) = account.gateway.confirm([replace(came, payment="order-2-a1b2c3")])
    assert isinstance(answer, Unknown)
    (cheaper,) = account.gateway.confirm([replace(came, amount=1)])
    assert isinstance(cheaper, Unknown)
    assert account.booked() == account.booked(2) == []


def test_only_won(account):
    (answer,) = account.gateway.authorize([replace(account.authorization(), currency="USD")])
    assert answer == Declined("PAY002: KakaoPay takes KRW, not USD")
