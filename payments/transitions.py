"""How a payment changes with what its gateway answers. The caller holds the row's lock, and writes it afterwards.

A payment that was voided while a request may still have been on its way is checked for another half minute. A charge
that lands in that time is refunded.
"""

from datetime import datetime

import msgspec

from payments.gateways import Answer, Captured, Declined, Done, NotFound, State
from payments.models import Payment
from payments.retries import CHECKS_AFTER_VOIDING, check_now, put_off
from shop.contracts.events import Checkout, PaymentCompleted, PaymentFailed, PaymentRefunded

Status = Payment.Status


def charged(payment: Payment, outcome: Answer | None, now: datetime) -> PaymentCompleted | PaymentFailed | None:
    """Apply the gateway's answer to a charge, if it was asked; return the event that follows."""
    if payment.status == Status.VOIDED and payment.gateway:
        # A late charge: the payment was undone while the gateway was asked, by us or by a worker that died meanwhile.
        check_now(payment, now)
    elif payment.status == Status.PENDING:
        match outcome:
            case Captured():
                completed = PaymentCompleted(
                    order_id=payment.order_id,
                    checkout=without_token(msgspec.convert(payment.checkout, Checkout)),
                    caused_by=payment.caused_by,
                    trace=payment.trace,
                )
                _settle(payment, Status.COMPLETED, now)
                return completed
            case Declined(reason):
                _settle(payment, Status.FAILED, now)
                payment.reason = reason[:200]
                return PaymentFailed(
                    order_id=payment.order_id, reason=reason, caused_by=payment.caused_by, trace=payment.trace
                )
            case _:
                put_off(payment, now)
    return None


def undone(payment: Payment, outcome: Answer, now: datetime) -> PaymentRefunded | None:
    """Apply the gateway's answer to a payment that is being undone; return the event that follows.

    Nothing follows from a payment voided before: `PaymentRefunded` was emitted then.
    """
    if payment.status not in (Status.REFUNDING, Status.VOIDED):
        return None
    open_until_now = payment.status == Status.REFUNDING
    match outcome:
        case Done():
            _settle(payment, Status.REFUNDED, now)
            payment.refunded_at = now
        case State() if outcome.captured and outcome.captured == outcome.refunded:
            _settle(payment, Status.REFUNDED, now)
            payment.refunded_at = now
        case NotFound() if open_until_now:
            _settle(payment, Status.VOIDED, now)
            put_off(payment, now)  # not yet the end: a charge on its way may still land
        case NotFound() if payment.attempts >= CHECKS_AFTER_VOIDING:
            _settle(payment, Status.VOIDED, now)
            return None
        case _:
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


def _settle(payment: Payment, status: str, now: datetime) -> None:
    forget_token(payment)
    payment.status, payment.due_at, payment.attempts, payment.updated_at = status, None, 0, now
