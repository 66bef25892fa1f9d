"""Reads the rows that the services' databases have about a window of orders: the facts that invariants check.

A window is a range of order ids with a given number of orders. The ranges cover all possible ids, so a row of an order
that does not exist falls into one of them, too.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.db.models import F, QuerySet

from sagas.registry import local_services
from shop.contracts.events import OrderCreated
from shop.saga import OTHERS_EVENTS, RETURNS_EVENTS

KEY = "correlation_id"


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


class Range(NamedTuple):
    """Of ids: exclusive and inclusive; None is minus and plus infinity."""

    low: int | None
    high: int | None


def ranges(label: str, size: int) -> Iterator[Range]:
    """Ranges of ids, with `size` rows of a model in each, that cover all that there can be."""
    low: int | None = None
    while True:
        ids = rows(label).order_by("pk")
        ids = ids.filter(pk__gt=low) if low is not None else ids
        high = next(iter(ids.values_list("pk", flat=True)[size - 1 : size]), None)
        yield Range(low, high)
        if high is None:
            return
        low = high


def rows_within(bounds: Range, label: str, field: str) -> QuerySet[Any]:
    """The rows of a model whose field is in a range."""
    limits = {f"{field}__gt": bounds.low, f"{field}__lte": bounds.high}
    return rows(label).filter(**{name: value for name, value in limits.items() if value is not None})


def _read(before: datetime, strict: bool, bounds: Range) -> Facts:
    def within(model: str, field: str = "order_id") -> QuerySet[Any]:
        return rows_within(bounds, model, field)

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
        reservations={},
        reserved_lines=defaultdict(list),
        movements=_grouped(within("inventory.StockMovement").filter(order_id__isnull=False, return_id=None)),
        payments=_by_order(within("payments.Payment")),
        operations=defaultdict(list),
        ledger=defaultdict(list),
        deliveries=_grouped(within("delivery.Delivery").order_by("number")),
        refunds=_grouped(within("orders.Refund")),
        mentioned={
            "notification": _order_ids(within("notifications.Notification"), "order_id"),
            **{what: _order_ids(_of_orders(within(model, KEY)), KEY) for what, model in _messages()},
        },
    )
    facts.reservations = _by_order(within("inventory.Reservation"))
    ordered = within("orders.OrderLine").values_list("order_id", "product_id", "quantity", "unit_price")
    for order_id, product_id, quantity, price in ordered:
        facts.order_lines[order_id][product_id] = quantity
        facts.prices[order_id][product_id] = price
        facts.line_totals[order_id] += price * quantity
    changed = within("orders.OrderChangeLine", "change__order_id")
    for change_id, quantity, price in changed.values_list("change_id", "quantity", "unit_price"):
        facts.change_totals[change_id] += price * quantity
    moving = [pk for pk, changes in facts.changes.items() if any(change["of_address"] for change in changes)]
    if moving:
        created = rows("orders.Outbox").filter(event_type=OrderCreated.__name__, correlation_id__in=moving)
        for order_id, payload in created.values_list("correlation_id", "payload"):
            facts.placed_for[order_id] = payload["checkout"]["address"]
    reserved = within("inventory.ReservationLine", "reservation__order_id")
    for line in reserved.annotate(order_id=F("reservation__order_id"), of=F("reservation__status")).values():
        facts.reserved_lines[line["order_id"]].append({**line, "status": line["status"] or line["of"]})
    for order_id, status in within("orders.TimelineEntry").order_by("pk").values_list("order_id", "status"):
        facts.histories[order_id].append(status)
    entries = within("payments.PaymentOperation", "payment__order_id").order_by("pk")
    for operation in entries.annotate(order_id=F("payment__order_id")).values():
        facts.operations[operation["order_id"]].append(operation)
    by_key = {payment["idempotency_key"]: order_id for order_id, payment in facts.payments.items()}
    # By gateway and payment, like the table's index.
    booked = rows("payments.GatewayLedger").filter(gateway__in=settings.PAYMENT_GATEWAYS, payment__in=by_key)
    for entry in booked.filter(at__lte=before).values():
        facts.ledger[by_key[entry["payment"]]].append(entry)
    # Last, as the shop may be running: an order precedes its other rows, and its `progress_at` shows whether it has
    # changed since those were read.
    facts.orders = {row["id"]: row for row in within("orders.Order", "pk").values()}
    return facts


def _messages() -> Iterator[tuple[str, str]]:
    """Yield the tables with messages, of which only the order matters: what a row is, and its model."""
    for service in local_services():
        yield f"event handled by {service}", f"{service}.Inbox"
        yield f"event emitted by {service}", f"{service}.Outbox"


def _of_orders(messages: QuerySet[Any]) -> QuerySet[Any]:
    """Leave out the messages of other sagas, whose keys are no orders."""
    return messages.exclude(event_type__in=[*OTHERS_EVENTS, *RETURNS_EVENTS])


def rows(label: str) -> QuerySet[Any]:
    """All rows of a model."""
    found: QuerySet[Any] = apps.get_model(label)._default_manager.all()
    return found


def _order_ids(rows: QuerySet[Any], key: str) -> set[int]:
    return set(rows.order_by().values_list(key, flat=True).distinct())


def _by_order(rows: QuerySet[Any]) -> dict[int, dict[str, Any]]:
    return {row["order_id"]: row for row in rows.values()}


def _grouped(rows: QuerySet[Any]) -> dict[int, list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows.values():
        groups[row["order_id"]].append(row)
    return groups
