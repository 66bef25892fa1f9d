"""`manage.py reconcile` reads the statements of the providers, at their stand-ins, and finds what differs."""

import json
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import date, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from payments import gateways
from payments.models import Reconciliation
from tests.providers.accounts import ACCOUNTS, AMOUNT, Account, entered, operation

pytestmark = pytest.mark.django_db(databases=["payments"])

LISTING = ["naver", "stripe", "toss"]


@pytest.fixture
def account(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[Account]:
    with ACCOUNTS[request.param]() as found:
        settings.PAYMENT_GATEWAYS = {found.gateway.name: None}
        monkeypatch.setattr(gateways, "_made", {found.gateway.name: found.gateway})
        yield found


def today(account: Account) -> date:
    return datetime.now(account.gateway.zone).date()


def reconciled(account: Account, day: date) -> dict[str, Any]:
    printed = StringIO()
    with suppress(SystemExit):  # of differences
        call_command("reconcile", "--gateway", account.gateway.name, "--day", str(day), "--json", stdout=printed)
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


@pytest.mark.parametrize("account", LISTING, indirect=True)
def test_planted_differences_are_found_by_the_api(account: Account):
    began = today(account)
    references = {number: account.paid(number, capture=True) for number in (1, 2, 3, 5, 6)}
    for number in (2, 6):
        account.gateway.refund([account.operation(references[number], f"refund-{number}", number, 5_000)])
    entered(account, 1, references[1])
    operation(entered(account, 2, references[2]), "REFUND", 5_000)
    entered(account, 4)  # never charged there
    entered(account, 5, references[5], AMOUNT - 1)
    entered(account, 6, references[6])  # its refund is not entered; of order 3 we know nothing
    days = sorted({began, today(account)})  # midnight may have passed
    found = [one for day in days for one in reconciled(account, day)["differences"]]
    assert sorted((one["kind"], one["movement"], one["orderId"], one["ours"], one["theirs"]) for one in found) == [
        ("MISSING_HERE", "CAPTURE", None, None, AMOUNT),
        ("MISSING_HERE", "REFUND", 6, None, 5_000),
        ("MISSING_THERE", "CAPTURE", 4, AMOUNT, None),
        ("OTHER_AMOUNT", "CAPTURE", 5, AMOUNT - 1, AMOUNT),
    ]
    assert {one["reference"] for one in found if one["orderId"] is None} == {references[3]}


@pytest.mark.parametrize("account", LISTING, indirect=True)
def test_without_an_answer_nothing_is_compared(account: Account, monkeypatch: pytest.MonkeyPatch):
    stranger: Any = account.stranger()
    monkeypatch.setattr(gateways, "_made", {account.gateway.name: stranger})
    with (
        closing(stranger.provider),
        pytest.raises(CommandError, match=r"has not given its books of .* Nothing was compared"),
    ):
        reconciled(account, today(account))
    assert not Reconciliation.objects.exists()


@pytest.mark.parametrize("account", ["kakao"], indirect=True)
def test_a_provider_without_a_list_needs_a_file(account: Account):
    with pytest.raises(CommandError, match="KakaoPay lists no payments: take its settlement file"):
        reconciled(account, today(account))
