"""Which movement of a provider is which entry of our ledger, and what differs. It reads no database.

The day is the provider's, in its own time zone. Both sides of a payment are matched by kind and amount, or by the
operation's key where the statement names it. An entry of ours was made at the provider between `at`, when it was
asked, and `settled_at`, when we knew; both clocks may differ by `MARGIN`. So an entry near midnight may be on either
day: it matches a movement of either, and if it has none, the provider is asked for the payment.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple, cast

from django.utils import timezone

from payments import ledger
from payments.ledger import Outcome
from payments.models import Payment, PaymentOperation
from payments.reconciliation.models import ReconciliationDifference, StatementEntry

Kind = ReconciliationDifference.Kind
MOVES = {"CHARGE": "CAPTURE", "CAPTURE": "CAPTURE", "REFUND": "REFUND"}  # kinds of entries, as statements call them

MARGIN = timedelta(minutes=10)


class Day(NamedTuple):
    """A provider's day; `end` is the present if it is not over."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, day: date, zone: tzinfo) -> "Day":
        start, end = (datetime.combine(one, datetime.min.time(), zone) for one in (day, day + timedelta(days=1)))
        return cls(start.astimezone(UTC), min(end.astimezone(UTC), timezone.now()))

    def may_have(self, row: PaymentOperation) -> bool:
        """Whether the provider may have moved an entry's money on this day."""
        return _asked(row) - MARGIN < self.end and _settled(row) + MARGIN >= self.start

    def surely_has(self, row: PaymentOperation) -> bool:
        return _asked(row) - MARGIN >= self.start and _settled(row) + MARGIN < self.end

    def settled(self, row: PaymentOperation) -> bool:
        """Whether we knew on this day that an entry has succeeded: a run for this day accounts for it."""
        return self.start <= _settled(row) < self.end


class Compared(NamedTuple):
    """What a payment, or several, came to. `unsure` are entries that the provider may have on another day."""

    differences: list[ReconciliationDifference]
    unsure: list[PaymentOperation]
    entries: int = 0


def matched(payment: Payment, lines: Sequence[StatementEntry], day: Day) -> Compared:
    """Compare a payment's movements with its entries."""
    left = [row for row in payment.rows if row.kind in MOVES and row.outcome == Outcome.SUCCEEDED and day.may_have(row)]
    left.sort(key=lambda row: not day.settled(row))  # an entry of another day matches only what these leave
    entries = sum(day.settled(row) for row in left)
    found, unmatched = [], []
    for line in sorted(lines, key=lambda line: not line.key):  # a key allows no choice
        row = next((row for row in left if row.key == line.key and MOVES[row.kind] == line.kind), None)
        row = row or next((row for row in left if _same(line, row)), None)
        if row is None:
            unmatched.append(line)
            continue
        left.remove(row)
        if not _same(line, row):
            found.append(other_amount(line, row))
    for line in unmatched:
        row = next((row for row in left if MOVES[row.kind] == line.kind), None)
        if row is None:
            found.append(missing_here(line, payment))
        else:
            left.remove(row)
            found.append(other_amount(line, row))
    due = [row for row in left if day.settled(row)]
    found += [missing_there(row) for row in due if day.surely_has(row)]
    return Compared(found, [row for row in due if not day.surely_has(row)], entries)


def missing_here(line: StatementEntry, payment: Payment | None) -> ReconciliationDifference:
    ours = payment.rows if payment else []
    known = next((row for row in ours if MOVES.get(row.kind) == line.kind and row.amount == line.amount), None)
    return ReconciliationDifference(
        kind=Kind.MISSING_HERE,
        movement=line.kind,
        order_id=payment.order_id if payment else None,
        reference=line.reference or line.name,
        theirs=line.amount,
        currency=line.currency,
        at=line.at,
        detail=f"our entry is {known.outcome.lower()}" if known and known.outcome != Outcome.SUCCEEDED else "",
    )


def missing_there(row: PaymentOperation, detail: str = "") -> ReconciliationDifference:
    return ReconciliationDifference(
        kind=Kind.MISSING_THERE,
        movement=MOVES[row.kind],
        order_id=row.payment.order_id,
        reference=row.reference or row.payment.reference,
        ours=row.amount,
        currency=row.currency,
        at=_settled(row),
        detail=detail[:200],
    )


def other_amount(line: StatementEntry, row: PaymentOperation) -> ReconciliationDifference:
    return ReconciliationDifference(
        kind=Kind.OTHER_AMOUNT,
        movement=line.kind,
        order_id=row.payment.order_id,
        reference=line.reference or line.name,
        ours=row.amount,
        theirs=line.amount,
        currency=line.currency,
        at=line.at,
        detail="" if row.currency == line.currency else f"ours is in {row.currency}",
    )


def _same(line: StatementEntry, row: PaymentOperation) -> bool:
    return (MOVES[row.kind], row.amount, row.currency) == (line.kind, line.amount, line.currency)


def _asked(row: PaymentOperation) -> datetime:
    """The earliest moment at which the provider can have moved an entry's money."""
    return row.payment.created_at if row.key.endswith(ledger.UNASKED) else row.at


def _settled(row: PaymentOperation) -> datetime:
    return cast(datetime, row.settled_at)  # it has succeeded
