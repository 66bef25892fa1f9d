"""A provider's books of a day, its statement or a settlement file, compared with our ledger.

The day is the provider's, in its own time zone. Both sides of a payment are matched by kind and amount, or by the
operation's key where the statement names it. An entry of ours was made at the provider between `at`, when it was
asked, and `settled_at`, when we knew; both clocks may differ by `MARGIN`. So an entry near midnight may be on either
day: it matches a movement of either, and if it has none, the provider is asked for the payment.

Memory does not grow with the day: the statement is stored first, and then compared in portions of payments.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import chain, islice
from typing import NamedTuple, TypeVar, cast

from django.db import IntegrityError, connections, transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from fastdb.bulk import insert_rows
from payments import gateway_calls, ledger
from payments.gateways import State, StatementLine
from payments.ledger import Outcome
from payments.models import (
    Payment,
    PaymentOperation,
    Reconciliation,
    ReconciliationDifference,
    StatementEntry,
)

Kind = ReconciliationDifference.Kind
MOVES = {"CHARGE": "CAPTURE", "CAPTURE": "CAPTURE", "REFUND": "REFUND"}  # kinds of entries, as statements call them

T = TypeVar("T")
M = TypeVar("M", bound=Model)

MARGIN = timedelta(minutes=10)
PORTION = 500
ABANDONED = timedelta(days=1)  # a run that has not ended by then never will

NAMED = """
    UPDATE payments_statemententry AS line SET payment_id = payment.id FROM payments_payment AS payment
    WHERE line.reconciliation_id = %s AND payment.gateway = %s AND line.name = payment.idempotency_key
"""
REFERRED = """
    UPDATE payments_statemententry AS line SET payment_id = payment.id FROM payments_payment AS payment
    WHERE line.reconciliation_id = %s AND payment.gateway = %s
        AND line.payment_id IS NULL AND payment.reference <> '' AND line.reference = payment.reference
"""


class Superseded(Exception):
    """Another run for the same gateway and day has ended while this one was under way."""


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


def reconcile(
    gateway: str, day: date, zone: tzinfo, lines: Iterable[StatementLine], source: str = ""
) -> Reconciliation:
    """Compare a provider's lines of a day with our ledger; the result is stored in the place of an earlier one's.

    Raises `Superseded`, and what reading the lines raises.
    """
    Reconciliation.objects.filter(gateway=gateway, ended_at=None, started_at__lt=timezone.now() - ABANDONED).delete()
    run = Reconciliation.objects.create(gateway=gateway, day=day, source=source[-200:])
    try:
        run.movements = _store(run, lines)
        _find_payments(run)
        _compare(run, Day.of(day, zone))
        _end(run)
    except IntegrityError as error:
        raise Superseded from error
    except BaseException:
        Reconciliation.objects.filter(pk=run.pk).delete()
        raise
    return run


def _store(run: Reconciliation, lines: Iterable[StatementLine]) -> int:
    stored = 0
    for portion in _portions(lines):
        rows = [
            {
                "reconciliation_id": run.pk,
                "name": line.payment if len(line.payment) <= 64 else "",  # others use the account, too
                "reference": line.reference[:128],
                "key": line.key[:80],
                "kind": str(line.kind),
                "amount": line.amount,
                "currency": line.currency,
                "at": line.at,
            }
            for line in portion
        ]
        insert_rows(StatementEntry, rows)
        stored += len(rows)
    return stored


def _find_payments(run: Reconciliation) -> None:
    """Find which payment each line is of. No index has names and references: both tables are read once."""
    with transaction.atomic(using="payments"), connections["payments"].cursor() as cursor:
        cursor.execute("SELECT set_config('enable_nestloop', 'off', true)")
        for statement in (NAMED, REFERRED):
            cursor.execute(statement, [run.pk, run.gateway])


def _compare(run: Reconciliation, day: Day) -> None:
    for compared in chain(_unknown_payments(run), _listed_payments(run, day), _unlisted_entries(run, day)):
        _write(run, compared)


def _unknown_payments(run: Reconciliation) -> Iterator[Compared]:
    """Movements of payments that we know nothing of."""
    for lines in _portions(by_key(StatementEntry.objects.filter(reconciliation=run, payment=None))):
        yield Compared([_missing_here(line, None) for line in lines], [])


def _listed_payments(run: Reconciliation, day: Day) -> Iterator[Compared]:
    """Payments of which the statement has a movement."""
    last = 0
    while True:
        listed = StatementEntry.objects.filter(reconciliation=run, payment_id__gt=last)
        ids = list(listed.order_by("payment_id").values_list("payment_id", flat=True).distinct()[:PORTION])
        if not ids:
            return
        last = ids[-1]
        lines = defaultdict(list)
        for line in StatementEntry.objects.filter(reconciliation=run, payment__in=ids).order_by("pk"):
            lines[line.payment_id].append(line)
        payments = list(Payment.objects.filter(pk__in=ids).order_by("pk"))
        ledger.load(payments)
        for payment in payments:
            for row in payment.rows:
                row.payment = payment
        found = [matched(payment, lines[payment.pk], day) for payment in payments]
        yield Compared(
            [one for each in found for one in each.differences],
            [row for each in found for row in each.unsure],
            sum(each.entries for each in found),
        )


def _unlisted_entries(run: Reconciliation, day: Day) -> Iterator[Compared]:
    """Our entries of payments of which the statement has no movement."""
    rows = PaymentOperation.objects.filter(
        payment__gateway=run.gateway, outcome=Outcome.SUCCEEDED, kind__in=list(MOVES),
        settled_at__gte=day.start, settled_at__lt=day.end,
    )  # fmt: skip
    for portion in _portions(by_key(rows.select_related("payment"))):
        lines = StatementEntry.objects.filter(reconciliation=run, payment__in={row.payment_id for row in portion})
        listed = set(lines.values_list("payment_id", flat=True))
        unlisted = [row for row in portion if row.payment_id not in listed]
        missing = [row for row in unlisted if day.surely_has(row)]
        unsure = [row for row in unlisted if not day.surely_has(row)]
        yield Compared([_missing_there(row) for row in missing], unsure, len(unlisted))


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
            found.append(_other_amount(line, row))
    for line in unmatched:
        row = next((row for row in left if MOVES[row.kind] == line.kind), None)
        if row is None:
            found.append(_missing_here(line, payment))
        else:
            left.remove(row)
            found.append(_other_amount(line, row))
    due = [row for row in left if day.settled(row)]
    found += [_missing_there(row) for row in due if day.surely_has(row)]
    return Compared(found, [row for row in due if not day.surely_has(row)], entries)


def _write(run: Reconciliation, compared: Compared) -> None:
    """Store the differences of a portion, after the provider was asked for the payments that it may have elsewhere."""
    found = list(compared.differences)
    payments = {row.payment_id: row.payment for row in compared.unsure}
    answers = gateway_calls.find(payments.values()) if payments else {}
    for row in compared.unsure:
        state = answers[row.payment.order_id].outcome
        if isinstance(state, State) and _has(state, row):
            run.on_another_day += 1
        else:
            found.append(_missing_there(row, "" if isinstance(state, State) else f"asked for: {state}"))
    for one in found:
        name = one.kind.lower()
        setattr(run, name, getattr(run, name) + 1)
        one.reconciliation = run
    run.entries += compared.entries
    ReconciliationDifference.objects.bulk_create(found)


def _has(state: State, row: PaymentOperation) -> bool:
    """Whether the provider has moved all that we think it has."""
    if MOVES[row.kind] == "REFUND":
        return state.refunded >= row.payment.refunded
    return state.captured >= row.payment.captured


def _end(run: Reconciliation) -> None:
    """Have the run take the place of the others of its day."""
    with transaction.atomic(using="payments"):
        same = Reconciliation.objects.filter(gateway=run.gateway, day=run.day)
        locked = list(same.order_by("pk").select_for_update().values_list("pk", flat=True))
        if run.pk not in locked:
            raise Superseded
        same.exclude(pk=run.pk).delete()
        StatementEntry.objects.filter(reconciliation=run).delete()
        run.ended_at = timezone.now()
        run.save(force_update=True)


# --- Differences ------------------------------------------------------------------------------------------------------
def _missing_here(line: StatementEntry, payment: Payment | None) -> ReconciliationDifference:
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


def _missing_there(row: PaymentOperation, detail: str = "") -> ReconciliationDifference:
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


def _other_amount(line: StatementEntry, row: PaymentOperation) -> ReconciliationDifference:
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


# --- Entries ----------------------------------------------------------------------------------------------------------
def _same(line: StatementEntry, row: PaymentOperation) -> bool:
    return (MOVES[row.kind], row.amount, row.currency) == (line.kind, line.amount, line.currency)


def _asked(row: PaymentOperation) -> datetime:
    """The earliest moment at which the provider can have moved an entry's money."""
    return row.payment.created_at if row.key.endswith(ledger.UNASKED) else row.at


def _settled(row: PaymentOperation) -> datetime:
    return cast(datetime, row.settled_at)  # it has succeeded


def by_key(rows: QuerySet[M]) -> Iterator[M]:
    """All rows in the order of their keys, by short queries."""
    last = 0
    while portion := list(rows.filter(pk__gt=last).order_by("pk")[:PORTION]):
        yield from portion
        last = portion[-1].pk


def _portions(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while portion := list(islice(rest, PORTION)):
        yield portion
