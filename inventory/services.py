"""The rules of stock, and the only code that writes it.

Lock order, the same everywhere, so that no two batches wait for each other in a circle: reservations by order, then
stock items by product. `reserve`, `release` and `ship` take a whole batch, in a constant number of statements, and
must run inside a transaction on `inventory`; the others open their own.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from django.db import transaction
from django.utils import timezone

from inventory.models import Reservation, ReservationLine, StockItem, StockMovement
from shop.api.problems import Problem
from shop.contracts.catalog import CatalogService
from shop.contracts.events import Line
from shop.locks import distributed_lock
from shop.rpc import connect
from shop.sql import insert_if_absent, insert_rows, update_rows

Status = Reservation.Status
Kind = StockMovement.Kind


class NoStockRecord(Problem):
    """Inventory does not know this product."""

    code = "I001"


class BelowReserved(Problem):
    """The adjustment would leave fewer pieces on hand than are promised to orders."""

    code = "I002"


def lock_key(product_id: int) -> str:
    """The distributed lock of a product's stock."""
    return f"inventory:lock:{product_id}"


def reserve(orders: Mapping[int, Sequence[Line]]) -> dict[int, str]:
    """Set stock aside for each order, all its lines or none, first come first served.

    Returns {order: ""} for what was reserved and {order: reason} for what was refused. An order that was decided
    before, or released before it came, is not in the answer.
    """
    fresh = insert_if_absent(
        [Reservation(order_id=order_id, status=Status.RESERVED) for order_id in orders], key="order_id"
    )
    stock = _lock_stock(line.product_id for order_id in fresh for line in orders[order_id])
    decisions: dict[int, str] = {}
    lines: list[ReservationLine] = []
    for order_id, wanted in orders.items():
        if order_id not in fresh:
            continue
        decisions[order_id] = reason = _refusal(stock, wanted)
        if not reason:
            for line in wanted:
                stock[line.product_id].reserved += line.quantity
                lines.append(
                    ReservationLine(reservation_id=fresh[order_id], product_id=line.product_id, quantity=line.quantity)
                )
    refused = [
        Reservation(pk=fresh[order_id], status=Status.REFUSED, reason=reason)
        for order_id, reason in decisions.items()
        if reason
    ]
    insert_rows(lines)
    _save(refused, stock.values() if lines else ())
    return decisions


def _refusal(stock: Mapping[int, StockItem], wanted: Sequence[Line]) -> str:
    """Why these lines cannot be reserved; empty if they can."""
    for line in wanted:
        if line.product_id not in stock:
            return f"I002: no stock of product {line.product_id}"
        if stock[line.product_id].available < line.quantity:
            return f"I002: insufficient stock of product {line.product_id}"
    return ""


def release(orders: Mapping[int, str]) -> set[int]:
    """Give back what each order holds, for a reason; returns the orders that this call has released.

    What is set aside becomes free, what has been shipped returns to the shelf. An order that holds nothing yet gets a
    RELEASED row without lines: the reservation that comes late finds it and does nothing.
    """
    tombstones = insert_if_absent(
        [Reservation(order_id=order_id, status=Status.RELEASED, reason=reason) for order_id, reason in orders.items()],
        key="order_id",
    )
    held = _lock_reservations(orders.keys() - tombstones.keys(), Status.RESERVED, Status.SHIPPED)
    stock = _lock_stock(line.product_id for one in held for line in one.lines.all())
    movements = []
    for reservation in held:
        reservation.reason = orders[reservation.order_id]
        for line in reservation.lines.all():
            if reservation.status == Status.RESERVED:
                stock[line.product_id].reserved -= line.quantity
            else:
                stock[line.product_id].on_hand += line.quantity
                movements.append(_movement(Kind.RETURN, reservation, line, line.quantity))
        reservation.status = Status.RELEASED if reservation.status == Status.RESERVED else Status.RETURNED
    insert_rows(movements)
    _save(held, stock.values())
    return tombstones.keys() | {reservation.order_id for reservation in held}


def ship(order_ids: Iterable[int]) -> None:
    """What was set aside for these orders has left the shelf. Orders that hold nothing any more are passed over."""
    held = _lock_reservations(order_ids, Status.RESERVED)
    stock = _lock_stock(line.product_id for one in held for line in one.lines.all())
    movements = []
    for reservation in held:
        reservation.status = Status.SHIPPED
        for line in reservation.lines.all():
            stock[line.product_id].on_hand -= line.quantity
            stock[line.product_id].reserved -= line.quantity
            movements.append(_movement(Kind.SHIPMENT, reservation, line, -line.quantity))
    insert_rows(movements)
    _save(held, stock.values())


def available(product_id: int) -> StockItem:
    """A product's stock. Raises `NoStockRecord`."""
    try:
        return StockItem.objects.get(pk=product_id)
    except StockItem.DoesNotExist:
        raise NoStockRecord(f"There is no stock record for product {product_id}.") from None


@distributed_lock(lambda *, product_id, delta, reason: [lock_key(product_id)])  # noqa: ARG005
def adjust_stock(*, product_id: int, delta: int, reason: str) -> StockItem:
    """Book pieces in (positive) or out (negative); the first receipt of a product opens its stock record.

    Raises `NoStockRecord` when the catalogue does not know the product, `BelowReserved` when fewer pieces would be
    left than orders have been promised.
    """
    if not StockItem.objects.filter(pk=product_id).exists() and not connect(CatalogService).get_products([product_id]):
        raise NoStockRecord(f"There is no product {product_id} to keep stock of.")
    with transaction.atomic(using="inventory", durable=True):
        insert_if_absent([StockItem(product_id=product_id)], key="product_id")
        stock = _lock_stock([product_id])[product_id]
        if stock.on_hand + delta < stock.reserved:
            raise BelowReserved(
                f"{stock.reserved} of {stock.on_hand} pieces are reserved; {stock.available} can be booked out."
            )
        stock.on_hand += delta
        stock.save(update_fields=["on_hand", "updated_at"])
        StockMovement.objects.create(product_id=product_id, delta=delta, kind=Kind.ADJUSTMENT, reason=reason)
    return stock


def seed_stock(quantities: Mapping[int, int]) -> int:
    """Open stock records with these quantities, for products that have none; how many were opened."""
    with transaction.atomic(using="inventory", durable=True):
        opened = insert_if_absent(
            [StockItem(product_id=product_id, on_hand=quantity) for product_id, quantity in quantities.items()],
            key="product_id",
        )
        insert_rows(
            StockMovement(
                product_id=product_id, delta=quantities[product_id], kind=Kind.ADJUSTMENT, reason="Opening stock"
            )
            for product_id in opened
        )
    return len(opened)


def _lock_reservations(order_ids: Iterable[int], *statuses: str) -> list[Reservation]:
    rows = Reservation.objects.filter(order_id__in=list(order_ids), status__in=statuses)
    return list(rows.select_for_update().order_by("order_id").prefetch_related("lines"))


def _lock_stock(product_ids: Iterable[int]) -> dict[int, StockItem]:
    wanted = set(product_ids)
    rows = StockItem.objects.filter(pk__in=wanted).select_for_update().order_by("product_id") if wanted else ()
    return {item.product_id: item for item in rows}


def _movement(kind: str, reservation: Reservation, line: ReservationLine, delta: int) -> StockMovement:
    return StockMovement(
        product_id=line.product_id, delta=delta, kind=kind, order_id=reservation.order_id, reason=reservation.reason
    )


def _save(reservations: Collection[Reservation], stock: Collection[StockItem]) -> None:
    """Write locked rows back."""
    now = timezone.now()
    for reservation in reservations:
        reservation.updated_at = now
    for item in stock:
        item.updated_at = now
    update_rows(reservations, "status", "reason", "updated_at")
    update_rows(stock, "on_hand", "reserved", "updated_at")
