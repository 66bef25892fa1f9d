"""The rules of stock, and the only code that writes it.

Locks are taken in the same order everywhere, so that batches cannot deadlock: reservations by order, then stock items
by product. `reserve`, `change`, `release` and `ship` handle a whole batch in a constant number of statements, and must
run inside a transaction on `inventory`; the others open their own.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple
from uuid import UUID

import msgspec
from django.db import transaction

from fastdb.bulk import Row, insert_if_absent, insert_rows
from inventory.models import Reservation, ReservationLine, StockItem, StockMovement
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from shop import stafflog
from shop.api.problems import Problem
from shop.calls import connect
from shop.contracts import reasons
from shop.contracts.catalog import CatalogService
from shop.contracts.events import Line
from shop.contracts.inventory import StockView
from shop.locks import distributed_lock

Status = Reservation.Status
Kind = StockMovement.Kind

MOST_ON_HAND = 1_000_000_000  # per product: half of what the column can hold, as shipped units may come back


class NoStockRecord(Problem):
    """This product has no stock record."""

    code = "I001"


class BelowReserved(Problem):
    """The adjustment would leave fewer units on hand than are reserved for orders."""

    code = reasons.INSUFFICIENT_STOCK


class TooManyPieces(Problem):
    """There is no room for so many units: those that are with carriers may come back as well."""

    code = "C002"
    status_code = HTTPStatus.CONFLICT


class AlreadyBooked(Problem):
    """This booking was made already."""

    code = "C009"


class StaleStock(Problem):
    """The stock has changed since it was read. Read it again, and book on that."""

    code = "C002"
    status_code = HTTPStatus.PRECONDITION_FAILED


def lock_key(product_id: int) -> str:
    """The distributed lock of a product's stock."""
    return f"inventory:lock:{product_id}"


def reserve(orders: Mapping[int, Sequence[Line]]) -> dict[int, str]:
    """Set stock aside for each order, all its lines or none, first come first served.

    Returns {order: ""} for reserved orders and {order: reason} for refused ones. An order that was decided before, or
    released before it was reserved, is not in the result.
    """
    fresh = insert_if_absent(
        Reservation, [{"order_id": order_id, "status": Status.RESERVED} for order_id in orders], key="order_id"
    )
    free = lock_stock({line.product_id for order_id in fresh for line in orders[order_id]})
    decisions: dict[int, str] = {}
    lines: list[Row] = []
    for order_id, wanted in orders.items():
        if order_id not in fresh:
            continue
        decisions[order_id] = reason = _refusal(free, wanted)
        if not reason:
            for line in wanted:
                free[line.product_id] -= line.quantity
            lines += [{"reservation_id": fresh[order_id], **msgspec.structs.asdict(line)} for line in wanted]
    insert_rows(ReservationLine, lines)
    change_stock((line["product_id"], 0, line["quantity"]) for line in lines)
    _set_status([(order_id, Status.REFUSED, reason) for order_id, reason in decisions.items() if reason])
    return decisions


def _refusal(free: Mapping[int, int], wanted: Sequence[Line]) -> str:
    """Return why these lines cannot be reserved; empty if they can."""
    for line in wanted:
        if line.product_id not in free:
            return f"{reasons.NO_STOCK_OF} {line.product_id}"
        if free[line.product_id] < line.quantity:
            return f"{reasons.NOT_ENOUGH_OF} {line.product_id}"
    return ""


def release(orders: Mapping[int, str]) -> set[int]:
    """Release what each order holds, for a reason; return the orders that this call has released.

    Reserved units become free, shipped units return to the shelf. An order without a reservation gets a RELEASED row
    without lines: a late reservation finds it and does nothing.
    """
    tombstones = insert_if_absent(
        Reservation,
        [{"order_id": one, "status": Status.RELEASED, "reason": reason} for one, reason in orders.items()],
        key="order_id",
    )
    held = _lock_held(orders.keys() - tombstones.keys(), Status.RESERVED, Status.SHIPPED)
    shipped = [line for line in held if line.status == Status.SHIPPED]
    insert_rows(StockMovement, [line.movement(Kind.RETURN, line.quantity, orders[line.order_id]) for line in shipped])
    change_stock(
        (line.product_id, line.quantity, 0) if line.status == Status.SHIPPED else (line.product_id, 0, -line.quantity)
        for line in held
    )
    ends = {line.order_id: Status.RETURNED if line.status == Status.SHIPPED else Status.RELEASED for line in held}
    _set_status([(order_id, status, orders[order_id]) for order_id, status in ends.items()])
    return tombstones.keys() | ends.keys()


def change(orders: Mapping[int, Sequence[Line]]) -> None:
    """Change what is reserved for each order, by so many pieces of each product. An order that holds nothing any more
    is passed over."""
    held = {(line.order_id, line.product_id): line for line in _lock_held(orders, Status.RESERVED)}
    changes = [
        (held[order_id, line.product_id], line.quantity)
        for order_id, lines in orders.items()
        for line in lines
        if (order_id, line.product_id) in held
    ]
    if changes:
        query(
            "inventory",
            CHANGE_LINES,
            {
                "orders": [line.order_id for line, _ in changes],
                "products": [line.product_id for line, _ in changes],
                "quantities": [line.quantity + more for line, more in changes],
            },
        )
    change_stock((line.product_id, 0, more) for line, more in changes)


def ship(order_ids: Iterable[int]) -> None:
    """Take the reserved units of these orders off the shelf, as carriers have them. Skips orders that hold nothing."""
    held = _lock_held(order_ids, Status.RESERVED)
    insert_rows(StockMovement, [line.movement(Kind.SHIPMENT, -line.quantity) for line in held])
    change_stock((line.product_id, -line.quantity, -line.quantity) for line in held)
    _set_status([(order_id, Status.SHIPPED, "") for order_id in dict.fromkeys(line.order_id for line in held)])


def available(product_id: int) -> StockItem:
    """Return a product's stock. Raises `NoStockRecord`."""
    try:
        return StockItem.objects.get(pk=product_id)
    except StockItem.DoesNotExist:
        raise NoStockRecord(f"There is no stock record for product {product_id}.") from None


@distributed_lock(lambda *, product_id, delta, reason, expected=None, booking=None: [lock_key(product_id)])  # noqa: ARG005
def adjust_stock(
    *,
    product_id: int,
    delta: int,
    reason: str,
    expected: Collection[str] | None = None,
    booking: UUID | None = None,
) -> StockItem:
    """Book units in (positive) or out (negative); the first receipt of a product creates its stock record.

    `expected` are the versions of the stock that the booking is meant for; None for any. `booking` is an id that makes
    the booking idempotent.

    Raises `NoStockRecord` if the catalogue does not know the product, `BelowReserved` if fewer units would be left than
    are reserved, `TooManyPieces`, `StaleStock`, `AlreadyBooked`.
    """
    if not StockItem.objects.filter(pk=product_id).exists() and not connect(CatalogService).get_products([product_id]):
        raise NoStockRecord(f"There is no product {product_id} to keep stock of.")
    with transaction.atomic(using="inventory", durable=True):
        stock = book(product_id=product_id, delta=delta, reason=reason, expected=expected, booking=booking)
        crash_point("adjustment.written")
    crash_point("adjustment.committed")
    return stock


def book(
    *,
    product_id: int,
    delta: int,
    reason: str,
    expected: Collection[str] | None = None,
    booking: UUID | None = None,
) -> StockItem:
    """Like `adjust_stock`, for a product known to the catalogue, within the caller's transaction."""
    with transaction.atomic(using="inventory"):
        insert_if_absent(StockItem, [{"product_id": product_id}], key="product_id")
        stock = StockItem.objects.select_for_update().get(pk=product_id)
        if expected is not None and stock.version not in expected:
            raise StaleStock
        if booking is not None and StockMovement.objects.filter(booking=booking).exists():
            raise AlreadyBooked
        if delta > 0 and stock.on_hand + delta > MOST_ON_HAND:
            raise TooManyPieces(f"{stock.on_hand} units are on hand; there is room for {MOST_ON_HAND}.")
        if stock.on_hand + delta < stock.reserved:
            raise BelowReserved(
                f"{stock.reserved} of {stock.on_hand} units are reserved; {stock.available} can be booked out."
            )
        before = {"on_hand": stock.on_hand}
        stock.on_hand += delta
        stock.save(update_fields=["on_hand", "updated_at"])
        after = {"on_hand": stock.on_hand, "reason": reason}
        stafflog.record("inventory", "book", f"stock of product {product_id}", before=before, after=after)
        StockMovement.objects.create(
            product_id=product_id, delta=delta, kind=Kind.ADJUSTMENT, reason=reason, booking=booking
        )
    return stock


def set_low_below(product_id: int, low_below: int) -> None:
    """Set the threshold of available units below which a product's stock is low."""
    with transaction.atomic(using="inventory"):
        stock = StockItem.objects.select_for_update().filter(pk=product_id).values("low_below").first()
        if stock == {"low_below": low_below}:
            return
        StockItem.objects.filter(pk=product_id).update(low_below=low_below)  # not `updated_at`
        after = {"low_below": low_below}
        stafflog.record("inventory", "low below", f"stock of product {product_id}", before=stock, after=after)


class LocalInventory:
    """`shop.contracts.inventory.InventoryService` on this service's own table."""

    def get_stock(self, product_ids: Collection[int]) -> dict[int, StockView]:
        rows = StockItem.objects.filter(pk__in=set(product_ids)).values("product_id", "on_hand", "reserved")
        return {row["product_id"]: StockView(**row) for row in rows}


def seed_stock(quantities: Mapping[int, int]) -> int:
    """Create stock records with these quantities for products that have none; return how many were created."""
    with transaction.atomic(using="inventory", durable=True):
        opened = insert_if_absent(
            StockItem,
            [{"product_id": product_id, "on_hand": quantity} for product_id, quantity in quantities.items()],
            key="product_id",
        )
        insert_rows(
            StockMovement,
            (
                {
                    "product_id": product_id,
                    "delta": quantities[product_id],
                    "kind": Kind.ADJUSTMENT,
                    "reason": "Opening stock",
                }
                for product_id in opened
            ),
        )
    return len(opened)


class Held(NamedTuple):
    """A line of a reservation that holds stock."""

    order_id: int
    status: str
    product_id: int
    quantity: int

    def movement(self, kind: str, delta: int, reason: str = "") -> Row:
        """Return the row for units that came (positive) or went."""
        return {
            "product_id": self.product_id,
            "delta": delta,
            "kind": kind,
            "order_id": self.order_id,
            "reason": reason,
        }


LOCK_HELD = """
    WITH held AS (
        SELECT id, order_id, status FROM inventory_reservation
        WHERE order_id = ANY(%s::bigint[]) AND status = ANY(%s::text[]) ORDER BY order_id FOR UPDATE
    )
    SELECT order_id, status, product_id, quantity
    FROM held JOIN inventory_reservationline ON reservation_id = held.id ORDER BY order_id, product_id
"""
LOCK_FREE_STOCK = """
    SELECT product_id, on_hand - reserved FROM inventory_stockitem
    WHERE product_id = ANY(%s::bigint[]) ORDER BY product_id FOR UPDATE
"""
CHANGE_STOCK = """
    WITH item AS (
        SELECT product_id FROM inventory_stockitem
        WHERE product_id = ANY(%(products)s::bigint[]) ORDER BY product_id FOR UPDATE
    )
    UPDATE inventory_stockitem AS stock
    SET on_hand = stock.on_hand + change.on_hand, reserved = stock.reserved + change.reserved,
        updated_at = clock_timestamp()
    FROM item JOIN unnest(%(products)s::bigint[], %(on_hand)s::int[], %(reserved)s::int[])
        AS change (product_id, on_hand, reserved) USING (product_id)
    WHERE stock.product_id = item.product_id
"""
CHANGE_LINES = """
    WITH news AS (
        SELECT r.id, product_id, quantity
        FROM unnest(%(orders)s::bigint[], %(products)s::bigint[], %(quantities)s::int[])
            AS wanted (ordered, product_id, quantity)
        JOIN inventory_reservation r ON r.order_id = ordered
    ), gone AS (
        DELETE FROM inventory_reservationline AS old USING news
        WHERE old.reservation_id = news.id AND old.product_id = news.product_id AND news.quantity = 0
    )
    UPDATE inventory_reservationline AS old SET quantity = news.quantity FROM news
    WHERE old.reservation_id = news.id AND old.product_id = news.product_id AND news.quantity > 0
"""
SET_STATUS = """
    UPDATE inventory_reservation AS old SET status = new.status, reason = new.reason, updated_at = clock_timestamp()
    FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS new (order_id, status, reason)
    WHERE old.order_id = new.order_id
"""


def _lock_held(order_ids: Iterable[int], *statuses: str) -> list[Held]:
    return [Held(*row) for row in query("inventory", LOCK_HELD, [list(order_ids), list(statuses)])]


def lock_stock(product_ids: Iterable[int]) -> dict[int, int]:
    """Lock the stock of products in the common order, for the caller's transaction.

    Returns {product: available units}, for products that have a stock record.
    """
    return dict(query("inventory", LOCK_FREE_STOCK, [list(product_ids)]))


def change_stock(changes: Iterable[tuple[int, int, int]]) -> None:
    """Add to products' stock: (product, units on hand, units reserved)."""
    on_hand, reserved = Counter[int](), Counter[int]()
    for product_id, pieces, promised in changes:
        on_hand[product_id] += pieces
        reserved[product_id] += promised
    if on_hand:
        changed = {"products": list(on_hand), "on_hand": list(on_hand.values()), "reserved": list(reserved.values())}
        query("inventory", CHANGE_STOCK, changed)


def _set_status(decided: Sequence[tuple[int, str, str]]) -> None:
    """Set status and reason of locked reservations: (order, status, reason)."""
    if decided:
        query("inventory", SET_STATUS, list(map(list, zip(*decided, strict=True))))
