"""How a payment changes with what its gateway answers. The caller holds the row's lock, and writes it afterwards.

A payment that was voided while a request may still have been on its way is checked for another half minute. A charge
that lands in that time is refunded.
"""

from datetime import datetime

import msgspec

from payments import ledger
from payments.gateway_calls import Operated
from payments.gateways import Answer, Captured, Declined, Done, NotFound, State
from payments.models import Payment
from payments.retries import CHECKS_AFTER_VOIDING, check_now, put_off
from shop.contracts.events import Checkout, PaymentCompleted, PaymentFailed, PaymentRefunded

Status = Payment.Status
NEVER_THERE = "the gateway knows of no such payment"


def charged(payment: Payment, outcome: Answer | None, now: datetime) -> PaymentCompleted | PaymentFailed | None:
    """Apply the gateway's answer to a charge, if it was asked; return the event that follows."""
    if payment.status == Status.VOIDED and payment.gateway:
        # A late charge: the payment was undone while the gateway was asked, by us or by a worker that died meanwhile.
        check_now(payment, now)
    elif payment.status == Status.PENDING:
        match outcome:
            case Captured(reference):
                completed = PaymentCompleted(
                    order_id=payment.order_id,
                    checkout=without_token(msgspec.convert(payment.checkout, Checkout)),
                    caused_by=payment.caused_by,
                    trace=payment.trace,
                )
                _enter(payment, ledger.Outcome.SUCCEEDED, now, reference=reference)
                _settle(payment, Status.COMPLETED, now)
                return completed
            case Declined(reason):
                _enter(payment, ledger.Outcome.REFUSED, now, reason=reason)
                _settle(payment, Status.FAILED, now)
                payment.reason = reason[:200]
                return PaymentFailed(
                    order_id=payment.order_id, reason=reason, caused_by=payment.caused_by, trace=payment.trace
                )
            case _:
                put_off(payment, now)
    return None


def undone(payment: Payment, found: Answer | None, refunds: Operated, now: datetime) -> PaymentRefunded | None:
    """Apply what the gateway has `found` of a payment that is being undone, if it was asked, and its answers to
    refunds; return the event that follows.

    Nothing follows from a payment voided before: `PaymentRefunded` was emitted then.
    """
    if payment.status not in (Status.REFUNDING, Status.VOIDED):
        return None
    open_until_now = payment.status == Status.REFUNDING
    if isinstance(found, State):
        ledger.learn(payment, found, now)
    for row in ledger.open_rows(payment, ledger.Kind.REFUND):
        match refunds[row.key].outcome if row.key in refunds else None:
            case Done(reference):
                ledger.settle(row, ledger.Outcome.SUCCEEDED, now, reference=reference)
    ledger.add_up(payment)
    if payment.captured and payment.captured == payment.refunded:
        _settle(payment, Status.REFUNDED, now)
        payment.refunded_at = now
    elif isinstance(found, NotFound) and not payment.captured and open_until_now:
        _enter(payment, ledger.Outcome.REFUSED, now, reason=NEVER_THERE)
        _settle(payment, Status.VOIDED, now)
        put_off(payment, now)  # not yet the end: a charge on its way may still land
    elif isinstance(found, NotFound) and not payment.captured and payment.attempts >= CHECKS_AFTER_VOIDING:
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
    """Keep nothing that charges somebody: what is not PENDING is never charged again."""
    payment.token, payment.checkout = "", None


def _enter(payment: Payment, outcome: str, now: datetime, *, reference: str = "", reason: str = "") -> None:
    """Enter what became of the charge."""
    if row := ledger.first(payment):
        ledger.settle(row, outcome, now, reference=reference, reason=reason)
    payment.reference = reference or payment.reference
    ledger.add_up(payment)


def _settle(payment: Payment, status: str, now: datetime) -> None:
    forget_token(payment)
    payment.status, payment.due_at, payment.attempts, payment.updated_at = status, None, 0, now
