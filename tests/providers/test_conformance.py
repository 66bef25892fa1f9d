"""The payment port's rules, held by every adapter against its provider's stand-in."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from lab.providers.books import AUTHORIZE, CAPTURE, REFUND, VOID
from lab.providers.server import (
    FAIL_AFTER,
    FAIL_BEFORE,
    FAULTS,
    HANG,
    LOSE_ANSWER,
    LOSE_REQUEST,
    MALFORMED,
    OTHER_AMOUNT,
    TOO_MANY,
)
from payments.gateways import (
    ActionRequired,
    Authorized,
    Captured,
    Declined,
    Done,
    Forged,
    Kind,
    Lookup,
    NotFound,
    Refused,
    State,
    Unknown,
)
from tests.providers.accounts import ACCOUNTS, AMOUNT, CURRENCY, Account, declined

PAID = Authorized | Captured


@pytest.fixture(params=sorted(ACCOUNTS))
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    with ACCOUNTS[request.param]() as opened:
        yield opened


def holds(account: Account) -> bool:
    """Whether money is held first here, and taken by a capture."""
    return bool(account.gateway.capabilities.separate_capture)


def taken(account: Account) -> list[tuple[str, int]]:
    return [(AUTHORIZE, AMOUNT), (CAPTURE, AMOUNT)] if holds(account) else [(CAPTURE, AMOUNT)]


def captured(account: Account, number: int = 1) -> str:
    """The reference of a payment whose money was taken."""
    reference = account.paid(number, capture=not holds(account))
    if holds(account):
        assert account.gateway.capture([account.operation(reference, f"capture-{number}", number)]) == [Done(reference)]
    return reference


def until_known(ask, *, times: int = 4):
    """What the timer does: ask again until there is an answer."""
    for _ in range(times):
        (answer,) = ask()
        if not isinstance(answer, Unknown):
            return answer
    return answer


def test_paid_taken_and_given_back_in_parts(account):
    reference = captured(account)
    first, rest = (account.operation(reference, key, amount=n) for key, n in (("r1", 3_000), ("r2", AMOUNT - 3_000)))
    assert account.gateway.refund([first]) == [Done(reference)]
    assert account.gateway.find([Lookup("order-1-a1b2c3", reference)]) == [State(reference, AMOUNT, AMOUNT, 3_000)]
    assert account.gateway.refund([rest]) == [Done(reference)]
    (found,) = account.gateway.find([Lookup("order-1-a1b2c3", "" if account.looks_up else reference)])
    assert (found.reference, found.captured, found.refunded, found.action) == (reference, AMOUNT, AMOUNT, None)
    (more,) = account.gateway.refund([account.operation(reference, "r3", amount=1)])
    assert isinstance(more, Refused)
    assert more.reason.startswith("PAY003: ")
    assert account.booked() == [*taken(account), (REFUND, 3_000), (REFUND, AMOUNT - 3_000)]


def test_asked_twice_it_happens_once(account):
    reference = account.paid()
    assert isinstance(account.gateway.authorize([account.authorization()])[0], PAID | ActionRequired)
    if holds(account):
        capture = [account.operation(reference, "capture")]
        assert account.gateway.capture(capture) == account.gateway.capture(capture) == [Done(reference)]
    refund = [account.operation(reference, "refund", amount=3_000)]
    with ThreadPoolExecutor() as two:  # at once, as by a worker that was given up and by another
        at_once = [two.submit(account.gateway.refund, refund) for _ in range(2)]
    assert Done(reference) in [one.result()[0] for one in at_once]
    assert account.gateway.refund(refund) == [Done(reference)]
    assert account.booked() == [*taken(account), (REFUND, 3_000)]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_payment_whose_request_goes_wrong_is_made_once(account, fault):
    account.stand_in.faults.plan("authorize", fault)
    request = account.authorization(capture=True)
    (first,) = account.gateway.authorize([request])
    if fault == TOO_MANY:
        assert isinstance(first, PAID | ActionRequired)
    elif fault in (LOSE_REQUEST, HANG, FAIL_BEFORE):
        assert isinstance(first, Unknown), first
    answer = until_known(lambda: account.gateway.authorize([request]))
    if isinstance(answer, ActionRequired):
        came = account.came_back(request, answer)
        account.stand_in.faults.plan("confirm", fault)
        answer = until_known(lambda: account.gateway.confirm([came]))
    assert isinstance(answer, Captured), answer
    assert account.booked().count((CAPTURE, AMOUNT)) == 1
    assert account.gateway.find([Lookup(request.payment, answer.reference)])[0].captured == AMOUNT


@pytest.mark.parametrize("fault", FAULTS)
def test_an_operation_that_goes_wrong_happens_once(account, fault):
    reference = account.paid()
    asked = [
        ("capture", account.gateway.capture, account.operation(reference, "capture")),
        ("refund", account.gateway.refund, account.operation(reference, "refund", amount=3_000)),
    ]
    for operation, ask, one in asked[not holds(account) :]:
        account.stand_in.faults.plan(operation, fault)
        (first,) = ask([one])
        assert isinstance(first, Done if fault == TOO_MANY else Unknown | Done), first
        assert until_known(lambda ask=ask, one=one: ask([one])) == Done(reference)
    assert account.booked() == [*taken(account), (REFUND, 3_000)]


@pytest.mark.parametrize("fault", [LOSE_REQUEST, LOSE_ANSWER, FAIL_BEFORE, MALFORMED, HANG])
def test_a_question_that_goes_wrong_is_asked_again(account, fault):
    reference = account.paid()
    sought = [Lookup("order-1-a1b2c3", reference)]
    account.stand_in.faults.plan("find", fault)
    assert isinstance(account.gateway.find(sought)[0], Unknown)
    assert until_known(lambda: account.gateway.find(sought)).authorized == AMOUNT


def test_what_is_held_is_let_go_of(account):
    reference = account.paid()
    void = [account.operation(reference, "void")]
    if not holds(account):
        assert isinstance(account.gateway.void(void)[0], Refused)  # it was taken: to be refunded
        return
    account.stand_in.faults.plan("void", LOSE_ANSWER)
    assert isinstance(account.gateway.void(void)[0], Unknown)
    assert account.gateway.void(void) == [Done(reference)]
    assert account.gateway.void([account.operation(reference, "another")]) == [Done(reference)]  # void already
    assert isinstance(account.gateway.capture([account.operation(reference, "capture")])[0], Refused)
    assert isinstance(account.gateway.refund([account.operation(reference, "refund")])[0], Refused)
    (found,) = account.gateway.find([Lookup("order-1-a1b2c3", reference)])
    assert (found.captured, found.voided) == (0, True)
    assert account.booked() == [(AUTHORIZE, AMOUNT), (VOID, AMOUNT)]


def test_the_customer_pays_on_the_providers_page(account):
    request = account.authorization(token="", until=datetime.now(UTC) + timedelta(minutes=20))
    (action,) = account.gateway.authorize([request])
    assert isinstance(action, ActionRequired)
    assert datetime.now(UTC) < action.until <= request.until
    (waiting,) = account.gateway.find([Lookup(request.payment, action.reference)])
    assert (waiting.authorized, waiting.captured, waiting.action is not None) == (0, 0, True)
    came = account.came_back(request, action)
    (answer,) = account.gateway.confirm([came])
    assert isinstance(answer, PAID)
    assert account.gateway.confirm([came]) == [answer]  # the page was loaded again
    assert isinstance(account.gateway.void([account.operation(action.reference, "void")])[0], Done | Refused)


def test_the_customer_cancels(account):
    request = account.authorization(token="")
    (action,) = account.gateway.authorize([request])
    came = account.came_back(request, action, "cancel")
    (answer,) = account.gateway.confirm([came])
    assert isinstance(answer, Declined | ActionRequired)  # some pages can be opened again
    assert account.gateway.void([account.operation(action.reference, "void")]) == [Done(action.reference)]
    assert not isinstance(account.gateway.confirm([came])[0], PAID)
    (found,) = account.gateway.find([Lookup(request.payment, action.reference)])
    assert found == NotFound() or (found.authorized, found.captured) == (0, 0)
    assert account.booked() == []


def test_who_is_declined_on_the_page_can_pay_with_another_card(account):
    request = account.authorization(token="")
    (action,) = account.gateway.authorize([request])
    if not account.reopens:
        return  # who is declined there is sent back to us
    declined(action.url)
    (answer,) = account.gateway.confirm([account.waiting(request, action)])
    assert (answer.reference, answer.url) == (action.reference, action.url)
    (found,) = account.gateway.find([Lookup(request.payment, action.reference)])
    assert found == State(action.reference, 0, 0, 0, action=answer)
    came = account.came_back(request, action)
    assert isinstance(account.gateway.confirm([came])[0], PAID)
    assert account.booked() == [(AUTHORIZE, AMOUNT)]


def test_who_was_declined_on_the_page_cannot_pay_there_once_it_was_let_go_of(account):
    request = account.authorization(token="")
    (action,) = account.gateway.authorize([request])
    if account.reopens:
        declined(action.url)
    void = [account.operation(action.reference, "void")]
    assert account.gateway.void(void) == [Done(action.reference)]
    assert account.gateway.void([account.operation(action.reference, "another")]) == [Done(action.reference)]
    assert httpx.post(action.url, data={"action": "pay"}).status_code == 303
    (found,) = account.gateway.find([Lookup(request.payment, action.reference)])
    assert (found.authorized, found.captured) == (0, 0)
    if account.reopens:
        assert (found.reference, found.voided) == (action.reference, True)
        (answer,) = account.gateway.confirm([account.waiting(request, action)])
        assert isinstance(answer, Declined)
    assert account.booked() == []


def test_an_answer_about_another_amount_is_none(account):
    request = account.authorization(token="", capture=True)
    (action,) = account.gateway.authorize([request])
    came = account.came_back(request, action)
    for operation in ("confirm", "find"):
        account.stand_in.faults.plan(operation, OTHER_AMOUNT)
    assert isinstance(account.gateway.confirm([came])[0], Unknown)
    account.stand_in.faults.planned.clear()
    assert isinstance(account.gateway.confirm([came])[0], Captured)
    assert account.booked().count((CAPTURE, AMOUNT)) == 1


def test_what_is_declined_takes_nothing(account):
    (answer,) = account.gateway.authorize([account.authorization(token=account.declined)])
    if not account.declined:  # the provider's page says it, and not a token
        assert isinstance(answer, ActionRequired)
        assert account.booked() == []
        return
    assert isinstance(answer, Declined)
    assert answer.reason.startswith("PAY002: ")
    (found,) = account.gateway.find([Lookup("order-1-a1b2c3", "")])
    assert found == NotFound() or (found.authorized, found.captured) == (0, 0)
    assert account.booked() == []


def test_a_batch_is_answered_in_its_order_whatever_happens_to_some(account):
    account.stand_in.faults.plan("authorize", *[LOSE_REQUEST, FAIL_AFTER, TOO_MANY, MALFORMED])
    requests = [account.authorization(number, capture=True) for number in range(1, 41)]
    answers = account.gateway.authorize(requests)
    assert 1 <= sum(isinstance(answer, Unknown) for answer in answers) <= 3
    again = account.gateway.authorize(requests)
    assert [type(one) for one in again].count(Unknown) <= 2  # a 500 that is repeated with its key
    for request, answer in zip(requests, again, strict=True):
        if not isinstance(answer, Unknown):
            (found,) = account.gateway.find([Lookup(request.payment, answer.reference)])
            assert found.reference == answer.reference
    assert all(len(account.booked(number)) <= 2 for number in range(1, 41))


def test_a_stranger_gets_nothing_and_it_is_logged(account, caplog):
    stranger = account.stranger()
    assert isinstance(stranger.authorize([account.authorization()])[0], Unknown)
    assert isinstance(stranger.find([Lookup("order-1-a1b2c3", "" if account.looks_up else "T1")])[0], Unknown)
    assert "refuses us" in caplog.text
    stranger.provider.close()
    assert account.booked() == []


def test_an_unknown_payment_is_not_found(account):
    for reference in ("", "pi_nothing"):
        assert account.gateway.find([Lookup("order-99-nothing", reference)]) == [NotFound()]
    for key, ask in (("capture", account.gateway.capture), ("refund", account.gateway.refund)):
        assert isinstance(ask([account.operation("nothing", key, 99)])[0], Refused)


def test_notifications_are_the_providers_and_name_the_payment(account):
    captured(account)
    if not account.tells:
        with pytest.raises(Forged):
            account.gateway.read_notification({}, b'{"orderId": "order-1-a1b2c3"}')
        return
    told = [account.gateway.read_notification(lower(headers), body) for headers, body in account.stand_in.notifications]
    assert told
    assert {one.payment for one in told} == {"order-1-a1b2c3"}
    assert len({one.event_id for one in told}) == len(told)
    headers, body = account.stand_in.notifications[-1]
    assert account.gateway.read_notification(lower(headers), body) == told[-1]  # the same one comes twice
    for forged in (b"", b"{}", b"[]", b"null", body[:-1], b"\xff"):
        with pytest.raises(Forged):
            account.gateway.read_notification(lower(headers), forged)


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def test_the_statement_says_what_the_books_say(account):
    if not account.lists:
        with pytest.raises(NotImplementedError):
            account.gateway.statement(datetime.now(UTC).date())
        return
    references = [captured(account, number) for number in (1, 2)]
    account.gateway.refund([account.operation(references[1], "refund", 2, 5_000)])
    today = datetime.now(UTC).date()
    lines = [
        line for day in (0, 1) for line in account.gateway.statement(today + timedelta(days=day))
    ]  # or tomorrow's there
    assert sorted((line.reference, line.kind, line.amount, line.currency) for line in lines) == sorted(
        [(one, Kind.CAPTURE, AMOUNT, CURRENCY) for one in references] + [(references[1], Kind.REFUND, 5_000, CURRENCY)]
    )
    assert {line.payment for line in lines} <= {"", "order-1-a1b2c3", "order-2-a1b2c3"}
    assert not list(account.gateway.statement(today - timedelta(days=9)))
