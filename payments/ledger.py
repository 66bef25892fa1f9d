"""The entries of our ledger: what gateways were asked to do with payments' money, and what of it has happened.

`Payment.rows` are a locked payment's entries, in memory. They are changed here, and written back by `write`; the sums
of a payment follow from them.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from fastdb.bulk import insert_rows, update_rows
from payments.gateways import State
from payments.models import Payment, PaymentOperation
from shop.contracts.payments import CHANGE as CHANGE

Kind, Outcome = PaymentOperation.Kind, PaymentOperation.Outcome

HOLDS, TAKES = (Kind.AUTHORIZE, Kind.CHARGE), (Kind.CHARGE, Kind.CAPTURE)
# Parts of the keys of refunds: one that staff request, one for a return, one that was made elsewhere.
PART, RETURN, UNASKED = "-refund-", "-return-", "-elsewhere"
ELSEWHERE = "given back at the gateway, not by us"
TAKEN, TAKEN_ELSEWHERE = "-taken-elsewhere", "taken at the gateway, not by us"


def load(payments: Iterable[Payment]) -> None:
    """Read the entries of locked payments."""
    by_id = {payment.pk: payment for payment in payments}
    for payment in by_id.values():
        payment.rows = []
    for row in PaymentOperation.objects.filter(payment__in=list(by_id)).order_by("pk") if by_id else ():
        by_id[row.payment_id].rows.append(row)


def write(payments: Iterable[Payment]) -> None:
    """Write the entries back that are new or changed."""
    rows = [row for payment in payments for row in payment.rows]
    update_rows([row for row in rows if row.pk and row.changed], "outcome", "reference", "reason", "settled_at")
    names = (
        "payment_id", "kind", "key", "amount", "currency", "outcome", "reference", "reason", "caused_by", "settled_at"
    )  # fmt: skip
    insert_rows(PaymentOperation, [{name: getattr(row, name) for name in names} for row in rows if not row.pk])


def add(payment: Payment, kind: str, key: str, amount: int, reason: str = "") -> PaymentOperation:
    """A new entry, open."""
    row = PaymentOperation(
        payment=payment,
        kind=kind,
        key=key,
        amount=amount,
        currency=payment.currency,
        outcome=Outcome.OPEN,
        reference="",
        reason=reason[:200],
    )
    payment.rows.append(row)
    return row


def settle(row: PaymentOperation, outcome: str, now: datetime, *, reference: str = "", reason: str = "") -> None:
    """Set an entry's outcome. `add_up` is to follow."""
    row.outcome, row.settled_at, row.changed = outcome, now, True
    row.reference = reference or row.reference
    row.reason = reason[:200] or row.reason


def add_up(payment: Payment) -> None:
    """Have a payment's sums follow from its entries."""
    payment.authorized = total(payment, *HOLDS)
    payment.captured = total(payment, *TAKES)
    payment.refunded = total(payment, Kind.REFUND)


def total(payment: Payment, *kinds: str, outcomes: Iterable[str] = (Outcome.SUCCEEDED,)) -> int:
    """The amount of entries of these kinds with one of these outcomes."""
    return sum(row.amount for row in payment.rows if row.kind in kinds and row.outcome in outcomes)


def refundable(payment: Payment) -> int:
    """What is captured, or being captured, less what is refunded, or being refunded."""
    taken = payment.captured + total(payment, Kind.CAPTURE, outcomes=(Outcome.OPEN,))
    return taken - total(payment, Kind.REFUND, outcomes=(Outcome.OPEN, Outcome.SUCCEEDED))


def to_capture(payment: Payment) -> int:
    """How much of what is held is to be taken."""
    return payment.authorized - total(payment, Kind.RELEASE)


def open_rows(payment: Payment, *kinds: str) -> list[PaymentOperation]:
    """Entries of these kinds that the gateway has not answered for yet."""
    return [row for row in payment.rows if row.kind in kinds and row.outcome == Outcome.OPEN]


def first(payment: Payment) -> PaymentOperation | None:
    """The AUTHORIZE or CHARGE entry; a tombstone has none."""
    return next((row for row in payment.rows if row.kind in HOLDS), None)


def intend_refund_of_rest(payment: Payment, state: State | None = None) -> None:
    """Enter a refund of all that is left, but no more than the gateway has, if its `state` is known."""
    rest = refundable(payment)
    if state is not None and not open_rows(payment, Kind.REFUND):
        rest = min(rest, state.captured - state.refunded)
    if rest > 0:
        add(payment, Kind.REFUND, _next_key(payment, "undo"), rest, payment.reason)


def intend_part(
    payment: Payment, refund_id: UUID, amount: int, reason: str, *, caused_by: UUID, kind: str = PART
) -> bool:
    """Enter a partial refund that an event requests, once per `refund_id`; return whether that much is left."""
    key = f"{payment.idempotency_key}{kind}{refund_id}"
    if any(row.key == key for row in payment.rows):
        return True
    if amount > refundable(payment):
        return False
    add(payment, Kind.REFUND, key, amount, reason).caused_by = caused_by
    return True


def release_part(
    payment: Payment, refund_id: UUID, amount: int, reason: str, now: datetime, *, kind: str = PART
) -> bool:
    """Enter that this much less is to be captured, once per `refund_id`; return whether something is left of it."""
    key = f"{payment.idempotency_key}{kind}{refund_id}"
    if any(row.key == key for row in payment.rows):
        return True
    if amount >= to_capture(payment):
        return False
    settle(add(payment, Kind.RELEASE, key, amount, reason), Outcome.SUCCEEDED, now)
    return True


def part_of(row: PaymentOperation, *kinds: str) -> UUID | None:
    """The id of the request that an entry is a partial refund for, of these kinds; None for another entry."""
    for kind in kinds or (PART, RETURN):
        _, found, refund_id = row.key.partition(kind)
        if found:
            return UUID(refund_id)
    return None


def intend_capture(payment: Payment) -> None:
    """Enter a capture of what is held, less what was released."""
    if not open_rows(payment, Kind.CAPTURE):
        add(payment, Kind.CAPTURE, _next_key(payment, "capture"), to_capture(payment))


def intend_void(payment: Payment) -> None:
    """Enter a void of what is held, or of the wait for the customer. A wait is voided once: a look-up that still finds
    it open was made before."""
    let_go = any(row.kind == Kind.VOID and row.outcome == Outcome.SUCCEEDED for row in payment.rows)
    if not open_rows(payment, Kind.VOID) and (payment.authorized or not let_go):
        amount = payment.authorized - payment.captured or payment.amount
        add(payment, Kind.VOID, _next_key(payment, "void"), amount, payment.reason)


def learn(payment: Payment, state: State, now: datetime) -> None:
    """Enter what the gateway says has happened to a payment that is held, or being undone."""
    payment.reference = state.reference or payment.reference
    taken = first(payment)
    if taken and taken.outcome != Outcome.SUCCEEDED and state.authorized:
        settle(taken, Outcome.SUCCEEDED, now, reference=state.reference)
        add_up(payment)
    if taken and taken.kind == Kind.AUTHORIZE:
        _learn_capture(payment, state, now)
    if state.captured and state.captured == state.refunded:
        for row in open_rows(payment, Kind.REFUND):
            # Partial refunds stay open, since their requester needs an answer event.
            if not (part_of(row) or part_of(row, CHANGE)):
                settle(row, Outcome.SUCCEEDED, now)
        if missing := refundable(payment):
            row = add(payment, Kind.REFUND, f"{payment.idempotency_key}{UNASKED}", missing, ELSEWHERE)
            settle(row, Outcome.SUCCEEDED, now)
    add_up(payment)


def _learn_capture(payment: Payment, state: State, now: datetime) -> None:
    """Enter what the gateway says was taken of what it held."""
    for row in open_rows(payment, Kind.CAPTURE):
        if state.captured - total(payment, *TAKES) >= row.amount:
            settle(row, Outcome.SUCCEEDED, now)
        elif state.captured or state.voided:
            settle(row, Outcome.REFUSED, now)
    if (more := state.captured - total(payment, *TAKES)) > 0:
        row = add(payment, Kind.CAPTURE, f"{payment.idempotency_key}{TAKEN}", more, TAKEN_ELSEWHERE)
        settle(row, Outcome.SUCCEEDED, now)
    add_up(payment)


def _next_key(payment: Payment, what: str) -> str:
    """The key of another entry that does this to a payment: they are numbered from the second on."""
    key = f"{payment.idempotency_key}-{what}"
    made = sum(row.key.startswith(key) for row in payment.rows)
    return f"{key}-{made + 1}" if made else key
