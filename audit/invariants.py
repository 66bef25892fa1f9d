"""The invariants: functions that yield what breaks them. Name and docstring are the invariant's name and rule.

One file, though long, so that all invariants of orders can be read as one list.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.db import connections, transaction
from django.utils import timezone

from audit.facts import Facts
from sagas.db.prepared import query
from sagas.reconciliation import missing
from sagas.registry import local_services
from shop.contracts.events import OrderCreated
from shop.contracts.orders import BEFORE_PAYMENT, DELIVERY_ARRANGED, FINAL, FORWARD, UNPAID
from shop.contracts.payments import CHANGE


class Violation(NamedTuple):
    """An invariant that does not hold, and for what."""

    invariant: str
    subject: str
    detail: str


# An order may skip a status that it learns of late, but never goes back. Only a refused cancellation leads from
# CANCELLING to anything but CANCELLED.
LEGAL_MOVES = {
    **{
        status: {*FORWARD[place + 1 :], UNPAID, "COMPLETED", "CANCELLING", "CANCELLED"}
        for place, status in enumerate(FORWARD)
    },
    UNPAID: {"COMPLETED", "CANCELLING", "CANCELLED"},
    "CANCELLING": {"CANCELLED", "COMPLETED", "SHIPPED", UNPAID},
    **{status: set() for status in FINAL},
}

SANDBOX = "sandbox"  # the adapter whose books are in our database
BOOKED = ("kind", "amount", "currency")  # what the books and our ledger agree on
HOLDS, TAKES = {"AUTHORIZE", "CHARGE"}, {"CHARGE", "CAPTURE"}
ONLY_HELD = ("AUTHORIZED", "CAPTURING", "UNPAID", "WRITTEN_OFF")
GIVES = {"REFUND", "RELEASE"}
NOTHING_HELD = {"REFUSED", "RELEASED", "RETURNED"}
SHIPPED = {"SHIPPED", "RETURNED"}
NOTHING_KEPT = {"FAILED", "REFUNDED", "VOIDED"}
NOT_DELIVERED = {"CANCELLED", "FAILED", "EMPTY"}
MAY_HAVE_FAILED = {"FAILED", "EMPTY"}  # of several

# One snapshot of inventory: each stock record, and the sums of its movements and reservations.
STOCK = """
    SELECT product_id, location_id, on_hand, reserved, coalesce(moved, 0), coalesce(held, 0)
    FROM inventory_stockitem
    FULL JOIN (
        SELECT product_id, location_id, sum(delta) AS moved FROM inventory_stockmovement
        GROUP BY product_id, location_id
    ) movements USING (product_id, location_id)
    FULL JOIN (
        SELECT l.product_id, l.location_id, sum(l.quantity) AS held
        FROM inventory_reservationline l JOIN inventory_reservation r ON r.id = l.reservation_id
        WHERE coalesce(nullif(l.status, ''), r.status) = 'RESERVED' GROUP BY l.product_id, l.location_id
    ) reservations USING (product_id, location_id)
    WHERE on_hand IS DISTINCT FROM coalesce(moved, 0) OR reserved IS DISTINCT FROM coalesce(held, 0)
        OR reserved < 0 OR reserved > on_hand
"""
# An adjustment belongs to no order; shipments and returns belong to one.
STRAY_MOVEMENTS = """
    SELECT product_id, kind, order_id FROM inventory_stockmovement WHERE (kind = 'ADJUSTMENT') <> (order_id IS NULL)
"""
STRAY_LEDGER = """
    SELECT l.gateway, l.payment, count(p.id) FROM payments_gatewayledger l
    LEFT JOIN payments_payment p ON p.idempotency_key = l.payment AND p.gateway = l.gateway
    WHERE l.at <= %s GROUP BY l.id HAVING count(p.id) <> 1
"""
STRAY_KEYS = """
    SELECT k.user_id, k.key, k.order_id FROM orders_idempotencykey k
    CROSS JOIN LATERAL json_to_record(k.answer::json) AS answered (id bigint, "userId" bigint)
    WHERE k.created_at <= %s AND NOT EXISTS (
        SELECT FROM orders_order o WHERE o.id = k.order_id AND o.id = answered.id AND o.user_id = answered."userId"
    )
"""
# By index.
WAITING = """
    SELECT
        (SELECT count(*) FROM {service}_unsent JOIN {service}_outbox ON id = outbox_id WHERE created_at <= %(before)s) +
        (SELECT count(*) FROM {service}_inbox WHERE deferred_until IS NOT NULL AND handled_at <= %(before)s)
"""
OPEN_LETTERS = "SELECT correlation_id, step, event_type, error FROM {service}_deadletter WHERE resolved_at IS NULL"
DISPUTED = "SELECT order_id, status, disputed_by FROM delivery_delivery WHERE disputed_by <> ''"
UNTAKEN = "SELECT id, status FROM orders_order WHERE capture = 'FAILED' AND status <> 'CANCELLED'"


def stock_adds_up(_before: datetime) -> Iterator[Violation]:
    """Per product and location: on hand is the sum of movements, reserved the sum of what open reservations hold."""
    for product, location, on_hand, reserved, moved, held in scan("inventory", STOCK):
        yield Violation(
            "stock_adds_up",
            f"product {product} at {location}",
            f"on hand {on_hand}, movements {moved}; reserved {reserved}, reservations {held}",
        )
    for product, kind, order_id in scan("inventory", STRAY_MOVEMENTS):
        yield Violation("stock_adds_up", f"product {product}", f"{kind.lower()} of order {order_id}")


def ledger_has_payments(before: datetime) -> Iterator[Violation]:
    """Everything a gateway has booked belongs to one payment of ours at that gateway."""
    for gateway, key, payments in scan("payments", STRAY_LEDGER, [before]):
        yield Violation("ledger_has_payments", key, f"booked at {gateway} for {payments} payments")


def one_order_per_key(before: datetime) -> Iterator[Violation]:
    """An idempotency key stands for one order, and answers with that order and its user."""
    for user, key, order in scan("orders", STRAY_KEYS, [before]):
        yield Violation("one_order_per_key", f"order {order}", f"not what key {key!r} of user {user} was answered with")


def outbox_drained(before: datetime) -> Iterator[Violation]:
    """No event waits in an outbox, or in an inbox for the steps that can wait."""
    for service in local_services():
        ((count,),) = query(service, WAITING.format(service=service), {"before": before})
        if count:
            yield Violation("outbox_drained", service, f"{count} events not published")


def carriers_agree(_before: datetime) -> Iterator[Violation]:
    """No carrier contradicts how a delivery ended here, unless staff have settled the dispute."""
    for order_id, status, said in query("delivery", DISPUTED):
        yield Violation("carriers_agree", f"order {order_id}", f"delivery is {status}, the carrier says {said}")


def unpaid_is_seen_to(_before: datetime) -> Iterator[Violation]:
    """Money that was held is taken, or its order cancelled, unless staff have written it off."""
    for pk, status in query("orders", UNTAKEN):
        yield Violation("unpaid_is_seen_to", f"order {pk}", f"{status}, and its money could not be taken")


def no_dead_letters(_before: datetime) -> Iterator[Violation]:
    """Every dead letter is resolved."""
    for service in local_services():
        for pk, step, event_type, error in query(service, OPEN_LETTERS.format(service=service)):
            letter = apps.get_model(service, "DeadLetter")(step=step, event_type=event_type)
            yield Violation("no_dead_letters", f"order {pk}", f"{letter}: {error}")


def orders_end(facts: Facts) -> Iterator[Violation]:
    """No order is past its deadline, time with carrier or customer not counted; strictly: every order has ended.

    None is open for half the time for which messages are kept: without them it could not be resumed.
    """
    now = timezone.now()
    overdue, ancient = now - timedelta(seconds=2 * settings.ORDER_DEADLINE), now - settings.SAGAS.retention / 2
    for pk, order in facts.settled:
        status, since = order["status"], order["created_at"]
        if order["action_until"]:  # it has waited for its customer
            since = order["action_until"] if status in BEFORE_PAYMENT else order["progress_at"]
        late = since < (ancient if status in (*DELIVERY_ARRANGED, UNPAID) else overdue)
        if status not in FINAL and (facts.strict or late):
            yield Violation("orders_end", f"order {pk}", f"still {status}")


def completed_is_whole(facts: Facts) -> Iterator[Violation]:
    """COMPLETED means: paid in full as it was changed, or written off by staff; shipped once as ordered; delivered, but
    for shipments that failed; nothing else undone."""
    for pk, order in facts.settled:
        if order["status"] != "COMPLETED":
            continue
        payment, reservation = facts.payments.get(pk, {}), facts.reservations.get(pk, {})
        written_off = order["capture"] == "WRITTEN_OFF"
        kept = payment.get("captured") if written_off else _paid(facts, pk)
        actual = {
            "payment": (payment.get("status"), kept, payment.get("currency")),
            "capture": order["capture"] if order["capture"] in ("DUE", "FAILED") else "",
            "reservation": (reservation.get("status"), _reserved(facts, pk, "SHIPPED")),
            "movements": _net(facts, pk),
            "delivery": sorted({one["status"] for one in facts.deliveries.get(pk, [])} - MAY_HAVE_FAILED),
        }
        left = Counter(facts.order_lines.get(pk, {}))
        left.subtract(_dropped(facts, pk))
        lines = Counter({product: quantity for product, quantity in left.items() if quantity})
        expected = {
            "payment": ("COMPLETED", order["total_price"] - _done(facts, pk)["released"], order["currency"]),
            "capture": "",
            "reservation": ("SHIPPED", lines),
            "movements": Counter({product: -quantity for product, quantity in lines.items()}),
            "delivery": ["DELIVERED"],
        }
        if written_off:
            expected["payment"] = "WRITTEN_OFF", 0, order["currency"]
        for what, found in actual.items():
            if found != expected[what]:
                yield Violation("completed_is_whole", f"order {pk}", f"{what} is {found}, not {expected[what]}")


def dropped_is_refunded(facts: Facts) -> Iterator[Violation]:
    """What is in a shipment that failed, while others of its order did not, is asked to be given back, once."""
    for pk, order in facts.settled:
        if order["status"] != "COMPLETED":
            continue
        shipments, prices = facts.deliveries.get(pk, []), facts.prices.get(pk, {})
        if any(one["updated_at"] > facts.before for one in shipments):
            continue
        due = {
            one["number"]: amount
            for one in shipments
            if one["parts"] > 1 and one["status"] == "FAILED"
            if (amount := sum(prices[line["product_id"]] * line["quantity"] for line in one["lines"]))
        }
        asked = {one["for_shipment"]: one["amount"] for one in facts.refunds.get(pk, []) if one["for_shipment"]}
        if due != asked:
            yield Violation("dropped_is_refunded", f"order {pk}", f"failed {due}, asked for {asked}")


def cancelled_keeps_nothing(facts: Facts) -> Iterator[Violation]:
    """CANCELLED means: no money kept, no stock held or gone, no parcel delivered."""
    for pk, order in facts.settled:
        if order["status"] != "CANCELLED":
            continue
        done, moved = _done(facts, pk), _moved(facts, pk)
        if done["captured"] != done["refunded"]:
            detail = f"captured {done['captured']}, refunded {done['refunded']}"
            yield Violation("cancelled_keeps_nothing", f"order {pk}", detail)
        for product in {product for _, product in moved}:
            if moved["SHIPMENT", product] + moved["RETURN", product]:
                yield Violation("cancelled_keeps_nothing", f"order {pk}", f"product {product} shipped, not returned")
        for what, rows, harmless in (
            ("payment", facts.payments, NOTHING_KEPT),
            ("reservation", facts.reservations, NOTHING_HELD),
        ):
            if pk in rows and rows[pk]["status"] not in harmless:
                yield Violation("cancelled_keeps_nothing", f"order {pk}", f"{what} is {rows[pk]['status']}")
        for delivery in facts.deliveries.get(pk, []):
            if delivery["status"] not in NOT_DELIVERED:
                yield Violation("cancelled_keeps_nothing", f"order {pk}", f"delivery is {delivery['status']}")


def shipped_was_handed_over(facts: Facts) -> Iterator[Violation]:
    """Stock has left the shelf if and only if it was handed over to a carrier, and is then no longer reserved.

    After a return, the reservation may have been released before inventory handled the hand-over.
    """
    for pk in facts.reservations.keys() | facts.deliveries.keys():
        reservation, deliveries = facts.reservations.get(pk, {}), facts.deliveries.get(pk, [])
        if any(row and row["updated_at"] > facts.before for row in (reservation, *deliveries)):
            continue
        for delivery in deliveries or [{"parts": 1}]:
            handed_over = delivery.get("handed_over_at") is not None
            statuses = {reservation.get("status")}
            if delivery["parts"] > 1:
                lines = facts.reserved_lines.get(pk, [])
                statuses = {one["status"] for one in lines if one["shipment"] == delivery["number"]}
            for status in statuses:
                if status in SHIPPED and not handed_over:
                    yield Violation("shipped_was_handed_over", f"order {pk}", f"{status}, and no carrier has it")
                if handed_over and status not in {*SHIPPED, "RELEASED"}:
                    yield Violation("shipped_was_handed_over", f"order {pk}", f"with a carrier, and {status}")


def shipped_from_where_it_was_reserved(facts: Facts) -> Iterator[Violation]:
    """What was shipped left the locations where it was reserved; of a parcel that came back, it is there again."""
    for pk, reservation in facts.reservations.items():
        if reservation["updated_at"] > facts.before:
            continue
        if any(one["updated_at"] > facts.before for one in facts.deliveries.get(pk, [])):
            continue
        moved: dict[str, Counter[tuple[int, str]]] = defaultdict(Counter)
        for move in facts.movements.get(pk, []):
            moved[move["kind"]][move["product_id"], move["location_id"]] += move["delta"]
        expected: dict[str, Counter[tuple[int, str]]] = defaultdict(Counter)
        for line in facts.reserved_lines.get(pk, []):
            where = line["product_id"], line["location_id"]
            if line["status"] in SHIPPED:
                expected["SHIPMENT"][where] -= line["quantity"]
            if line["status"] == "RETURNED":
                expected["RETURN"][where] += line["quantity"]
        for kind in ("SHIPMENT", "RETURN"):
            if moved[kind] != expected[kind]:
                detail = f"{kind.lower()} of {dict(moved[kind])}, reserved {dict(expected[kind])}"
                yield Violation("shipped_from_where_it_was_reserved", f"order {pk}", detail)


def operations_add_up(facts: Facts) -> Iterator[Violation]:
    """A payment's state follows from its operations: captured ≤ authorized ≤ amount, refunded ≤ captured."""
    for pk, payment in facts.payments.items():
        if payment["updated_at"] > facts.before:
            continue
        done, amount = _done(facts, pk), payment["amount"]
        for what in ("authorized", "captured", "refunded"):
            if payment[what] != done[what]:
                detail = f"{what} is {payment[what]}, operations add up to {done[what]}"
                yield Violation("operations_add_up", f"order {pk}", detail)
        if not amount >= done["authorized"] >= done["captured"] >= done["refunded"]:
            detail = ", ".join(f"{what} {done[what]}" for what in ("authorized", "captured", "refunded"))
            yield Violation("operations_add_up", f"order {pk}", f"{detail} of {amount}")
        captured, kept = done["captured"], done["captured"] - done["refunded"]
        follows = {
            "PENDING": not done["authorized"],
            "WAITING": not done["authorized"],
            **dict.fromkeys(ONLY_HELD, done["authorized"] == amount and not captured),
            "COMPLETED": captured + done["released"] == amount,
            "FAILED": not done["authorized"],
            "REFUNDED": captured > 0 and not kept,
            "VOIDED": not kept,
        }
        if not follows.get(payment["status"], True):
            yield Violation("operations_add_up", f"order {pk}", f"{payment['status']}, operations say {dict(done)}")


def money_matches_ledger(facts: Facts) -> Iterator[Violation]:
    """The sandbox gateways' books contain exactly what our ledger says was done."""
    for pk, payment in facts.payments.items():
        if payment["updated_at"] > facts.before:
            continue
        booked = {entry["key"]: entry for entry in facts.ledger.get(pk, [])}
        entered = {operation["key"]: operation for operation in facts.operations.get(pk, [])}
        configured = settings.PAYMENT_GATEWAYS.get(payment["gateway"])
        if configured and configured.adapter != SANDBOX:
            continue
        for key, operation in entered.items():
            if operation["kind"] == "RELEASE":
                continue  # of which a gateway hears nothing
            if operation["outcome"] == "SUCCEEDED" and key not in booked:
                yield Violation("money_matches_ledger", f"order {pk}", f"{operation['kind']} {key} is not booked")
        for key, entry in booked.items():
            ours = entered.get(key)
            if ours is None and entry["kind"] == "VOID":
                continue  # a bank holds money for some days, and lets go of it by itself
            if ours is None or ours["outcome"] == "REFUSED":
                yield Violation("money_matches_ledger", f"order {pk}", f"{entry['kind']} {key} is booked")
                continue
            for what, expected in {**{name: ours[name] for name in BOOKED}, "gateway": payment["gateway"]}.items():
                if entry[what] != expected:
                    detail = f"{key} is booked with {what} {entry[what]}, not {expected}"
                    yield Violation("money_matches_ledger", f"order {pk}", detail)


def order_adds_up(facts: Facts) -> Iterator[Violation]:
    """An order has lines, and their prices add up to its total."""
    for pk, order in facts.settled:
        if facts.line_totals.get(pk, 0) != order["total_price"]:
            yield Violation(
                "order_adds_up", f"order {pk}", f"lines {facts.line_totals.get(pk, 0)}, total {order['total_price']}"
            )


def no_orphans(facts: Facts) -> Iterator[Violation]:
    """Every reservation, movement, payment, delivery, notification and event belongs to an order."""
    for what, order_ids in (
        ("reservation", facts.reservations.keys()),
        ("movement", facts.movements.keys()),
        ("payment", facts.payments.keys()),
        ("delivery", facts.deliveries.keys()),
        *facts.mentioned.items(),
    ):
        for pk in sorted(order_ids - facts.orders.keys()):
            yield Violation("no_orphans", f"order {pk}", f"{what} without an order")


def histories_are_legal(facts: Facts) -> Iterator[Violation]:
    """An order's statuses follow one another as the saga allows, and end with its current one."""
    for pk, order in facts.settled:
        history = facts.histories.get(pk, [])
        if not history or history[0] != "PENDING" or history[-1] != order["status"]:
            yield Violation("histories_are_legal", f"order {pk}", f"{order['status']}, history {history}")
        for one, other in pairwise(history):
            if other != one and other not in LEGAL_MOVES.get(one, ()):  # the same: something happened to it there
                yield Violation("histories_are_legal", f"order {pk}", f"{one} → {other}")


def events_are_handled(facts: Facts) -> Iterator[Violation]:
    """Every event that was emitted is in the inbox of each step that hears it, as long as both are kept."""
    kept_since = timezone.now() - settings.SAGAS.retention + timedelta(days=1)  # purges do not come at the same moment
    judged = [pk for pk, order in facts.settled if order["created_at"] > kept_since]
    for lost in missing(judged, before=facts.before, of=OrderCreated):
        yield Violation(
            "events_are_handled", f"order {lost.key}", f"{lost.event_type} of {lost.emitted_by} not at {lost.step}"
        )


WHOLE: tuple[Callable[[datetime], Iterator[Violation]], ...] = (
    stock_adds_up, ledger_has_payments, one_order_per_key, outbox_drained, no_dead_letters, carriers_agree,
    unpaid_is_seen_to,
)  # fmt: skip
PER_WINDOW: tuple[Callable[[Facts], Iterator[Violation]], ...] = (
    orders_end, completed_is_whole, dropped_is_refunded, cancelled_keeps_nothing, shipped_was_handed_over,
    shipped_from_where_it_was_reserved, operations_add_up, money_matches_ledger, order_adds_up, no_orphans,
    histories_are_legal, events_are_handled,
)  # fmt: skip


def _done(facts: Facts, order_id: int) -> Counter[str]:
    """Return the amounts authorized, released, captured and refunded according to our ledger."""
    sums: Counter[str] = Counter(authorized=0, released=0, captured=0, refunded=0)
    for operation in facts.operations.get(order_id, []):
        if operation["outcome"] == "SUCCEEDED":
            kind, amount = operation["kind"], operation["amount"]
            sums["authorized"] += amount * (kind in HOLDS)
            sums["released"] += amount * (kind == "RELEASE")
            sums["captured"] += amount * (kind in TAKES)
            sums["refunded"] += amount * (kind == "REFUND")
    return sums


def _paid(facts: Facts, order_id: int) -> int:
    """What was taken for an order, less what its changes gave back, or let go of before it was taken."""
    operations = [one for one in facts.operations.get(order_id, []) if one["outcome"] == "SUCCEEDED"]
    given_back: int = sum(one["amount"] for one in operations if one["kind"] in GIVES and CHANGE in one["key"])
    captured: int = facts.payments.get(order_id, {}).get("captured", 0)
    return captured - given_back


def _moved(facts: Facts, order_id: int) -> Counter[tuple[str, int]]:
    """Units that an order has moved, by kind and product."""
    sums: Counter[tuple[str, int]] = Counter()
    for move in facts.movements.get(order_id, []):
        sums[move["kind"], move["product_id"]] += move["delta"]
    return sums


def _net(facts: Facts, order_id: int) -> Counter[int]:
    """Units that have come (positive) or gone for an order, by product."""
    sums: Counter[int] = Counter()
    for move in facts.movements.get(order_id, []):
        sums[move["product_id"]] += move["delta"]
    return Counter({product: units for product, units in sums.items() if units})


def _reserved(facts: Facts, order_id: int, status: str) -> Counter[int]:
    """Units of an order's lines in this status, by product."""
    sums: Counter[int] = Counter()
    for line in facts.reserved_lines.get(order_id, []):
        if line["status"] == status:
            sums[line["product_id"]] += line["quantity"]
    return sums


def _dropped(facts: Facts, order_id: int) -> Counter[int]:
    """Units in shipments of an order that failed, by product."""
    sums: Counter[int] = Counter()
    for delivery in facts.deliveries.get(order_id, []):
        if delivery["parts"] > 1 and delivery["status"] == "FAILED":
            for line in delivery["lines"]:
                sums[line["product_id"]] += line["quantity"]
    return sums


def scan(service: str, sql: str, parameters: list[Any] | dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    with transaction.atomic(using=service), connections[service].cursor() as cursor:
        # These read whole tables, unlike all others (settings.PLANS).
        cursor.execute(f"SET LOCAL enable_seqscan = on; {sql}", parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
