"""How a payment changes with what its gateway answers. The caller holds the row's lock, and writes it afterwards.

A payment that was voided while a request may still have been on its way is checked for another minute and a half. A
charge that lands in that time is refunded.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings

from payments import ledger
from payments.gateway_calls import Operated
from payments.gateways import (
    ActionRequired,
    Answer,
    Authorized,
    Captured,
    Declined,
    Done,
    NotFound,
    Refused,
    State,
    Unknown,
    Waiting,
)
from payments.links import return_url
from payments.models import Payment, PaymentOperation
from payments.retries import CHECKS_AFTER_VOIDING, check_now, look_again, look_at_hold, put_off
from shop.contracts.events import (
    Checkout,
    PaymentActionRequired,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentChanged,
    PaymentChangeRefused,
    PaymentCompleted,
    PaymentFailed,
    PaymentRefundCompleted,
    PaymentRefunded,
    PaymentRefundRefused,
)
from shop.contracts.reasons import NOT_GIVEN_BACK, PAYMENT_DECLINED

Status = Payment.Status
NEVER_THERE = "nothing was paid"
NOT_PAID = f"{PAYMENT_DECLINED}: not paid in time"


Charged = PaymentCompleted | PaymentAuthorized | PaymentFailed | PaymentActionRequired
PartRefund = PaymentRefundCompleted | PaymentRefundRefused | PaymentChanged | PaymentChangeRefused
Capture = PaymentCaptured | PaymentCaptureFailed
News = Charged | PaymentRefunded | PartRefund | Capture


def charged(payment: Payment, outcome: Answer | None, now: datetime) -> Charged | None:
    """Apply the gateway's answer to a charge, if it was asked; return the event that follows."""
    if payment.status == Status.VOIDED and payment.gateway:
        # A late charge: the payment was undone while the gateway was asked, by us or by a worker that died meanwhile.
        check_now(payment, now)
    elif payment.status == Status.FAILED and isinstance(outcome, Captured | Authorized):
        payment.status = Status.VOIDED  # paid after its time was over: to be given back
        check_now(payment, now)
    elif payment.status in (Status.PENDING, Status.WAITING):
        match outcome:
            case ActionRequired() | Waiting():
                return _wait(payment, outcome, now)
            case Authorized(reference) if payment.capture_later:
                authorized = PaymentAuthorized(**_going_on(payment))
                _enter(payment, ledger.Outcome.SUCCEEDED, now, reference=reference)
                _settle(payment, Status.AUTHORIZED, now)
                look_at_hold(payment, now)
                return authorized
            case Captured(reference):
                completed = PaymentCompleted(**_going_on(payment))
                _enter(payment, ledger.Outcome.SUCCEEDED, now, reference=reference)
                if payment.capture_later:  # it was to be held, and was taken all the same
                    ledger.learn(payment, State(reference, payment.amount, payment.amount, 0), now)
                _settle(payment, Status.COMPLETED, now)
                return completed
            case Declined() if ledger.open_rows(payment, ledger.Kind.VOID):
                put_off(payment, now)  # perhaps because of our void, whose answer decides
            case Declined(reason):
                _enter(payment, ledger.Outcome.REFUSED, now, reason=reason)
                _settle(payment, Status.FAILED, now)
                payment.reason = reason[:200]
                return PaymentFailed(
                    order_id=payment.order_id, reason=reason, caused_by=payment.caused_by, trace=payment.trace
                )
            case _ if payment.status == Status.WAITING and not payment.returned_with:
                look_again(payment, now)
            case _:
                put_off(payment, now)
    return None


def _going_on(payment: Payment) -> dict[str, Any]:
    """The fields of the event that takes the saga on: the money is captured, or held."""
    return {
        "order_id": payment.order_id,
        "checkout": without_token(msgspec.convert(payment.checkout, Checkout)),
        "caused_by": payment.caused_by,
        "trace": payment.trace,
    }


def _wait(payment: Payment, outcome: ActionRequired | Waiting, now: datetime) -> PaymentActionRequired | None:
    """Wait for the customer. Return the event that says what to do, unless that was said before."""
    if isinstance(outcome, Waiting):
        url, details = return_url(payment.order_id), dict(outcome.details)
    else:
        url, details = outcome.url or payment.action_url, None
    until = deadline(payment, outcome)
    is_known = (payment.status, payment.action_url) == (Status.WAITING, url)
    if is_known and payment.action_until:  # keep the first deadline: a gateway's answers may differ by a second
        until = payment.action_until
    payment.status, payment.action_url, payment.action_until = Status.WAITING, url, until
    payment.action_details, payment.token = details, ""
    payment.reference = outcome.reference or payment.reference
    look_again(payment, now)
    if is_known:
        return None
    account = details or {}
    return PaymentActionRequired(
        order_id=payment.order_id,
        user_id=payment.user_id or 0,
        url=url,
        until=until,
        amount=payment.amount,
        currency=payment.currency,
        bank=account.get("bank", ""),
        account=account.get("account", ""),
        holder=account.get("holder", ""),
        caused_by=payment.caused_by,
        trace=payment.trace,
    )


def deadline(payment: Payment, outcome: ActionRequired | Waiting) -> datetime:
    """Until when the customer may pay: the gateway's deadline or the shop's, whichever is earlier."""
    allowed: timedelta = settings.DEPOSIT_WITHIN if isinstance(outcome, Waiting) else settings.PAY_WITHIN
    return min(outcome.until, payment.created_at + allowed)


def is_over(payment: Payment, outcome: Answer, now: datetime) -> bool:
    """Whether the wait for the customer is to end: it is past its deadline, or a void is under way."""
    waits = isinstance(outcome, ActionRequired | Waiting) and deadline(payment, outcome) <= now
    return waits or bool(ledger.open_rows(payment, ledger.Kind.VOID))


def expired(payment: Payment, voids: Operated, now: datetime) -> PaymentFailed | None:
    """Apply the gateway's answer to the void that ends a wait; return the event that follows."""
    if payment.status != Status.WAITING:
        return None
    if not _voided(payment, voids, now):
        put_off(payment, now)
        return None
    _enter(payment, ledger.Outcome.REFUSED, now, reason=NOT_PAID)
    _settle(payment, Status.FAILED, now)
    payment.reason = NOT_PAID
    return PaymentFailed(order_id=payment.order_id, reason=NOT_PAID, caused_by=payment.caused_by, trace=payment.trace)


def looked_up_after_failure(payment: Payment, found: Answer, now: datetime) -> None:
    """Apply what the gateway has found of a failed payment, which was looked up because money may have come since."""
    if isinstance(found, State) and found.authorized:
        payment.status = Status.VOIDED  # to be given back
        check_now(payment, now)
    elif isinstance(found, Unknown):
        put_off(payment, now)
    else:
        payment.due_at, payment.attempts, payment.updated_at = None, 0, now


def _voided(payment: Payment, voids: Operated, now: datetime) -> bool:
    """Apply the gateway's answers to voids; whether one has succeeded."""
    for row in ledger.open_rows(payment, ledger.Kind.VOID):
        match voids[row.key].outcome if row.key in voids else None:
            case Done(reference):
                ledger.settle(row, ledger.Outcome.SUCCEEDED, now, reference=reference)
            case Refused(reason):  # perhaps paid at the last moment: `find` tells
                ledger.settle(row, ledger.Outcome.REFUSED, now, reason=reason)
    return any(row.kind == ledger.Kind.VOID and row.outcome == ledger.Outcome.SUCCEEDED for row in payment.rows)


def refunded_in_part(payment: Payment, refunds: Operated, now: datetime) -> list[PartRefund]:
    """Apply the gateway's answers to partial refunds; return the events that follow."""
    followers: list[PartRefund] = []
    for row in ledger.open_rows(payment, ledger.Kind.REFUND):
        is_part = ledger.part_of(row) or ledger.part_of(row, ledger.CHANGE)
        match refunds[row.key].outcome if is_part and row.key in refunds else None:
            case Done(reference):
                ledger.settle(row, ledger.Outcome.SUCCEEDED, now, reference=reference)
                followers.append(_given_back(payment, row))
            case Refused(reason):
                ledger.settle(row, ledger.Outcome.REFUSED, now, reason=reason)
                followers.append(not_given_back(payment, row, reason))
    ledger.add_up(payment)
    if followers:
        payment.updated_at = now
    if payment.status == Status.COMPLETED:
        if ledger.open_rows(payment, ledger.Kind.REFUND):
            put_off(payment, now)
        else:
            payment.due_at, payment.attempts, payment.updated_at = None, 0, now
    return followers


def whose(payment: Payment) -> dict[str, Any]:
    """The fields of refund events that say who is told, and the currency."""
    return {"user_id": payment.user_id or 0, "currency": payment.currency}


def _given_back(payment: Payment, row: PaymentOperation) -> PartRefund:
    if change_id := ledger.part_of(row, ledger.CHANGE):
        return PaymentChanged(
            order_id=payment.order_id, change_id=change_id, caused_by=row.caused_by, trace=payment.trace
        )
    for_return = ledger.RETURN in row.key
    return PaymentRefundCompleted(**_about_part(payment, row), **whose(payment), for_return=for_return)


def not_given_back(payment: Payment, row: PaymentOperation, reason: str) -> PartRefund:
    """The event that says that a partial refund was refused."""
    if change_id := ledger.part_of(row, ledger.CHANGE):
        return PaymentChangeRefused(
            order_id=payment.order_id,
            change_id=change_id,
            reason=NOT_GIVEN_BACK,
            caused_by=row.caused_by,
            trace=payment.trace,
        )
    return PaymentRefundRefused(**_about_part(payment, row), reason=reason)


def _about_part(payment: Payment, row: PaymentOperation) -> dict[str, Any]:
    return {
        "order_id": payment.order_id,
        "refund_id": ledger.part_of(row),
        "amount": row.amount,
        "caused_by": row.caused_by,
        "trace": payment.trace,
    }


def undone(payment: Payment, found: Answer | None, operated: Operated, now: datetime) -> PaymentRefunded | None:
    """Apply what the gateway has `found` of a payment that is being undone, if it was asked, and its answers to voids
    and refunds; return the event that follows.

    Nothing follows from a payment voided before: `PaymentRefunded` was emitted then.
    """
    if payment.status not in (Status.REFUNDING, Status.VOIDED):
        return None
    open_until_now = payment.status == Status.REFUNDING
    if isinstance(found, State):
        ledger.learn(payment, found, now)
    for row in ledger.open_rows(payment, ledger.Kind.REFUND):
        match operated[row.key].outcome if row.key in operated else None:
            case Done(reference):
                ledger.settle(row, ledger.Outcome.SUCCEEDED, now, reference=reference)
    over = isinstance(found, State) and found.voided and not found.captured
    nothing_taken = _voided(payment, operated, now) or isinstance(found, NotFound) or over
    if isinstance(found, NotFound):
        _close_voids(payment, now)
    open_voids = ledger.open_rows(payment, ledger.Kind.VOID)
    ledger.add_up(payment)
    if payment.captured and payment.captured == payment.refunded:
        _close_voids(payment, now)
        _settle(payment, Status.REFUNDED, now)
        payment.refunded_at = now
    elif nothing_taken and not payment.captured and open_until_now:
        if not payment.authorized:
            _enter(payment, ledger.Outcome.REFUSED, now, reason=NEVER_THERE)
        for row in ledger.open_rows(payment, ledger.Kind.CAPTURE):
            ledger.settle(row, ledger.Outcome.REFUSED, now)
        _settle(payment, Status.VOIDED, now)
        put_off(payment, now)  # not yet the end: a charge on its way may still land
    elif nothing_taken and not payment.captured and payment.attempts >= CHECKS_AFTER_VOIDING and not open_voids:
        _settle(payment, Status.VOIDED, now)
        return None
    else:
        put_off(payment, now)
        return None
    return refunded(payment) if open_until_now else None


def refunded(payment: Payment) -> PaymentRefunded:
    """The event that ends an undo."""
    return PaymentRefunded(
        order_id=payment.order_id, reason=payment.reason, caused_by=payment.caused_by, trace=payment.trace
    )


def without_token(checkout: Checkout) -> Checkout:
    """What goes on after the charge: nobody needs the token any more."""
    return msgspec.structs.replace(checkout, payment_token="")  # nosec B106


def forget_token(payment: Payment) -> None:
    """Remove what a charge needs: only PENDING payments are ever charged."""
    payment.token, payment.checkout, payment.action_url = "", None, ""
    payment.action_details = payment.returned_with = None


def _close_voids(payment: Payment, now: datetime) -> None:
    """Settle open voids as refused: the gateway has said since that it voided nothing."""
    for row in ledger.open_rows(payment, ledger.Kind.VOID):
        ledger.settle(row, ledger.Outcome.REFUSED, now, reason=row.reason)


def _enter(payment: Payment, outcome: str, now: datetime, *, reference: str = "", reason: str = "") -> None:
    """Enter what became of the charge."""
    if row := ledger.first(payment):
        ledger.settle(row, outcome, now, reference=reference, reason=reason)
    if outcome == ledger.Outcome.SUCCEEDED:
        _close_voids(payment, now)
    payment.reference = reference or payment.reference
    ledger.add_up(payment)


def _settle(payment: Payment, status: str, now: datetime) -> None:
    forget_token(payment)
    payment.status, payment.due_at, payment.attempts, payment.updated_at = status, None, 0, now
