"""The invariants: functions that yield what breaks them. Name and docstring are the invariant's name and rule."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.utils import timezone

from shop.audit.facts import Facts
from shop.messaging.accounting import missing
from shop.messaging.outbox import local_services


class Violation(NamedTuple):
    """An invariant that does not hold, and for what."""

    invariant: str
    subject: str
    detail: str


FINAL = {"COMPLETED", "CANCELLED"}

# An order may skip what it learns late, never go back; a refused cancellation is the one way out of CANCELLING.
_FORWARD = ["PENDING", "INVENTORY_RESERVED", "PAYMENT_COMPLETED", "DELIVERY_STARTED"]
LEGAL_MOVES = {
    **{
        status: {*_FORWARD[place + 1 :], "COMPLETED", "CANCELLING", "CANCELLED"}
        for place, status in enumerate(_FORWARD)
    },
    "CANCELLING": {"CANCELLING", "CANCELLED", "COMPLETED", "DELIVERY_STARTED"},
    "COMPLETED": set(),
    "CANCELLED": set(),
}

# What a gateway's ledger may hold for a settled payment.
LEGAL_LEDGERS: dict[str, list[Counter[str]]] = {
    "COMPLETED": [Counter(CHARGE=1)],
    "REFUNDED": [Counter(CHARGE=1, REFUND=1)],
    "FAILED": [Counter()],
    "VOIDED": [Counter(), Counter(CHARGE=1, REFUND=1)],
}
NOTHING_HELD = {"REFUSED", "RELEASED", "RETURNED"}
NOTHING_KEPT = {"FAILED", "REFUNDED", "VOIDED"}
NOT_DELIVERED = {"CANCELLED", "FAILED"}

# One snapshot of inventory: for each product what is on record beside what its movements and reservations add up to.
STOCK = """
    SELECT product_id, on_hand, reserved, moved, held FROM (
        SELECT product_id, on_hand, reserved,
            coalesce((SELECT sum(delta) FROM inventory_stockmovement m WHERE m.product_id = s.product_id), 0) AS moved,
            coalesce((
                SELECT sum(l.quantity) FROM inventory_reservationline l
                JOIN inventory_reservation r ON r.id = l.reservation_id
                WHERE l.product_id = s.product_id AND r.status = 'RESERVED'
            ), 0) AS held
        FROM inventory_stockitem s
    ) sums WHERE on_hand <> moved OR reserved <> held OR reserved < 0 OR reserved > on_hand
"""
UNKNOWN_MOVEMENTS = """
    SELECT DISTINCT product_id FROM inventory_stockmovement m
    WHERE NOT EXISTS (SELECT FROM inventory_stockitem s WHERE s.product_id = m.product_id)
"""
STRAY_LEDGER = """
    SELECT l.gateway, l.key FROM payments_gatewayledger l
    WHERE NOT EXISTS (SELECT FROM payments_payment p WHERE p.idempotency_key = l.key AND p.gateway = l.gateway)
    AND l.at <= %s
"""


def stock_adds_up(_before: datetime) -> Iterator[Violation]:
    """Per product: on hand is the sum of its movements, reserved the sum of what open reservations hold."""
    for product, on_hand, reserved, moved, held in _rows("inventory", STOCK):
        yield Violation(
            "stock_adds_up",
            f"product {product}",
            f"on hand {on_hand}, movements {moved}; reserved {reserved}, reservations {held}",
        )
    for (product,) in _rows("inventory", UNKNOWN_MOVEMENTS):
        yield Violation("stock_adds_up", f"product {product}", "moved without a stock record")


def ledger_has_payments(before: datetime) -> Iterator[Violation]:
    """Everything a gateway has booked belongs to a payment of ours at that gateway."""
    for gateway, key in _rows("payments", STRAY_LEDGER, [before]):
        yield Violation("ledger_has_payments", key, f"booked at {gateway} without a payment")


def outbox_drained(before: datetime) -> Iterator[Violation]:
    """No event waits in an outbox."""
    for service in local_services():
        waiting = apps.get_model(service, "Outbox").objects.filter(published_at=None, created_at__lte=before)
        if count := waiting.count():
            yield Violation("outbox_drained", service, f"{count} events not published")


def no_dead_letters(_before: datetime) -> Iterator[Violation]:
    """Every dead letter is resolved."""
    for service in local_services():
        for letter in apps.get_model(service, "DeadLetter").objects.filter(resolved_at=None).iterator():
            yield Violation("no_dead_letters", f"order {letter.order_id}", f"{letter}: {letter.error}")


def orders_end(facts: Facts) -> Iterator[Violation]:
    """No order is past its deadline, time with the carrier not counted; strictly: every order has ended."""
    overdue = timezone.now() - timedelta(seconds=2 * settings.ORDER_DEADLINE)
    for pk, order in facts.settled:
        late = order["created_at"] < overdue and order["status"] != "DELIVERY_STARTED"
        if order["status"] not in FINAL and (facts.strict or late):
            yield Violation("orders_end", f"order {pk}", f"still {order['status']}")


def completed_is_whole(facts: Facts) -> Iterator[Violation]:
    """COMPLETED means: paid in full, shipped once as ordered, delivered, nothing refunded."""
    for pk, order in facts.settled:
        if order["status"] != "COMPLETED":
            continue
        payment, reservation = facts.payments.get(pk, {}), facts.reservations.get(pk, {})
        actual = {
            "payment": (payment.get("status"), payment.get("amount"), payment.get("currency")),
            "ledger": _booked(facts, pk),
            "reservation": (reservation.get("status"), facts.reserved_lines.get(pk, {})),
            "movements": _moved(facts, pk),
            "delivery": facts.deliveries.get(pk, {}).get("status"),
        }
        lines = facts.order_lines.get(pk, {})
        expected = {
            "payment": ("COMPLETED", order["total_price"], order["currency"]),
            "ledger": Counter(CHARGE=order["total_price"]),
            "reservation": ("SHIPPED", lines),
            "movements": Counter({("SHIPMENT", product): -quantity for product, quantity in lines.items()}),
            "delivery": "DELIVERED",
        }
        for what, found in actual.items():
            if found != expected[what]:
                yield Violation("completed_is_whole", f"order {pk}", f"{what} is {found}, not {expected[what]}")


def cancelled_keeps_nothing(facts: Facts) -> Iterator[Violation]:
    """CANCELLED means: no money kept, no stock held or gone, no parcel delivered."""
    for pk, order in facts.settled:
        if order["status"] != "CANCELLED":
            continue
        booked, moved = _booked(facts, pk), _moved(facts, pk)
        if booked["CHARGE"] != booked["REFUND"]:
            yield Violation(
                "cancelled_keeps_nothing", f"order {pk}", f"charged {booked['CHARGE']}, refunded {booked['REFUND']}"
            )
        for product in {product for _, product in moved}:
            if moved["SHIPMENT", product] + moved["RETURN", product]:
                yield Violation("cancelled_keeps_nothing", f"order {pk}", f"product {product} shipped, not returned")
        for what, rows, harmless in (
            ("payment", facts.payments, NOTHING_KEPT),
            ("reservation", facts.reservations, NOTHING_HELD),
            ("delivery", facts.deliveries, NOT_DELIVERED),
        ):
            if pk in rows and rows[pk]["status"] not in harmless:
                yield Violation("cancelled_keeps_nothing", f"order {pk}", f"{what} is {rows[pk]['status']}")


def money_matches_ledger(facts: Facts) -> Iterator[Violation]:
    """Per payment: the gateway's ledger says the same; charged at most once, never refunded more than charged."""
    for pk, payment in facts.payments.items():
        if payment["updated_at"] > facts.before:
            continue
        entries, amount = facts.ledger.get(pk, []), payment["amount"]
        kinds = Counter(entry["kind"] for entry in entries)
        legal = LEGAL_LEDGERS.get(payment["status"])
        if legal is not None and kinds not in legal:
            yield Violation("money_matches_ledger", f"order {pk}", f"{payment['status']}, ledger says {dict(kinds)}")
        for entry in entries:
            same = (payment["gateway"], amount, payment["currency"])
            if entry["kind"] == "CHARGE" and (entry["gateway"], entry["amount"], entry["currency"]) != same:
                yield Violation("money_matches_ledger", f"order {pk}", f"charged {entry['amount']}, not {amount}")
        if _booked(facts, pk)["REFUND"] > _booked(facts, pk)["CHARGE"]:
            yield Violation("money_matches_ledger", f"order {pk}", "refunded more than was charged")


def order_adds_up(facts: Facts) -> Iterator[Violation]:
    """An order has lines, and their prices add up to its total."""
    for pk, order in facts.settled:
        if facts.line_totals.get(pk, 0) != order["total_price"]:
            yield Violation(
                "order_adds_up", f"order {pk}", f"lines {facts.line_totals.get(pk, 0)}, total {order['total_price']}"
            )


def no_orphans(facts: Facts) -> Iterator[Violation]:
    """Every reservation, payment and delivery belongs to an order."""
    for what, rows in (
        ("reservation", facts.reservations),
        ("payment", facts.payments),
        ("delivery", facts.deliveries),
    ):
        for pk in rows.keys() - facts.orders.keys():
            yield Violation("no_orphans", f"order {pk}", f"{what} without an order")


def histories_are_legal(facts: Facts) -> Iterator[Violation]:
    """An order's statuses follow one another as the saga allows, and end where it stands."""
    for pk, order in facts.settled:
        history = facts.histories.get(pk, [])
        if not history or history[0] != "PENDING" or history[-1] != order["status"]:
            yield Violation("histories_are_legal", f"order {pk}", f"{order['status']}, history {history}")
        for one, other in pairwise(history):
            if other not in LEGAL_MOVES[one]:
                yield Violation("histories_are_legal", f"order {pk}", f"{one} → {other}")


def events_are_handled(facts: Facts) -> Iterator[Violation]:
    """Every event that was emitted is in the inbox of each step that hears it."""
    for lost in missing([pk for pk, _ in facts.settled]):
        yield Violation(
            "events_are_handled", f"order {lost.order_id}", f"{lost.event_type} of {lost.emitted_by} not at {lost.step}"
        )


WHOLE: tuple[Callable[[datetime], Iterator[Violation]], ...] = (
    stock_adds_up,
    ledger_has_payments,
    outbox_drained,
    no_dead_letters,
)
PER_WINDOW: tuple[Callable[[Facts], Iterator[Violation]], ...] = (
    orders_end,
    completed_is_whole,
    cancelled_keeps_nothing,
    money_matches_ledger,
    order_adds_up,
    no_orphans,
    histories_are_legal,
    events_are_handled,
)


def _booked(facts: Facts, order_id: int) -> Counter[str]:
    """Amounts in the gateway's ledger, by kind."""
    sums: Counter[str] = Counter()
    for entry in facts.ledger.get(order_id, []):
        sums[entry["kind"]] += entry["amount"]
    return sums


def _moved(facts: Facts, order_id: int) -> Counter[tuple[str, int]]:
    """Pieces that an order has moved, by kind and product."""
    return Counter({(move["kind"], move["product_id"]): move["delta"] for move in facts.movements.get(order_id, [])})


def _rows(service: str, sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
    with connections[service].cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()
