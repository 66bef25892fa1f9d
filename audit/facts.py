"""Reads the rows that the services' databases have about a window of orders: the facts that invariants check.

A window is a range of order ids with a given number of orders. The ranges cover all possible ids, so a row of an order
that does not exist falls into one of them, too.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.db.models import QuerySet

from audit.rows import Range, Row, mentioned, ranges, rows_of, rows_within
from sagas.db.prepared import query
from shop.contracts.events import OrderCreated
from shop.saga import OTHERS_EVENTS, RETURNS_EVENTS

NOTIFIED = "SELECT DISTINCT order_id FROM notifications_notification WHERE order_id BETWEEN %s AND %s"
LINE = ("order_id", "product_id", "quantity", "unit_price")


@dataclass
class Facts:
    """Rows by order id. Only orders unchanged since `before` are checked."""

    before: datetime
    strict: bool
    orders: dict[int, dict[str, Any]]
    order_lines: dict[int, dict[int, int]]  # order -> product -> quantity
    line_totals: dict[int, int]
    prices: dict[int, dict[int, int]]  # order -> product -> price
    changes: dict[int, list[dict[str, Any]]]
    change_totals: dict[UUID, int]  # change -> what its lines add up to
    placed_for: dict[int, str]  # sealed addresses, of orders of which that was to change
    histories: dict[int, list[str]]  # statuses in the order in which they were reached
    reservations: dict[int, dict[str, Any]]
    reserved_lines: dict[int, list[dict[str, Any]]]  # each with its own status, or else that of its reservation
    movements: dict[int, list[dict[str, Any]]]
    payments: dict[int, dict[str, Any]]
    operations: dict[int, list[dict[str, Any]]]  # our ledger
    ledger: dict[int, list[dict[str, Any]]]  # the sandbox gateways' books
    deliveries: dict[int, list[dict[str, Any]]]
    refunds: dict[int, list[dict[str, Any]]]
    mentioned: dict[str, set[int]]  # orders that other rows refer to, by kind of row

    @property
    def settled(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The orders to check, with their ids."""
        return ((pk, order) for pk, order in self.orders.items() if order["progress_at"] <= self.before)


def count_orders() -> int:
    """How many orders there are to audit."""
    return rows("orders.Order").count()


def windows(before: datetime, strict: bool, size: int) -> Iterator[Facts]:
    """All facts, a window of `size` orders at a time, in the order of their ids."""
    for bounds in ranges("orders.Order", size):
        yield _read(before, strict, bounds)


def _read(before: datetime, strict: bool, bounds: Range) -> Facts:
    def within(label: str) -> list[Row]:
        return rows_within(bounds, label)

    facts = Facts(
        before=before,
        strict=strict,
        orders={},
        order_lines=defaultdict(dict),
        line_totals=defaultdict(int),
        prices=defaultdict(dict),
        changes=_grouped(within("orders.OrderChange")),
        change_totals=defaultdict(int),
        placed_for={},
        histories=defaultdict(list),
        reservations=_by_order(within("inventory.Reservation")),
        reserved_lines=defaultdict(list),
        movements=_grouped(row for row in within("inventory.StockMovement") if row["return_id"] is None),
        payments=_by_order(within("payments.Payment")),
        operations=defaultdict(list),
        ledger=defaultdict(list),
        deliveries=_grouped(sorted(within("delivery.Delivery"), key=lambda row: row["number"])),
        refunds=_grouped(within("orders.Refund")),
        mentioned={
            "notification": {order_id for (order_id,) in query("notifications", NOTIFIED, bounds)},
            **mentioned(bounds, [*OTHERS_EVENTS, *RETURNS_EVENTS], among=False),  # not other sagas', whose keys differ
        },
    )
    for line in within("orders.OrderLine"):
        order_id, product_id, quantity, price = (line[name] for name in LINE)
        facts.order_lines[order_id][product_id] = quantity
        facts.prices[order_id][product_id] = price
        facts.line_totals[order_id] += price * quantity
    changes = {change["id"]: change for some in facts.changes.values() for change in some}
    for line in rows_of(changes, "orders.OrderChangeLine", "change_id"):
        facts.change_totals[line["change_id"]] += line["unit_price"] * line["quantity"]
    if moving := {change["order_id"] for change in changes.values() if change["of_address"]}:
        created = rows("orders.Outbox").filter(event_type=OrderCreated.__name__, correlation_id__in=moving)
        for order_id, payload in created.values_list("correlation_id", "payload"):
            facts.placed_for[order_id] = payload["checkout"]["address"]
    reservations = {row["id"]: row for row in facts.reservations.values()}
    for line in rows_of(reservations, "inventory.ReservationLine", "reservation_id"):
        of = reservations[line["reservation_id"]]
        facts.reserved_lines[of["order_id"]].append({**line, "status": line["status"] or of["status"]})
    for entry in within("orders.TimelineEntry"):
        facts.histories[entry["order_id"]].append(entry["status"])
    payments = {row["id"]: order_id for order_id, row in facts.payments.items()}
    for operation in rows_of(payments, "payments.PaymentOperation", "payment_id"):
        facts.operations[payments[operation["payment_id"]]].append(operation)
    by_key = {payment["idempotency_key"]: order_id for order_id, payment in facts.payments.items()}
    if by_key:  # by gateway and payment, like the table's index
        booked = rows("payments.GatewayLedger").filter(gateway__in=settings.PAYMENT_GATEWAYS, payment__in=by_key)
        for entry in booked.filter(at__lte=before).values():
            facts.ledger[by_key[entry["payment"]]].append(entry)
    # Last, as the shop may be running: an order precedes its other rows, and its `progress_at` shows whether it has
    # changed since those were read.
    facts.orders = {row["id"]: row for row in rows_within(bounds, "orders.Order", "id")}
    return facts


def rows(label: str) -> QuerySet[Any]:
    """All rows of a model."""
    found: QuerySet[Any] = apps.get_model(label)._default_manager.all()
    return found


def _by_order(rows: Iterable[Row]) -> dict[int, Row]:
    return {row["order_id"]: row for row in rows}


def _grouped(rows: Iterable[Row]) -> dict[int, list[Row]]:
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["order_id"]].append(row)
    return groups
