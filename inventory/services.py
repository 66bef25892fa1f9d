"""What staff and other services do with stock: look at it, book units in and out. `reservations.py` has what the saga
of an order does with it, `returns.py` that of a return; nothing else writes it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from fastdb.bulk import insert_if_absent, insert_rows
from inventory.models import Location, StockItem, StockMovement
from sagas.crash_points import crash_point
from shop import stafflog
from shop.api.problems import Problem
from shop.calls import connect
from shop.contracts import reasons
from shop.contracts.catalog import CatalogService
from shop.contracts.inventory import StockView
from shop.locks import distributed_lock

Kind = StockMovement.Kind

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
    """Set the threshold of available units below which a product's stock at a location, if it has any record there, is
    low."""
    with transaction.atomic(using="inventory"):
        items = StockItem.objects.filter(product_id=product_id, location=location)
        stock = items.select_for_update().values("low_below").first()
        if stock is None or stock == {"low_below": low_below}:
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
