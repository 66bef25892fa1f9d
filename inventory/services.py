"""The rules of stock, and the only code that writes it, with `rows` and `returns`.

`reserve`, `change`, `release` and `ship` handle a whole batch in a constant number of statements, and must run inside a
transaction on `inventory`; the others open their own.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from fastdb.bulk import Row, insert_if_absent, insert_rows
from inventory.fulfilment import Pieces, Places, decide
from inventory.models import Location, Reservation, ReservationLine, StockItem, StockMovement
from inventory.rows import Held, change_lines, change_stock, lock_held, lock_stock, set_lines, set_status
from sagas.crash_points import crash_point
from shop import stafflog
from shop.api.problems import Problem
from shop.calls import connect
from shop.contracts import reasons
from shop.contracts.catalog import CatalogService
from shop.contracts.events import Line, Shipment
from shop.contracts.inventory import StockView
from shop.locks import distributed_lock

Status = Reservation.Status
Kind = StockMovement.Kind
HOLDING = (Status.RESERVED, Status.SHIPPED)

MOST_ON_HAND = 1_000_000_000  # per location: half of what the column can hold, as shipped units may come back
FIRST_LOCATION = "MAIN"  # of a shop that has named none


class NoStockRecord(Problem):
    """This product has no stock record."""

    code = "I001"


class NoSuchLocation(Problem):
    """There is no location of this code."""

    code = "I003"


class BelowReserved(Problem):
    """The adjustment would leave fewer units on hand at the location than are reserved for orders."""

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


class Decision(NamedTuple):
    """Why an order's stock is refused, empty if it is reserved; and its shipments, if it has several."""

    reason: str
    shipments: tuple[Shipment, ...] = ()


def reserve(orders: Mapping[int, Sequence[Line]]) -> dict[int, Decision]:
    """Set stock aside for each order, all its pieces or none, first come first served; the rule says from where.

    Returns what was decided about each order. One that was decided before, or released before it was reserved, is not
    in the result.
    """
    fresh = insert_if_absent(
        Reservation, [{"order_id": order_id, "status": Status.RESERVED} for order_id in orders], key="order_id"
    )
    free = lock_stock({line.product_id for order_id in fresh for line in orders[order_id]})
    together = Counter[int]()
    for there in free.values():
        together.update(there)
    decisions: dict[int, Decision] = {}
    lines: list[Row] = []
    for order_id, ordered in orders.items():
        if order_id not in fresh:
            continue
        wanted = {line.product_id: line.quantity for line in ordered}
        reason = _refusal(together, wanted)
        places = {} if reason else decide(wanted, free)
        reason = reason or ("" if places else reasons.NOT_FROM_ONE_PLACE)
        shipments = _shipments(places) if len(places) > 1 else ()
        decisions[order_id] = Decision(reason, shipments)
        for number, (location, pieces) in enumerate(places.items(), 1 if shipments else 0):
            for product_id, quantity in pieces.items():
                free[location][product_id] -= quantity
                together[product_id] -= quantity
                lines.append(
                    {
                        "reservation_id": fresh[order_id],
                        "product_id": product_id,
                        "location_id": location,
                        "quantity": quantity,
                        "shipment": number,
                    }
                )
    insert_rows(ReservationLine, lines)
    change_stock((line["product_id"], line["location_id"], 0, line["quantity"]) for line in lines)
    set_status([(order_id, Status.REFUSED, one.reason) for order_id, one in decisions.items() if one.reason])
    return decisions


def _shipments(places: Places) -> tuple[Shipment, ...]:
    return tuple(
        Shipment(number, location, tuple(Line(*one) for one in pieces.items()))
        for number, (location, pieces) in enumerate(places.items(), 1)
    )


def _refusal(together: Mapping[int, int], wanted: Pieces) -> str:
    """Return why these pieces cannot be reserved anywhere; empty if they can."""
    for product_id, quantity in wanted.items():
        if product_id not in together:
            return f"{reasons.NO_STOCK_OF} {product_id}"
        if together[product_id] < quantity:
            return f"{reasons.NOT_ENOUGH_OF} {product_id}"
    return ""


def release(orders: Mapping[int, str]) -> set[int]:
    """Release what each order holds, for a reason; return the orders that this call has released.

    Reserved units become free, shipped units return to the shelf that they came from. An order without a reservation
    gets a RELEASED row without lines: a late reservation finds it and does nothing.
    """
    tombstones = insert_if_absent(
        Reservation,
        [{"order_id": one, "status": Status.RELEASED, "reason": reason} for one, reason in orders.items()],
        key="order_id",
    )
    found = lock_held(orders.keys() - tombstones.keys(), Status.RESERVED, Status.SHIPPED)
    _free([line for line in found if line.status in HOLDING], {line.order_id: orders[line.order_id] for line in found})
    left = {line.order_id for line in found if line.status in (Status.SHIPPED, Status.RETURNED)}
    ends = {line.order_id: Status.RETURNED if line.order_id in left else Status.RELEASED for line in found}
    set_status([(order_id, status, orders[order_id]) for order_id, status in ends.items()])
    return tombstones.keys() | ends.keys()


def take_back(failed: Mapping[tuple[int, int], str]) -> None:
    """Release what these shipments hold, (order, number), each for a reason, whether reserved or shipped. The other
    shipments of their orders go on."""
    found = lock_held({order_id for order_id, _ in failed}, Status.RESERVED, Status.SHIPPED)
    back = [line for line in found if (line.order_id, line.shipment) in failed and line.status in HOLDING]
    _free(back, {line.order_id: failed[line.order_id, line.shipment] for line in back})
    _ship_reservations(found, {line.line_id for line in back})


def _free(held: Sequence[Held], why: Mapping[int, str]) -> None:
    """Give back what lines hold, to where it came from."""
    shipped = [line for line in held if line.status == Status.SHIPPED]
    insert_rows(StockMovement, [line.movement(Kind.RETURN, line.quantity, why[line.order_id]) for line in shipped])
    change_stock(
        (line.product_id, line.location, line.quantity, 0)
        if line.status == Status.SHIPPED
        else (line.product_id, line.location, 0, -line.quantity)
        for line in held
    )
    set_lines([(line, Status.RETURNED if line.status == Status.SHIPPED else Status.RELEASED) for line in held])


def _ship_reservations(found: Sequence[Held], done: Collection[int]) -> None:
    """Reservations of which nothing is set aside any more, now that these lines are done, are SHIPPED."""
    waiting = {line.order_id for line in found if line.status == Status.RESERVED and line.line_id not in done}
    ready = dict.fromkeys(line.order_id for line in found if line.line_id in done)
    set_status([(order_id, Status.SHIPPED, "") for order_id in ready if order_id not in waiting])


def change(orders: Mapping[int, Sequence[Line]]) -> dict[int, tuple[Shipment, ...]]:
    """Release so many pieces of each product of these orders (quantities are negative), those from the location that
    was chosen last first. An order that holds nothing any more is passed over. Returns what is left in the shipments of
    orders with several."""
    held: dict[tuple[int, int], list[Held]] = defaultdict(list)
    found = [line for line in lock_held(orders, Status.RESERVED) if line.status == Status.RESERVED]
    for line in found:
        held[line.order_id, line.product_id].append(line)
    released: list[tuple[Held, int]] = []
    for order_id, lines in orders.items():
        for wanted in lines:
            left = -wanted.quantity
            for line in reversed(held[order_id, wanted.product_id]):
                if pieces := min(left, line.quantity):
                    released.append((line, pieces))
                    left -= pieces
    change_lines([(line, line.quantity - pieces) for line, pieces in released])
    change_stock((line.product_id, line.location, 0, -pieces) for line, pieces in released)
    gone = Counter({line.line_id: pieces for line, pieces in released})
    kept: dict[int, dict[int, Shipment]] = defaultdict(dict)
    for line in found:
        if line.shipment and (pieces := line.quantity - gone[line.line_id]):
            known = kept[line.order_id].get(line.shipment, Shipment(line.shipment, line.location, ()))
            lines = (*known.lines, Line(line.product_id, pieces))
            kept[line.order_id][line.shipment] = Shipment(line.shipment, line.location, lines)
    return {order_id: tuple(shipments.values()) for order_id, shipments in kept.items()}


def ship(handed_over: Collection[tuple[int, int]]) -> None:
    """Take reserved units off the shelf, as carriers have them: of (order, shipment), or, with 0 for the shipment, all
    of an order. Skips what is not reserved any more."""
    found = lock_held({order_id for order_id, _ in handed_over}, Status.RESERVED)
    held = [
        line
        for line in found
        if line.status == Status.RESERVED
        and not {(line.order_id, line.shipment), (line.order_id, 0)}.isdisjoint(handed_over)
    ]
    insert_rows(StockMovement, [line.movement(Kind.SHIPMENT, -line.quantity) for line in held])
    change_stock((line.product_id, line.location, -line.quantity, -line.quantity) for line in held)
    set_lines([(line, Status.SHIPPED) for line in held])
    _ship_reservations(found, {line.line_id for line in held})


@dataclass(frozen=True)
class ProductStock:
    """The stock of a product at all its locations, of which there is one at least, by their codes."""

    product_id: int
    items: Sequence[StockItem]

    @property
    def on_hand(self) -> int:
        return sum(item.on_hand for item in self.items)

    @property
    def reserved(self) -> int:
        return sum(item.reserved for item in self.items)

    @property
    def available(self) -> int:
        """Units that can be sold now."""
        return self.on_hand - self.reserved

    @property
    def created_at(self) -> datetime:
        return min(item.created_at for item in self.items)

    @property
    def updated_at(self) -> datetime:
        return max(item.updated_at for item in self.items)

    @property
    def version(self) -> str:
        """The version of this stock: when its items were written, in microseconds, added up: any change makes it
        another."""
        return str(sum(round(item.updated_at.timestamp() * 1_000_000) for item in self.items))

    def at(self, location: str) -> StockItem:
        return next(item for item in self.items if item.location_id == location)


def available(product_id: int) -> ProductStock:
    """Return a product's stock. Raises `NoStockRecord`."""
    items = list(StockItem.objects.filter(product_id=product_id).order_by("location_id"))
    if not items:
        raise NoStockRecord(f"There is no stock record for product {product_id}.")
    return ProductStock(product_id, items)


@distributed_lock(
    lambda *, product_id, delta, reason, location="", expected=None, booking=None: [lock_key(product_id)]  # noqa: ARG005
)
def adjust_stock(
    *,
    product_id: int,
    delta: int,
    reason: str,
    location: str = "",
    expected: Collection[str] | None = None,
    booking: UUID | None = None,
) -> ProductStock:
    """Book units in (positive) or out (negative) at a location, by default at the first; the first receipt of a product
    there creates its stock record.

    `expected` are the versions of the product's stock that the booking is meant for; None for any. `booking` is an id
    that makes the booking idempotent.

    Raises `NoStockRecord` if the catalogue does not know the product, `NoSuchLocation`, `BelowReserved` if fewer units
    would be left than are reserved, `TooManyPieces`, `StaleStock`, `AlreadyBooked`.
    """
    known = StockItem.objects.filter(product_id=product_id).exists()
    if not known and not connect(CatalogService).get_products([product_id]):
        raise NoStockRecord(f"There is no product {product_id} to keep stock of.")
    with transaction.atomic(using="inventory", durable=True):
        stock = book(
            product_id=product_id, delta=delta, reason=reason, location=location, expected=expected, booking=booking
        )
        crash_point("adjustment.written")
    crash_point("adjustment.committed")
    return stock


def book(
    *,
    product_id: int,
    delta: int,
    reason: str,
    location: str = "",
    expected: Collection[str] | None = None,
    booking: UUID | None = None,
) -> ProductStock:
    """Like `adjust_stock`, for a product known to the catalogue, within the caller's transaction."""
    with transaction.atomic(using="inventory"):
        location = location or first_location()
        if not Location.objects.filter(pk=location).exists():
            raise NoSuchLocation(f"There is no location {location}.")
        _open({product_id: 0}, location)
        items = StockItem.objects.filter(product_id=product_id).select_for_update().order_by("location_id")
        stock = ProductStock(product_id, list(items))
        if expected is not None and stock.version not in expected:
            raise StaleStock
        if booking is not None and StockMovement.objects.filter(booking=booking).exists():
            raise AlreadyBooked
        item = stock.at(location)
        if delta > 0 and item.on_hand + delta > MOST_ON_HAND:
            raise TooManyPieces(f"{item.on_hand} units are on hand; there is room for {MOST_ON_HAND}.")
        if item.on_hand + delta < item.reserved:
            raise BelowReserved(
                f"{item.reserved} of {item.on_hand} units are reserved; {item.available} can be booked out."
            )
        before = {"on_hand": item.on_hand}
        item.on_hand += delta
        item.save(update_fields=["on_hand", "updated_at"])
        after = {"on_hand": item.on_hand, "reason": reason}
        stafflog.record("inventory", "book", f"stock of product {product_id} at {location}", before=before, after=after)
        StockMovement.objects.create(
            product_id=product_id,
            location_id=location,
            delta=delta,
            kind=Kind.ADJUSTMENT,
            reason=reason,
            booking=booking,
        )
    return stock


def set_low_below(product_id: int, location: str, low_below: int) -> None:
    """Set the threshold of available units below which a product's stock at a location is low."""
    with transaction.atomic(using="inventory"):
        items = StockItem.objects.filter(product_id=product_id, location=location)
        stock = items.select_for_update().values("low_below").first()
        if stock == {"low_below": low_below}:
            return
        items.update(low_below=low_below)  # not `updated_at`
        target = f"stock of product {product_id} at {location}"
        stafflog.record("inventory", "low below", target, before=stock, after={"low_below": low_below})


def first_location() -> str:
    """The location that comes first. If there is none yet, it is created: a shop with one place need not name it."""
    known = Location.objects.order_by("priority", "code").values_list("pk", flat=True).first()
    if known is None:
        insert_if_absent(Location, [{"code": FIRST_LOCATION, "name": "Main", "priority": 0}], key="code")
    return known or FIRST_LOCATION


def _open(quantities: Mapping[int, int], location: str) -> list[int]:
    """Create stock records of products at a location, with these units on hand; the products that had none there."""
    rows = [
        {"product_id": product_id, "location_id": location, "on_hand": quantity}
        for product_id, quantity in sorted(quantities.items())
    ]
    then = "ON CONFLICT (product_id, location_id) DO NOTHING RETURNING product_id"
    return [product_id for (product_id,) in insert_rows(StockItem, rows, then=then)]


class LocalInventory:
    """`shop.contracts.inventory.InventoryService` on this service's own table."""

    def get_stock(self, product_ids: Collection[int]) -> dict[int, StockView]:
        rows = StockItem.objects.filter(product_id__in=set(product_ids)).order_by().values("product_id")
        sums = rows.annotate(on_hand=Sum("on_hand"), reserved=Sum("reserved"))
        return {row["product_id"]: StockView(**row) for row in sums}


def seed_stock(quantities: Mapping[int, int], location: str = "") -> int:
    """Create stock records with these quantities for products that have none at the location, by default the first;
    return how many were created. A location that is not there is created, as the last one."""
    with transaction.atomic(using="inventory", durable=True):
        if location:
            insert_if_absent(Location, [{"code": location, "name": location.capitalize()}], key="code")
        location = location or first_location()
        opened = _open(quantities, location)
        insert_rows(
            StockMovement,
            (
                {
                    "product_id": product_id,
                    "location_id": location,
                    "delta": quantities[product_id],
                    "kind": Kind.ADJUSTMENT,
                    "reason": "Opening stock",
                }
                for product_id in opened
            ),
        )
    return len(opened)
