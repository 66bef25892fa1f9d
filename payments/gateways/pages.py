"""The sandbox gateways' own payment page: what waits for a customer there, and what the customer decides."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from fastdb.bulk import insert_rows
from payments.gateways.base import (
    ActionRequired,
    Authorization,
    Authorized,
    Authorizing,
    Captured,
    Declined,
    State,
    Waiting,
)
from payments.models import GatewayLedger, PaymentOperation, SandboxPage
from shop.contracts.reasons import PAYMENT_DECLINED

PAGE_OPEN, DEPOSIT_OPEN = timedelta(minutes=15), timedelta(days=7)
ACCOUNT = {"bank": "Sandbox Bank", "account": "110-123-456789", "holder": "Sandbox"}
GIVEN_UP = Declined(f"{PAYMENT_DECLINED}: given up on the payment page")
Decision, Kind = SandboxPage.Decision, PaymentOperation.Kind


def open_pages(gateway: str, requests: Sequence[Authorization], *, deposits: Iterable[str]) -> dict[str, Authorizing]:
    """Have payments wait for their customers, those in `deposits` for a transfer; how they wait, by payment."""
    rows, transfers = [], set(deposits)
    for request in requests:
        is_deposit = request.payment in transfers
        rows.append(
            {
                "gateway": gateway,
                "payment": request.payment,
                "key": request.key,
                "amount": request.amount,
                "currency": request.currency,
                "capture": request.capture,
                "deposit": is_deposit,
                "url": request.return_url().replace("/return/", "/sandbox/"),
                "until": timezone.now() + (DEPOSIT_OPEN if is_deposit else PAGE_OPEN),
            }
        )
    insert_rows(SandboxPage, rows, then="ON CONFLICT (gateway, payment) DO NOTHING")
    return answers(gateway, [request.payment for request in requests])


def answers(gateway: str, payments: Sequence[str]) -> dict[str, Authorizing]:
    """How the payments among these that have a page wait, or what was decided there."""
    pages = SandboxPage.objects.filter(gateway=gateway, payment__in=payments)
    return {page.payment: _answer(page) for page in pages}


def states(gateway: str, payments: Sequence[str]) -> dict[str, State]:
    """What has happened to those of the payments that have a page and are not paid."""
    found = {}
    for page in SandboxPage.objects.filter(gateway=gateway, payment__in=payments).exclude(decision=Decision.PAID):
        answer = _answer(page)
        waits = answer if isinstance(answer, ActionRequired | Waiting) else None
        found[page.payment] = State(f"sandbox-{page.payment}", 0, 0, 0, voided=waits is None, action=waits)
    return found


def decide(gateway: str, payment: str, *, paid: bool) -> None:
    """A customer pays, or gives up. What was decided before, or comes too late, stays as it is."""
    with transaction.atomic(using="payments"):
        page = SandboxPage.objects.select_for_update().get(gateway=gateway, payment=payment)
        if page.decision != Decision.OPEN or page.until < timezone.now():
            return
        page.decision = Decision.PAID if paid else Decision.GIVEN_UP
        page.save(update_fields=["decision"])
        if paid:
            _book(page, page.key, Kind.CHARGE if page.capture else Kind.AUTHORIZE)


def void(gateway: str, keys: Mapping[str, str]) -> set[str]:
    """Close the pages of payments ({payment: key of the operation}); those of them that nobody can pay any more."""
    closed = set()
    with transaction.atomic(using="payments"):
        pages = SandboxPage.objects.filter(gateway=gateway, payment__in=list(keys)).exclude(decision=Decision.PAID)
        for page in pages.select_for_update().order_by("pk"):
            closed.add(page.payment)
            if page.decision != Decision.VOIDED:
                page.decision = Decision.VOIDED
                page.save(update_fields=["decision"])
                _book(page, keys[page.payment], Kind.VOID)
    return closed


def _book(page: SandboxPage, key: str, kind: str) -> None:
    GatewayLedger.objects.create(
        gateway=page.gateway, payment=page.payment, key=key, kind=kind, amount=page.amount, currency=page.currency
    )


def _answer(page: SandboxPage) -> Authorizing:
    reference = f"sandbox-{page.payment}"
    if page.decision == Decision.PAID:
        return Captured(reference) if page.capture else Authorized(reference)
    if page.decision != Decision.OPEN or page.until < timezone.now():
        return GIVEN_UP
    if page.deposit:
        return Waiting(reference, page.until, ACCOUNT | {"url": page.url})
    return ActionRequired(reference, page.url, page.until)
