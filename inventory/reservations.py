"""The rules of what is set aside for orders.

Each function handles a whole batch in a constant number of statements, and must run inside a transaction on
`inventory`.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from fastdb.bulk import Row, insert_if_absent, insert_rows
from inventory.fulfilment import Pieces, Places, decide
from inventory.models import Reservation, ReservationLine, StockMovement
from inventory.rows import Held, change_lines, change_stock, lock_held, lock_stock, set_lines, set_status
from shop.contracts import reasons
from shop.contracts.events import Line, Shipment

Status = Reservation.Status
Kind = StockMovement.Kind
HOLDING = (Status.RESERVED, Status.SHIPPED)


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
