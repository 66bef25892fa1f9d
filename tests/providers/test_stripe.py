"""Stripe: what only it does, and a second judge of its adapter, which others wrote."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from lab.providers import stripe as stand_in
from payments.gateways import (
    ActionRequired,
    Authorization,
    Authorized,
    Captured,
    Declined,
    Done,
    Forged,
    Lookup,
    Notification,
    Operation,
    Refused,
    State,
    Unknown,
)
from payments.gateways.stripe import StripeGateway
from tests.providers.accounts import AMOUNT, Account, stripe_account
from tests.support.processes import eventually


@pytest.fixture
def account() -> Iterator[Account]:
    with stripe_account() as opened:
        yield opened


@pytest.mark.parametrize(("click", "outcome"), [("pay", Authorized), ("cancel", Declined)])
def test_a_card_that_wants_to_see_its_owner(account, click, outcome):
    request = account.authorization(token="pm_card_authenticationRequired")
    (action,) = account.gateway.authorize([request])
    assert isinstance(action, ActionRequired)
    assert action.reference.startswith("pi_")
    came = account.came_back(request, action, click)
    assert isinstance(account.gateway.confirm([came])[0], outcome)
    assert bool(account.booked()) == (click == "pay")


def test_less_can_be_captured_than_was_held(account):
    reference = account.paid()
    assert account.gateway.capture([account.operation(reference, "capture", amount=20_000)]) == [Done(reference)]
    assert account.gateway.find([Lookup("", reference)]) == [State(reference, AMOUNT, 20_000, 0)]
    (more,) = account.gateway.capture([account.operation(reference, "another", amount=AMOUNT)])
    assert isinstance(more, Refused)
    (whole,) = account.gateway.refund([account.operation(reference, "refund", amount=AMOUNT)])
    assert isinstance(whole, Refused)  # more than was taken


def test_a_refund_is_found_after_its_key_was_forgotten(account):
    reference = account.paid(capture=True)
    refund = [account.operation(reference, "refund", amount=3_000)]
    assert account.gateway.refund(refund) == [Done(reference)]
    account.stand_in.books.change("DELETE FROM object WHERE kind = 'key'")  # a day later
    assert account.gateway.refund(refund) == [Done(reference)]
    assert [one for one in account.booked() if one[0] == "REFUND"] == [("REFUND", 3_000)]


def test_a_refund_that_has_failed_is_not_done_when_it_is_asked_for_again(account):
    reference = account.paid(capture=True)
    refund = [account.operation(reference, "refund", amount=3_000)]
    assert account.gateway.refund(refund) == [Done(reference)]
    (made,) = account.stand_in.books.all("refund")
    account.stand_in.books.put("refund", made["id"], made | {"status": "failed"})  # the bank has sent it back
    account.stand_in.books.change("DELETE FROM object WHERE kind = 'key'")
    assert account.gateway.refund(refund) == [Refused("PAY003: refund failed")]


@pytest.mark.parametrize("currency", ["ISK", "MGA", "UGX"])
@pytest.mark.parametrize("token", ["pm_card_visa", ""])
def test_a_currency_whose_amounts_stripe_counts_in_another_unit_is_declined(account, currency, token):
    request = replace(account.authorization(token=token, capture=True), currency=currency)
    assert isinstance(account.gateway.authorize([request])[0], Declined)
    assert not account.booked()


@pytest.mark.parametrize("changed", ["secret", "body", "age", "none"])
def test_only_stripes_notifications_are_read(account, changed, monkeypatch):
    account.paid()
    headers, body = account.stand_in.notifications[-1]
    signature = headers["Stripe-Signature"]
    if changed == "secret":
        monkeypatch.setattr(stand_in, "WEBHOOK_SECRET", "whsec_other")
        signature = stand_in.signed(body)["Stripe-Signature"]
    elif changed == "age":
        monkeypatch.setattr(time, "time", lambda now=time.time: now() - 600)
        signature = stand_in.signed(body)["Stripe-Signature"]
        monkeypatch.undo()
    elif changed == "body":
        body = body.replace(b"33000", b"33001")
    with pytest.raises(Forged):
        account.gateway.read_notification({} if changed == "none" else {"stripe-signature": signature}, body)


@pytest.mark.parametrize(
    ("data", "reference"),
    [({"object": {"object": "balance", "available": []}}, ""), ({"object": {"id": "po_1"}}, "po_1"), (None, "")],
)
def test_a_signed_event_about_something_else_names_no_payment_of_ours(account, data, reference):
    event = {"id": "evt_1", "object": "event", "type": "balance.available"} | ({"data": data} if data else {})
    body = json.dumps(event).encode()
    headers = {"stripe-signature": stand_in.signed(body)["Stripe-Signature"]}
    assert account.gateway.read_notification(headers, body) == Notification("evt_1", "", reference)


@pytest.fixture(scope="module")
def judged() -> Iterator[StripeGateway]:
    """The adapter, asking `localstripe` on a port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "localstripe", "--from-scratch", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    gateway = StripeGateway("STRIPE", {"secret_key": "sk_test_12345", "url": f"http://127.0.0.1:{port}"})
    try:
        eventually(lambda: connects(port))
        yield gateway
    finally:
        gateway.provider.close()
        process.kill()
        process.wait()


def connects(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def request(number: int, token: str = "pm_card_visa", *, capture: bool = False) -> Authorization:
    """Without a page to come back to, which `localstripe` does not know."""
    return Authorization(f"k{number}", f"order-{number}", number, AMOUNT, "KRW", token, capture)


def test_localstripe_agrees_on_a_held_payment(judged):
    (answer,) = judged.authorize([request(1)])
    assert isinstance(answer, Authorized)
    capture = Operation("c1", "order-1", answer.reference, AMOUNT, "KRW")
    assert judged.find([Lookup("", answer.reference)]) == [State(answer.reference, AMOUNT, 0, 0)]
    assert judged.capture([capture]) == [Done(answer.reference)]
    refund = replace(capture, key="r1", amount=3_000)
    assert judged.refund([refund]) == judged.refund([refund]) == [Done(answer.reference)]
    (found,) = judged.find([Lookup("", answer.reference)])
    assert (found.authorized, found.refunded, found.voided) == (AMOUNT, 3_000, False)


def test_localstripe_agrees_on_what_is_let_go_of_or_declined(judged):
    held, taken, declined, unknown = judged.authorize(
        [
            request(2),
            request(3, capture=True),
            request(4, "pm_card_chargeCustomerFail"),
            request(5, "pm_none"),
        ]
    )
    assert isinstance(taken, Captured)
    assert isinstance(declined, Declined)
    assert isinstance(unknown, Declined)
    void = Operation("v2", "order-2", held.reference, AMOUNT, "KRW")
    assert judged.void([void]) == judged.void([replace(void, key="v3")]) == [Done(held.reference)]
    (found,) = judged.find([Lookup("", held.reference)])
    assert (found.captured, found.voided) == (0, True)
    assert isinstance(judged.find([Lookup("", "pi_none")])[0], Unknown)  # it says no code, as Stripe does
