"""The rules of payments, and the only code that writes them.

Three rules carry the rest:

- A payment, and each operation on it, is written before a gateway is asked, so that no money moves without a record
  (`payments/ledger.py`).
- An unknown outcome is neither compensated nor taken for a failure: the payment gets a `due_at`, and the timer asks
  until the gateway knows (`payments/settling.py`). If the process dies before that, the message is redelivered.
- A gateway's answer is applied to the payment as it is by then, under its row lock, by the rules of
  `payments/transitions.py`. Rows are locked in the order of their orders.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from django.db import transaction

from fastdb.bulk import insert_if_absent, insert_rows
from fastdb.clock import database_time
from payments import ledger, transitions
from payments.gateway_calls import Answers, Operated, captures_later, charge, refund
from payments.gateways import Captured
from payments.models import Payment
from payments.names import new_names
from payments.retries import check_now
from payments.rows import lock, log, save
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from shop.contracts.events import (
    DeliveryCancelled,
    DeliveryFailed,
    DeliveryHeld,
    InventoryReserved,
    OrderRefundRequested,
    PaymentChanged,
    PaymentChangeRefused,
    PaymentCompleted,
    PaymentRefundCompleted,
    PaymentRefunded,
    PaymentRefundRefused,
)
from shop.contracts.reasons import NOT_SO_MUCH, NOT_TO_LEAVE

Status = Payment.Status

# What may be held or taken at a gateway, or is about to be.
UNDONE_BY_ASKING = (
    Status.PENDING, Status.WAITING, Status.AUTHORIZED, Status.CAPTURING, Status.UNPAID, Status.WRITTEN_OFF,
    Status.COMPLETED,
)  # fmt: skip
CHANGED = "the order was changed"  # why a part is given back, in the books


# SQL, for these run with every message, and the ORM takes longer to build them than PostgreSQL to execute them.
# For existing rows return only PENDING ones. The no-op update makes RETURNING work and keeps due_at.
TO_BE_CHARGED = """
    ON CONFLICT (order_id) DO UPDATE SET due_at = payments_payment.due_at WHERE payments_payment.status = 'PENDING'
    RETURNING id, order_id, gateway, idempotency_key, amount, currency, token, capture_later
"""
INTENDED = """
    WITH intended AS ({}), entered AS (
        INSERT INTO payments_paymentoperation (payment_id, kind, key, amount, currency)
        SELECT id, CASE WHEN capture_later THEN 'AUTHORIZE' ELSE 'CHARGE' END, idempotency_key, amount, currency
        FROM intended ORDER BY id
        ON CONFLICT (payment_id, key) DO NOTHING
    )
    SELECT order_id, gateway, idempotency_key, amount, currency, token, capture_later FROM intended
"""
# Locks all of a batch, in order, and completes those of it that were charged.
COMPLETE = """
    WITH locked AS (
        SELECT id, status, charged, said
        FROM unnest(%(orders)s::bigint[], %(charged)s::bool[], %(references)s::text[]) AS asked (ordered, charged, said)
        JOIN payments_payment ON order_id = ordered ORDER BY order_id FOR UPDATE OF payments_payment
    ), completed AS (
        UPDATE payments_payment AS payment SET status = 'COMPLETED', reference = said, authorized = amount,
            captured = amount, token = '', checkout = NULL, due_at = NULL, attempts = 0, updated_at = clock_timestamp()
        FROM locked WHERE payment.id = locked.id AND locked.status = 'PENDING' AND charged
            AND NOT payment.capture_later
        RETURNING payment.id, order_id, idempotency_key, reference
    ), entered AS (
        UPDATE payments_paymentoperation AS entry
        SET outcome = 'SUCCEEDED', reference = completed.reference, settled_at = clock_timestamp()
        FROM completed WHERE payment_id = completed.id AND key = idempotency_key
    )
    SELECT order_id FROM completed
"""


# --- Charging ---------------------------------------------------------------------------------------------------------
class ToCharge(NamedTuple):
    """A payment that a gateway is to be asked about."""

    order_id: int
    gateway: str
    idempotency_key: str
    amount: int
    currency: str
    token: str
    capture_later: bool
    reference: str = ""  # the gateway has given none yet


def ask_for_charges(reserved: Sequence[InventoryReserved]) -> Answers:
    """Record that these orders are to be charged, then have the gateways charge those that are still PENDING.

    Outside any transaction. An order that was undone before it came here is not charged, nor is one that costs nothing.
    """
    priced = [event for event in reserved if event.checkout.amount]
    later = {name: captures_later(name) for name in {event.checkout.payment_gateway for event in priced}}
    names = new_names(event.order_id for event in priced)
    intents = [
        {
            "order_id": event.order_id,
            "idempotency_key": names[event.order_id],
            "user_id": event.checkout.user_id,
            "amount": event.checkout.amount,
            "currency": event.checkout.currency,
            "gateway": event.checkout.payment_gateway,
            "token": event.checkout.payment_token,
            "capture_later": later[event.checkout.payment_gateway],
            "status": Status.PENDING,
            "caused_by": event.event_id,
            "trace": event.trace,
        }
        for event in sorted(priced, key=lambda event: event.order_id)
    ]
    to_charge = [ToCharge(*row) for row in insert_rows(Payment, intents, then=TO_BE_CHARGED, around=INTENDED)]
    crash_point("charge.intended")
    return charge(to_charge)


def keep_charges(reserved: Sequence[InventoryReserved], answers: Answers) -> list[transitions.Charged]:
    """Record the gateways' answers; return the events that follow. What is still unknown is left to `settling`.

    Raises KeyError for an order that `ask_for_charges` was not told of.
    """
    priced = [event for event in reserved if event.checkout.amount]
    orders = [event.order_id for event in priced]
    taken = {
        order_id: asked.outcome.reference for order_id, asked in answers.items() if isinstance(asked.outcome, Captured)
    }
    rows = {
        "orders": orders,
        "charged": [one in taken for one in orders],
        "references": [taken.get(one, "") for one in orders],
    }
    # Inserted before the others are locked, as `undo` does.
    free = _complete_free([event for event in reserved if not event.checkout.amount])
    completed = {order_id for (order_id,) in query("payments", COMPLETE, rows)}
    followers: list[transitions.Charged] = [
        PaymentCompleted(order_id=event.order_id, checkout=transitions.without_token(event.checkout))
        for event in reserved
        if event.order_id in completed or event.order_id in free
    ]
    others = [event for event in priced if event.order_id not in completed]
    return followers + (_keep_one_by_one(others, answers) if others else [])


def _complete_free(reserved: Sequence[InventoryReserved]) -> Collection[int]:
    """Complete the payments of orders that cost nothing; return those that were not undone before."""
    names = new_names(event.order_id for event in reserved)
    rows = [
        {
            "order_id": event.order_id,
            "idempotency_key": names[event.order_id],
            "user_id": event.checkout.user_id,
            "currency": event.checkout.currency,
            "status": Status.COMPLETED,
            "caused_by": event.event_id,
            "trace": event.trace,
        }
        for event in reserved
    ]
    return insert_if_absent(Payment, rows, key="order_id").keys()


def _keep_one_by_one(reserved: Sequence[InventoryReserved], answers: Answers) -> list[transitions.Charged]:
    """Apply the answers to payments as they are by now: declined, left open, or undone in the meantime."""
    now = database_time("payments")
    payments = {payment.order_id: payment for payment in lock(event.order_id for event in reserved)}
    followers = []
    for event in reserved:
        payment, asked = payments[event.order_id], answers.get(event.order_id)
        if payment.status == Status.PENDING:
            payment.checkout = event.checkout
        followers.append(transitions.charged(payment, asked.outcome if asked else None, now))
        if payment.status == Status.WAITING:  # its token is of no more use
            payment.checkout = transitions.without_token(event.checkout)
    save(payments.values(), now)
    log(payments, answers)
    return [event for event in followers if event is not None]


# --- Undoing ----------------------------------------------------------------------------------------------------------
def ask_for_refunds(order_ids: Sequence[int]) -> Operated:
    """Enter that those orders that were charged are to be refunded, then have the gateways do so.

    Outside any transaction.
    """
    with transaction.atomic(using="payments", durable=True):
        charged = [payment for payment in lock(order_ids) if payment.status == Status.COMPLETED]
        for payment in charged:
            ledger.intend_refund_of_rest(payment)
        ledger.write(charged)
        crash_point("refund.written")
    crash_point("refund.committed")
    return refund(charged)


def undo(
    undone: Sequence[DeliveryFailed | DeliveryCancelled], answers: Operated
) -> list[PaymentRefunded | transitions.PartRefund]:
    """Give back these orders' money; return the events of those that are settled by that.

    An order not charged yet gets a tombstone. One whose charge or refund is open goes to `settling`. One that was
    declined, or undone before, is skipped: its outcome was emitted then.
    """
    now = database_time("payments")
    names = new_names(event.order_id for event in undone)
    tombstones = insert_if_absent(
        Payment,
        [
            {
                "order_id": event.order_id,
                "idempotency_key": names[event.order_id],
                "status": Status.VOIDED,
                "reason": event.reason[:200],
                "caused_by": event.event_id,
                "trace": event.trace,
            }
            for event in undone
        ],
        key="order_id",
    )
    payments = {payment.order_id: payment for payment in lock(event.order_id for event in undone)}
    followers: list[PaymentRefunded | None] = []
    parts: list[transitions.PartRefund] = []
    for event in undone:
        payment = payments[event.order_id]
        if event.order_id in tombstones:
            followers.append(transitions.refunded(payment))
        elif payment.status == Status.COMPLETED and not payment.gateway:  # nothing was taken
            payment.status, payment.reason, payment.updated_at = Status.VOIDED, event.reason[:200], now
            payment.caused_by, payment.trace = event.event_id, event.trace
            followers.append(transitions.refunded(payment))
        elif payment.status in UNDONE_BY_ASKING:
            payment.status, payment.reason = Status.REFUNDING, event.reason[:200]
            payment.caused_by, payment.trace = event.event_id, event.trace
            transitions.forget_token(payment)
            check_now(payment, now)
            if any(row.key in answers for row in payment.rows):  # else it was charged only after we asked
                parts += transitions.refunded_in_part(payment, answers, now)
                followers.append(transitions.undone(payment, None, answers, now))
    save(payments.values(), now)
    log(payments, answers)
    return [*parts, *(event for event in followers if event is not None)]


# --- Refunds of a part ------------------------------------------------------------------------------------------------
def enter_refunds(requests: Sequence[OrderRefundRequested]) -> list[PaymentRefundCompleted | PaymentRefundRefused]:
    """Enter the refunds that staff request, for the timer to carry out; refuse what is more than is left.

    Where money is only held, that much less will be captured, and no gateway is asked. A payment that is being undone,
    or was not charged, has nothing left to refund.
    """
    now = database_time("payments")
    payments = {payment.order_id: payment for payment in lock(request.order_id for request in requests)}
    answers: list[PaymentRefundCompleted | PaymentRefundRefused] = []
    for request in requests:
        payment = payments.get(request.order_id)
        part = request.event_id, request.amount, request.reason
        about: dict[str, Any] = {
            "order_id": request.order_id, "refund_id": request.event_id, "amount": request.amount
        }  # fmt: skip
        is_held = payment is not None and payment.status == Status.AUTHORIZED
        is_asked_for = is_held and payment and bool(ledger.open_rows(payment, ledger.Kind.CAPTURE))  # and all of it
        is_taken = payment is not None and payment.status in (Status.COMPLETED, Status.CAPTURING)
        kind = ledger.RETURN if request.for_return else ledger.PART
        wanted = payment is not None and (is_taken or is_asked_for)
        if payment and wanted and ledger.intend_part(payment, *part, caused_by=request.event_id, kind=kind):
            check_now(payment, now)
        elif payment and is_held and not is_asked_for and ledger.release_part(payment, *part, now, kind=kind):
            payment.updated_at = now
            whose = transitions.whose(payment)
            answers.append(PaymentRefundCompleted(**about, **whose, for_return=request.for_return))
        else:
            answers.append(PaymentRefundRefused(**about, reason=NOT_SO_MUCH))
    save(payments.values(), now)
    return answers


# --- Changes of an order before its hand-over ------------------------------------------------------------------------
def change(held: Sequence[DeliveryHeld]) -> list[PaymentChanged | PaymentChangeRefused]:
    """Enter the differences to be refunded, for the timer to carry out. Answer at once where nothing is to be refunded,
    where the money is only held, so that less will be captured, and where less than that is left."""
    now = database_time("payments")
    payments = {payment.order_id: payment for payment in lock(event.order_id for event in held)}
    answers: list[PaymentChanged | PaymentChangeRefused] = []
    for event in held:
        payment, wanted = payments.get(event.order_id), event.change
        part, refusal = (wanted.change_id, -wanted.amount, CHANGED), ""
        if payment is None or payment.status not in (Status.COMPLETED, Status.AUTHORIZED):
            refusal = NOT_TO_LEAVE
        elif wanted.amount < 0 and payment.status == Status.AUTHORIZED:
            refusal = "" if ledger.release_part(payment, *part, now, kind=ledger.CHANGE) else NOT_SO_MUCH
            payment.updated_at = now
        elif wanted.amount < 0:
            if ledger.intend_part(payment, *part, caused_by=event.event_id, kind=ledger.CHANGE):
                check_now(payment, now)
                continue
            refusal = NOT_SO_MUCH
        answer: dict[str, Any] = {"order_id": event.order_id, "change_id": wanted.change_id}
        answers.append(PaymentChangeRefused(**answer, reason=refusal) if refusal else PaymentChanged(**answer))
    save(payments.values(), now)
    return answers
