"""What customers send back: what staff accept is on the shelf again, what they write off is booked in and out.

Parcels from customers come to where stock lies that is sold first: of a product's locations, to that which comes first.
"""

from collections.abc import Sequence

from fastdb.bulk import Row, insert_rows
from inventory.models import StockMovement
from inventory.rows import change_stock, homes
from shop.contracts.return_events import InventoryRestocked, ReturnInspected

Kind = StockMovement.Kind


def restock(inspected: Sequence[ReturnInspected]) -> list[InventoryRestocked]:
    """Book the pieces of these returns in, a whole batch in a constant number of statements. Must run inside a
    transaction on `inventory`."""
    found = [(event, line) for event in inspected for line in event.lines]
    home = homes(line.product_id for _, line in found)
    rows: list[Row] = [
        {
            "product_id": line.product_id,
            "location_id": home[line.product_id],
            "delta": delta,
            "kind": kind,
            "order_id": event.order_id,
            "return_id": event.return_id,
            "reason": f"return {event.return_id}",
        }
        for event, line in found
        for kind, delta in ((Kind.RETURN, line.accepted + line.written_off), (Kind.WRITE_OFF, -line.written_off))
        if delta
    ]
    insert_rows(StockMovement, rows)
    change_stock((line.product_id, home[line.product_id], line.accepted, 0) for _, line in found)
    return [InventoryRestocked(order_id=event.order_id, return_id=event.return_id) for event in inspected]
