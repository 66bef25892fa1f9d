"""Statements about many rows of stock at once, each for a whole batch.

Locks are taken in the same order everywhere, so that batches cannot deadlock: reservations by order, then stock items
by product and location. A product is locked at all its locations.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fastdb.bulk import Row
from sagas.db.prepared import query

LOCK_HELD = """
    WITH held AS (
        SELECT id, order_id, status FROM inventory_reservation
        WHERE order_id = ANY(%s::bigint[]) AND status = ANY(%s::text[]) ORDER BY order_id FOR UPDATE
    )
    SELECT order_id, CASE line.status WHEN '' THEN held.status ELSE line.status END, product_id, location_id, quantity,
        shipment, line.id
    FROM held JOIN inventory_reservationline AS line ON reservation_id = held.id ORDER BY order_id, line.id
"""
LOCK_FREE_STOCK = """
    SELECT product_id, location_id, on_hand - reserved,
        (SELECT priority FROM inventory_location WHERE code = location_id)
    FROM inventory_stockitem WHERE product_id = ANY(%s::bigint[]) ORDER BY product_id, location_id FOR UPDATE
"""
HOMES = """
    SELECT DISTINCT ON (product_id) product_id, location_id FROM (
        SELECT product_id, location_id, (SELECT priority FROM inventory_location WHERE code = location_id) AS priority
        FROM inventory_stockitem WHERE product_id = ANY(%s::bigint[])
    ) AS kept ORDER BY product_id, priority, location_id
"""
CHANGE_STOCK = """
    WITH item AS (
        SELECT id, product_id, location_id FROM inventory_stockitem
        WHERE product_id = ANY(%(products)s::bigint[]) ORDER BY product_id, location_id FOR UPDATE
    )
    UPDATE inventory_stockitem AS stock
    SET on_hand = stock.on_hand + change.on_hand, reserved = stock.reserved + change.reserved,
        updated_at = clock_timestamp()
    FROM item JOIN unnest(%(products)s::bigint[], %(locations)s::text[], %(on_hand)s::int[], %(reserved)s::int[])
        AS change (product_id, location_id, on_hand, reserved) USING (product_id, location_id)
    WHERE stock.id = item.id
"""
CHANGE_LINES = """
    WITH news AS (
        SELECT r.id, product_id, location_id, quantity
        FROM unnest(%(orders)s::bigint[], %(products)s::bigint[], %(locations)s::text[], %(quantities)s::int[])
            AS wanted (ordered, product_id, location_id, quantity)
        JOIN inventory_reservation r ON r.order_id = ordered
    ), gone AS (
        DELETE FROM inventory_reservationline AS old USING news
        WHERE old.reservation_id = news.id AND old.product_id = news.product_id
            AND old.location_id = news.location_id AND news.quantity = 0
    )
    UPDATE inventory_reservationline AS old SET quantity = news.quantity FROM news
    WHERE old.reservation_id = news.id AND old.product_id = news.product_id
        AND old.location_id = news.location_id AND news.quantity > 0
"""
SET_LINES = """
    UPDATE inventory_reservationline AS old SET status = new.status
    FROM unnest(%s::bigint[], %s::text[]) AS new (id, status) WHERE old.id = new.id
"""
SET_STATUS = """
    UPDATE inventory_reservation AS old SET status = new.status, reason = new.reason, updated_at = clock_timestamp()
    FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS new (order_id, status, reason)
    WHERE old.order_id = new.order_id
"""


class Held(NamedTuple):
    """A line of a reservation. `status` is its own, in one of several `shipment`s, else the reservation's."""

    order_id: int
    status: str
    product_id: int
    location: str
    quantity: int
    shipment: int
    line_id: int

    def movement(self, kind: str, delta: int, reason: str = "") -> Row:
        """Return the row for units that came (positive) or went."""
        return {
            "product_id": self.product_id,
            "location_id": self.location,
            "delta": delta,
            "kind": kind,
            "order_id": self.order_id,
            "reason": reason,
        }


def lock_held(order_ids: Iterable[int], *statuses: str) -> list[Held]:
    """Lock the reservations of these orders that are in one of the statuses; their lines, as they were reserved."""
    return [Held(*row) for row in query("inventory", LOCK_HELD, [list(order_ids), list(statuses)])]


def lock_stock(product_ids: Iterable[int]) -> dict[str, dict[int, int]]:
    """Lock the stock of products in the common order, for the caller's transaction.

    Returns {location: {product: units that can be sold}}, by the locations' priority; where a product has no stock
    record, it is left out.
    """
    found = query("inventory", LOCK_FREE_STOCK, [list(product_ids)])
    free: dict[str, dict[int, int]] = defaultdict(dict)
    for product_id, location, units, _ in sorted(found, key=lambda row: (row[3], row[1])):
        free[location][product_id] = units
    return dict(free)


def homes(product_ids: Iterable[int]) -> dict[int, str]:
    """Of the locations at which each product has a stock record, the one that comes first."""
    return dict(query("inventory", HOMES, [sorted({*product_ids})]))


def change_stock(changes: Iterable[tuple[int, str, int, int]]) -> None:
    """Add to products' stock: (product, location, units on hand, units reserved)."""
    on_hand, reserved = Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    for product_id, location, pieces, promised in changes:
        on_hand[product_id, location] += pieces
        reserved[product_id, location] += promised
    if on_hand:
        changed = {
            "products": [product_id for product_id, _ in on_hand],
            "locations": [location for _, location in on_hand],
            "on_hand": list(on_hand.values()),
            "reserved": list(reserved.values()),
        }
        query("inventory", CHANGE_STOCK, changed)


def change_lines(changed: Sequence[tuple[Held, int]]) -> None:
    """Set the quantities of locked lines; one of 0 is deleted."""
    if changed:
        news = {
            "orders": [line.order_id for line, _ in changed],
            "products": [line.product_id for line, _ in changed],
            "locations": [line.location for line, _ in changed],
            "quantities": [quantity for _, quantity in changed],
        }
        query("inventory", CHANGE_LINES, news)


def set_lines(decided: Sequence[tuple[Held, str]]) -> None:
    """Set the status of locked lines, as far as their order has several shipments."""
    if several := [(line.line_id, status) for line, status in decided if line.shipment]:
        query("inventory", SET_LINES, list(map(list, zip(*several, strict=True))))


def set_status(decided: Sequence[tuple[int, str, str]]) -> None:
    """Set status and reason of locked reservations: (order, status, reason)."""
    if decided:
        query("inventory", SET_STATUS, list(map(list, zip(*decided, strict=True))))
