"""Money that is held when an order is placed, and taken when the carrier has the parcel (PAYMENT_CAPTURE=at_hand_over).

A capture that a gateway refuses has failed only when the gateway says, asked for the payment, that nothing was taken.
Then the payment is UNPAID. The parcel is called back if that is still possible, and the payment undone; otherwise it is
for staff to try again or to write it off.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from fastdb.clock import database_time
from payments import ledger
from payments.gateway_calls import Operated, capture
from payments.gateways import Answer, Done, NotFound, Refused, State
from payments.models import Payment
from payments.retries import check_now, look_at_hold, put_off
from payments.rows import lock, log, save
from payments.transitions import Capture, PartRefund, not_given_back
from sagas import emit
from sagas.crash_points import crash_point
from shop import stafflog
from shop.contracts.events import (
    DeliveryPaymentDue,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentRefundRefused,
    PaymentWrittenOff,
)
from shop.contracts.reasons import NOT_CAPTURED

Status = Payment.Status
Followed = Capture | PaymentRefundRefused
HELD = (Status.AUTHORIZED, Status.CAPTURING)


# --- At hand-over -----------------------------------------------------------------------------------------------------
def ask_for_captures(order_ids: Sequence[int]) -> Operated:
    """Enter captures of what is held for these orders, then have the gateways make them. Outside any transaction."""
    with transaction.atomic(using="payments", durable=True):
        held = [payment for payment in lock(order_ids) if payment.status == Status.AUTHORIZED]
        for payment in held:
            ledger.intend_capture(payment)
        ledger.write(held)
        crash_point("capture.written")
    crash_point("capture.committed")
    return capture(held)


def keep_captures(due: Sequence[DeliveryPaymentDue], answers: Operated) -> list[Followed]:
    """Record the gateways' answers; return the events that follow. What is still unknown is left to `settling`.

    A payment that was captured at once, is being undone, or has failed is skipped: its outcome was emitted then.
    """
    now = database_time("payments")
    payments = {payment.order_id: payment for payment in lock(event.order_id for event in due)}
    followers: list[Followed] = []
    for event in due:
        payment = payments.get(event.order_id)
        if payment is None or payment.status != Status.AUTHORIZED:
            continue
        ledger.intend_capture(payment)
        payment.status, payment.caused_by, payment.trace = Status.CAPTURING, event.event_id, event.trace
        check_now(payment, now)
        followers += captured(payment, answers, now)
    save(payments.values(), now)
    log(payments, answers)
    return followers


# --- What the gateways say --------------------------------------------------------------------------------------------
def captured(payment: Payment, operated: Operated, now: datetime) -> list[PaymentCaptured]:
    """Apply the gateway's answers to captures; the events that follow."""
    rows = [row for row in ledger.open_rows(payment, ledger.Kind.CAPTURE) if row.key in operated]
    for row in rows:
        match operated[row.key].outcome:
            case Done(reference):
                ledger.settle(row, ledger.Outcome.SUCCEEDED, now, reference=reference)
            case Refused(reason):
                ledger.settle(row, ledger.Outcome.REFUSED, now, reason=reason)
            case _:
                put_off(payment, now)
                return []
    if not rows:
        return []
    ledger.add_up(payment)
    if payment.status == Status.CAPTURING and payment.captured:
        return [_taken(payment, now)]
    check_now(payment, now)  # refused, or undone in the meantime: the gateway is to say how it stands
    return []


def is_refused(payment: Payment) -> bool:
    """Whether a capture was refused, and the gateway must be asked whether the money was captured all the same."""
    return payment.status == Status.CAPTURING and not ledger.open_rows(payment, ledger.Kind.CAPTURE)


def looked_up(payment: Payment, found: Answer, now: datetime, *, since_refusal: bool) -> list[Capture | PartRefund]:
    """Apply what the gateway has found of a payment that is held, or whose capture was refused.

    That nothing was taken counts only if it was asked after the refusal.
    """
    if isinstance(found, State):
        ledger.learn(payment, found, now)
    if payment.captured:
        return [_taken(payment, now)]
    if isinstance(found, State) and found.voided:
        return _lost(payment, now)
    if since_refusal and is_refused(payment) and isinstance(found, State | NotFound):
        return _lost(payment, now)
    (look_at_hold if payment.status == Status.AUTHORIZED else put_off)(payment, now)
    return []


def _taken(payment: Payment, now: datetime) -> PaymentCaptured:
    check_now(payment, now)
    payment.status, payment.reason = Status.COMPLETED, ""
    if not ledger.open_rows(payment, ledger.Kind.REFUND):  # that staff wanted while it was being taken
        payment.due_at = None
    return PaymentCaptured(
        **_about(payment), user_id=payment.user_id or 0, amount=payment.captured, currency=payment.currency
    )


def _lost(payment: Payment, now: datetime) -> list[Capture | PartRefund]:
    """Nothing was captured, nor can be. Refunds that staff requested meanwhile are refused."""
    refused: list[Capture | PartRefund] = []
    for row in ledger.open_rows(payment, ledger.Kind.REFUND):
        if ledger.part_of(row):
            ledger.settle(row, ledger.Outcome.REFUSED, now, reason=NOT_CAPTURED)
            refused.append(not_given_back(payment, row, NOT_CAPTURED))
    payment.status, payment.reason = Status.UNPAID, NOT_CAPTURED
    payment.due_at, payment.attempts, payment.updated_at = None, 0, now
    return [*refused, PaymentCaptureFailed(**_about(payment), reason=NOT_CAPTURED)]


def _about(payment: Payment) -> dict[str, Any]:
    return {"order_id": payment.order_id, "caused_by": payment.caused_by, "trace": payment.trace}


# --- What staff do about it -------------------------------------------------------------------------------------------
def capture_again(payment_ids: Iterable[int]) -> int:
    """Have the timer try once more to capture unpaid payments; return how many."""
    with transaction.atomic(using="payments", durable=True):
        payments = _unpaid(payment_ids)
        now = database_time("payments")
        for payment in payments:
            ledger.intend_capture(payment)
            payment.status = Status.CAPTURING
            check_now(payment, now)
            stafflog.record("payments", "capture again", f"payment {payment.pk}", before={"status": Status.UNPAID})
        save(payments, now)
    return len(payments)


def write_off(payment_ids: Iterable[int], reason: str) -> int:
    """Write off unpaid payments, which settles their orders; return how many. Only staff read the reason: the payment's
    own is shown to its customer."""
    with transaction.atomic(using="payments", durable=True):
        payments = _unpaid(payment_ids)
        now = database_time("payments")
        for payment in payments:
            payment.status, payment.updated_at = Status.WRITTEN_OFF, now
            after = {"status": payment.status, "reason": reason}
            stafflog.record(
                "payments", "write off", f"payment {payment.pk}", before={"status": Status.UNPAID}, after=after
            )
        save(payments, now)
        if payments:
            emit(*(PaymentWrittenOff(**_about(payment)) for payment in payments), service="payments")
    return len(payments)


def _unpaid(payment_ids: Iterable[int]) -> list[Payment]:
    orders = Payment.objects.filter(pk__in=list(payment_ids)).values_list("order_id", flat=True)
    return [payment for payment in lock(orders) if payment.status == Status.UNPAID]
