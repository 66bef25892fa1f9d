"""The invariants of returns, with the rows that they check: a window of returns at a time, as `facts.py` does it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from audit.invariants import Violation
from audit.rows import Range, Row, mentioned, ranges, rows_of, rows_within
from sagas.reconciliation import missing
from shop.contracts.orders import FINAL
from shop.contracts.return_events import ReturnRequested
from shop.saga import RETURNS_EVENTS

VOID = {"REFUSED", "WITHDRAWN", "EXPIRED"}
RESTOCKED = {"EXCHANGING", "REFUND_REFUSED", "COMPLETED"}
INSPECTED = {"SETTLING", *RESTOCKED}
MOVING = {"SETTLING", "WITHDRAWING", "EXPIRING"}
HERE = {"RECEIVED", *INSPECTED}
PARCELS = {  # where a return's parcel is; in between, delivery or orders may know more than the other
    "EXPECTED": {"APPROVED", "LOST", "WITHDRAWING", "EXPIRING"},
    "RECEIVED": HERE,
    "LOST": {"LOST", "RECEIVED", *INSPECTED},
    "CANCELLED": {"WITHDRAWN", "EXPIRED"},
}
EXCHANGE = "EXCHANGE"
LATE = timedelta(days=1)  # by then the timers have certainly run

Pieces = dict[int, Counter[int]]  # by order, or by return: of each product


@dataclass
class Facts:
    """Rows by return id. Only returns unchanged since `before` are checked."""

    before: datetime
    strict: bool
    returns: dict[int, dict[str, Any]] = field(default_factory=dict)
    lines: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    refunds: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    movements: dict[int, Counter[tuple[str, int]]] = field(default_factory=lambda: defaultdict(Counter))
    parcels: dict[int, dict[str, Any]] = field(default_factory=dict)
    mentioned: set[int] = field(default_factory=set)  # by messages
    delivered: Pieces = field(default_factory=lambda: defaultdict(Counter))
    returned: Pieces = field(default_factory=lambda: defaultdict(Counter))  # all returns of these orders together
    prices: dict[tuple[int, int], int] = field(default_factory=dict)
    exchanges: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))  # orders, by return
    charged: set[int] = field(default_factory=set)  # those of them for which money was asked

    @property
    def settled(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The returns to check, with their ids."""
        return ((pk, row) for pk, row in self.returns.items() if row["progress_at"] <= self.before)


def violations(before: datetime, strict: bool, window: int) -> Iterator[Violation]:
    """What breaks the invariants of returns."""
    for bounds in ranges("orders.Return", window):
        facts = _read(Facts(before, strict), bounds)
        for check in OF_RETURNS:
            yield from check(facts)


def _read(facts: Facts, bounds: Range) -> Facts:
    for row in rows_within(bounds, "inventory.StockMovement", "return_id"):
        facts.movements[row["return_id"]][row["kind"], row["product_id"]] += row["delta"]
    facts.parcels = {row["return_id"]: row for row in rows_within(bounds, "delivery.ReturnParcel", "return_id")}
    facts.mentioned = set().union(*mentioned(bounds, [*RETURNS_EVENTS], among=True).values())
    for row in rows_within(bounds, "orders.Refund", "for_return_id"):
        facts.refunds[row["for_return_id"]].append(row)
    for row in rows_within(bounds, "orders.ReturnLine", "of_return_id"):
        facts.lines[row["of_return_id"]].append(row)
    facts.returns = {row["id"]: row for row in rows_within(bounds, "orders.Return", "id")}
    orders = {row["order_id"] for row in facts.returns.values()}
    for row in rows_of(orders, "orders.OrderLine"):
        facts.delivered[row["order_id"]][row["product_id"]] = row["quantity"]
        facts.prices[row["order_id"], row["product_id"]] = row["unit_price"]
    together = {row["id"]: row for row in rows_of(orders, "orders.Return")}
    for line in rows_of(together, "orders.ReturnLine", "of_return_id"):
        order_id, status = (together[line["of_return_id"]][name] for name in ("order_id", "status"))
        facts.returned[order_id][line["product_id"]] += line["quantity"] * (status not in VOID)
        facts.prices.setdefault((order_id, line["exchange_product_id"]), line["unit_price"])
    _read_exchanges(facts, together)
    return facts


def _read_exchanges(facts: Facts, returns: dict[int, Row]) -> None:
    """Read the orders that were given in exchange for these, with what is in them and what did not arrive."""
    given = rows_of(returns, "orders.Order", "exchange_for_id")
    found = {row["id"]: {**row, "pieces": Counter(), "dropped": Counter()} for row in given}
    for line in rows_of(found, "orders.OrderLine"):
        found[line["order_id"]]["pieces"][line["product_id"]] += line["quantity"]
    for parcel in rows_of(found, "delivery.Delivery"):
        for line in parcel["lines"] if parcel["parts"] > 1 and parcel["status"] == "FAILED" else ():
            found[parcel["order_id"]]["dropped"][line["product_id"]] += line["quantity"]
    payments = {row["id"]: row["order_id"] for row in rows_of(found, "payments.Payment")}
    entries = rows_of(payments, "payments.PaymentOperation", "payment_id")
    facts.charged = {payments[entry["payment_id"]] for entry in entries}
    for row in found.values():
        facts.exchanges[row["exchange_for_id"]].append(row)
        if row["status"] == "COMPLETED":
            facts.delivered[returns[row["exchange_for_id"]]["order_id"]].update(row["pieces"] - row["dropped"])


def returns_were_delivered(facts: Facts) -> Iterator[Violation]:
    """No more pieces of an order are returned than were delivered; all that has a return's number belongs to one."""
    for order_id, pieces in facts.returned.items():
        for product_id, quantity in pieces.items():
            if quantity > facts.delivered[order_id][product_id]:
                detail = f"{quantity} of product {product_id} returned, {facts.delivered[order_id][product_id]} ordered"
                yield Violation("returns_were_delivered", f"order {order_id}", detail)
    for what, known in (("movement", facts.movements), ("parcel", facts.parcels), ("event", facts.mentioned)):
        for pk in sorted(set(known) - facts.returns.keys()):
            yield Violation("returns_were_delivered", f"return {pk}", f"{what} without a return")


def returns_add_up(facts: Facts) -> Iterator[Violation]:
    """What is due for a return is what its accepted and written-off pieces cost (of an exchange, those that its order
    did not bring), less what is kept; what was refunded is what the refunds for it add up to, and no more."""
    for pk, row in facts.settled:
        lines, found = facts.lines[pk], row["status"] in INSPECTED
        taken_back = _missing(facts, pk, row) if row["kind"] == EXCHANGE else _taken_back(lines, "product_id")
        due = sum(facts.prices.get((row["order_id"], one), 0) * count for one, count in taken_back.items())
        if found and row["refund_due"] != due - row["kept"]:
            detail = f"{row['refund_due']} due, lines {due}, kept {row['kept']}"
            yield Violation("returns_add_up", f"return {pk}", detail)
        for line in lines:
            said = line["accepted"] + line["written_off"] + line["rejected"]
            if said != (line["quantity"] if found else 0):
                detail = f"{said} of {line['quantity']} pieces of product {line['product_id']} inspected"
                yield Violation("returns_add_up", f"return {pk}", detail)
        given = sum(refund["amount"] for refund in facts.refunds[pk] if refund["status"] == "COMPLETED")
        if row["refunded"] != given or given > (row["refund_due"] or 0):
            detail = f"{row['refunded']} refunded of {row['refund_due']}, refunds {given}"
            yield Violation("returns_add_up", f"return {pk}", detail)


def accepted_is_restocked(facts: Facts) -> Iterator[Violation]:
    """What was accepted and written off came in, and what was written off went: nothing else, and nothing before."""
    for pk, row in facts.settled:
        expected: Counter[tuple[str, int]] = Counter()
        for line in facts.lines[pk] if row["status"] in RESTOCKED else ():
            expected["RETURN", line["product_id"]] += line["accepted"] + line["written_off"]
            expected["WRITE_OFF", line["product_id"]] -= line["written_off"]
        if row["status"] != "SETTLING" and facts.movements[pk] != expected:
            detail = f"moved {_shown(facts.movements[pk])}, inspected {_shown(expected)}"
            yield Violation("accepted_is_restocked", f"return {pk}", detail)


def returns_are_looked_after(facts: Facts) -> Iterator[Violation]:
    """A return that we are to move, or whose parcel is awaited, is looked at; none stands still, or expects a parcel
    that it does not. Strictly: nothing but people is waited for."""
    now = timezone.now()
    for pk, row in facts.settled:
        status, since = row["status"], row["progress_at"]
        if status in {"APPROVED", "EXCHANGING", *MOVING} and row["look_at"] is None:
            yield Violation("returns_are_looked_after", f"return {pk}", f"{status}, and nobody looks")
        too_long = since < now - timedelta(seconds=2 * settings.ORDER_DEADLINE)
        is_over = status == "EXCHANGING" and any(order["status"] in FINAL for order in facts.exchanges[pk])
        if (status in MOVING or is_over) and (facts.strict or too_long):
            yield Violation("returns_are_looked_after", f"return {pk}", f"still {status}")
        if status == "APPROVED" and row["approved_at"] < now - settings.RETURN_ARRIVES_WITHIN - LATE:
            yield Violation(
                "returns_are_looked_after", f"return {pk}", "its parcel did not come, and it did not expire"
            )
        parcel = facts.parcels.get(pk)
        if parcel and parcel["updated_at"] <= facts.before and status not in PARCELS[parcel["status"]]:
            yield Violation("returns_are_looked_after", f"return {pk}", f"{status}, its parcel is {parcel['status']}")


def exchanges_have_one_order(facts: Facts) -> Iterator[Violation]:
    """What was taken back for an exchange is in one order of the same customer, and in no other; nothing else is."""
    for pk, row in facts.settled:
        expected = _taken_back(facts.lines[pk], "exchange_product_id") if row["kind"] == EXCHANGE else Counter[int]()
        found = [(order["user_id"], order["pieces"]) for order in facts.exchanges[pk]]
        is_placed = bool(expected) and row["status"] in RESTOCKED
        if row["status"] != "SETTLING" and found != [(row["user_id"], expected)] * is_placed:
            yield Violation("exchanges_have_one_order", f"return {pk}", f"inspected {dict(expected)}, given {found}")


def exchanges_cost_nothing(facts: Facts) -> Iterator[Violation]:
    """An order that is given in exchange has no price, and no money is asked for it."""
    for order in (order for orders in facts.exchanges.values() for order in orders):
        if order["total_price"] or order["id"] in facts.charged:
            yield Violation("exchanges_cost_nothing", f"order {order['id']}", f"{order['total_price']}, or charged")


def returns_events_are_handled(facts: Facts) -> Iterator[Violation]:
    """Every event of a return is in the inbox of each step that hears it, as long as both are kept."""
    kept_since = timezone.now() - settings.SAGAS.retention + LATE
    judged = [pk for pk, row in facts.settled if row["created_at"] > kept_since]
    for lost in missing(judged, before=facts.before, of=ReturnRequested):
        detail = f"{lost.event_type} of {lost.emitted_by} not at {lost.step}"
        yield Violation("returns_events_are_handled", f"return {lost.key}", detail)


OF_RETURNS: tuple[Callable[[Facts], Iterator[Violation]], ...] = (
    returns_were_delivered, returns_add_up, accepted_is_restocked, returns_are_looked_after, exchanges_have_one_order,
    exchanges_cost_nothing, returns_events_are_handled,
)  # fmt: skip


def _taken_back(lines: list[dict[str, Any]], by: str) -> Counter[int]:
    """How many pieces were accepted or written off, by this field of their lines."""
    pieces: Counter[int] = Counter()
    for line in lines:
        pieces[line[by]] += line["accepted"] + line["written_off"]
    return +pieces


def _missing(facts: Facts, pk: int, row: dict[str, Any]) -> Counter[int]:
    """What the order that a return is exchanged for did not bring, once that is known to the return."""
    missing: Counter[int] = Counter()
    for order in facts.exchanges[pk] if row["status"] != "EXCHANGING" else ():
        missing += order["pieces" if order["status"] == "CANCELLED" else "dropped"]
    return missing


def _shown(moved: Counter[tuple[str, int]]) -> dict[str, int]:
    return {f"{kind} {product_id}": delta for (kind, product_id), delta in sorted(moved.items()) if delta}
