"""Payments as rows: locked, written back and logged together with their operations, in the order of their orders."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from fastdb.bulk import insert_rows, update_rows
from payments import ledger
from payments.gateway_calls import Asked
from payments.gateways import Declined, Refused, Unknown
from payments.models import Payment, PaymentAttempt

# SQL, for it runs with every message, and the ORM takes longer to build it than PostgreSQL to execute it.
LOCK = "SELECT * FROM payments_payment WHERE order_id = ANY(%s::bigint[]) ORDER BY order_id FOR UPDATE"


def lock(order_ids: Iterable[int]) -> list[Payment]:
    """Lock payments, and read their operations."""
    payments = list(Payment.objects.raw(LOCK, [list(order_ids)]))
    ledger.load(payments)
    return payments


def save(payments: Iterable[Payment], now: datetime) -> None:
    """Write back those locked rows that were changed `now`, with their operations."""
    changed = [payment for payment in payments if payment.updated_at == now]
    ledger.write(changed)
    update_rows(
        changed,
        "status", "reason", "reference", "action_url", "action_until", "action_details", "returned_with", "authorized",
        "captured", "refunded", "token", "checkout", "attempts", "due_at", "caused_by", "trace", "updated_at",
        "refunded_at",
    )  # fmt: skip


def log(payments: Mapping[int, Payment], *answers: Mapping[Any, Asked]) -> None:
    """Store the requests about these payments, and the answers."""
    insert_rows(
        PaymentAttempt,
        (
            {
                "payment_id": payments[asked.order_id].pk,
                "operation": asked.operation,
                "outcome": type(asked.outcome).__name__.upper(),
                "detail": asked.outcome.reason[:200] if isinstance(asked.outcome, Declined | Refused | Unknown) else "",
            }
            for part in answers
            for asked in part.values()
            if asked.order_id in payments
        ),
    )
