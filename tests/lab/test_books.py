"""What chaos says of providers whose books do not agree with our ledger, at the stand-ins."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.chaos.books import Compared, compare
from orders.models import Order
from payments import gateways
from payments.models import Payment
from tests.providers.accounts import ACCOUNTS, AMOUNT, Account, entered, operation

pytestmark = pytest.mark.django_db(databases=["orders", "payments"])


@pytest.fixture(params=sorted(ACCOUNTS))
def account(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[Account]:
    with ACCOUNTS[request.param]() as found:
        settings.PAYMENT_GATEWAYS = {found.gateway.name: None}
        monkeypatch.setattr(gateways, "_made", {found.gateway.name: found.gateway})
        yield found


def test_what_differs_is_found(account: Account, tmp_path: Path):
    def compared() -> Compared:
        (found,) = compare({account.gateway.name: account.stand_in}, tmp_path)
        return found

    def refund(number: int, amount: int, key: str) -> None:
        account.gateway.refund([account.operation(references[number], key, number, amount)])

    for number in (1, 2):
        Order.objects.create(pk=number, user_id=1, currency="KRW", total_price=AMOUNT, payment_gateway="X")
    references = {number: account.paid(number, capture=True) for number in (1, 2)}
    payments = {number: entered(account, number, references[number]) for number in (1, 2)}
    refund(2, AMOUNT, "undo")
    operation(payments[2], "REFUND", AMOUNT)
    Payment.objects.filter(pk=payments[2].pk).update(refunded=AMOUNT)
    Order.objects.filter(pk=2).update(status="CANCELLED")
    assert compared()._replace(gateway="") == Compared("", 3, 2 * AMOUNT, AMOUNT, 0, AMOUNT, [])

    refund(1, 5_000, "by somebody else")
    account.paid(3, capture=True)  # of which we know nothing
    Order.objects.filter(pk=1).update(status="CANCELLED")
    held = [f"{AMOUNT} is held for order-4-a1b2c3"] if account.gateway.capabilities.separate_capture else []
    if held:
        account.paid(4)
    found = compared()
    assert (found.kept, found.kept_here, found.held) == (2 * AMOUNT - 5_000, AMOUNT, AMOUNT * len(held))
    stranger = found.differences[0].split(":")[1]
    assert stranger.startswith(" capture of ")
    assert sorted(found.differences[1:]) == sorted(
        [
            "missing_here: refund of order 1: ours None, theirs 5000",
            f"{AMOUNT - 5_000} is kept for cancelled order 1",
            *held,
        ]
    )
