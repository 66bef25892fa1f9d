"""A run: a provider's lines of a day are stored and compared with our ledger, and the differences replace those of an
earlier run.

Memory does not grow with the day: the lines are stored first, and then compared in portions of payments.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, timedelta, tzinfo
from itertools import chain, islice
from typing import TypeVar

from django.db import IntegrityError, connections, transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from fastdb.bulk import insert_rows
from payments import gateway_calls, ledger
from payments.gateways import State, StatementLine
from payments.ledger import Outcome
from payments.models import Payment, PaymentOperation
from payments.reconciliation.matching import MOVES, Compared, Day, matched, missing_here, missing_there
from payments.reconciliation.models import Reconciliation, ReconciliationDifference, StatementEntry

T = TypeVar("T")
M = TypeVar("M", bound=Model)

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
        yield Compared([missing_here(line, None) for line in lines], [])


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
        yield Compared([missing_there(row) for row in missing], unsure, len(unlisted))


def _write(run: Reconciliation, compared: Compared) -> None:
    """Store a portion's differences, after asking the provider for payments that it may have booked on another day."""
    found = list(compared.differences)
    payments = {row.payment_id: row.payment for row in compared.unsure}
    answers = gateway_calls.find(payments.values()) if payments else {}
    for row in compared.unsure:
        state = answers[row.payment.order_id].outcome
        if isinstance(state, State) and _has(state, row):
            run.on_another_day += 1
        else:
            found.append(missing_there(row, "" if isinstance(state, State) else f"asked for: {state}"))
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
    """Replace the earlier runs of the day with this one."""
    with transaction.atomic(using="payments"):
        same = Reconciliation.objects.filter(gateway=run.gateway, day=run.day)
        locked = list(same.order_by("pk").select_for_update().values_list("pk", flat=True))
        if run.pk not in locked:
            raise Superseded
        same.exclude(pk=run.pk).delete()
        StatementEntry.objects.filter(reconciliation=run).delete()
        run.ended_at = timezone.now()
        run.save(force_update=True)


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
