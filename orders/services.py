"""The rules of an order on its way: what follows for it when the other services tell what they have done.

Status changes are compare-and-set (`orders/transitions.py`), and progress is monotonic: what comes late, twice or
after the end changes nothing. An order begins in `orders/placing.py`, and is undone in `orders/cancellation.py`.
"""

from collections.abc import Iterable, Mapping, Sequence

from orders.models import BEFORE_PAYMENT, FORWARD, UNFINISHED, Order
from orders.transitions import Moved, move
from sagas.db.prepared import query
from shop.api.problems import Problem
from shop.contracts.events import (
    DeliveryCompleted,
    OrderEvent,
    PaymentActionRequired,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentWrittenOff,
)

Status, Capture = Order.Status, Order.Capture

SETTLED = (Capture.CAPTURED, Capture.WRITTEN_OFF)
NOT_SETTLED = ("", Capture.DUE, Capture.FAILED)
CAPTURES: Mapping[type[OrderEvent], tuple[str, Sequence[str]]] = {  # what each event leads to, and from where
    PaymentCaptured: (Capture.CAPTURED, (*NOT_SETTLED, Capture.WRITTEN_OFF)),
    PaymentCaptureFailed: (Capture.FAILED, ("", Capture.DUE)),
    PaymentWrittenOff: (Capture.WRITTEN_OFF, NOT_SETTLED),
}


class UnknownOrder(Problem):
    """There is no such order, or it is somebody else's."""

    code = "O001"


def advance(events: Sequence[OrderEvent], *, to: str, numbers: Mapping[int, str] | None = None) -> dict[int, Moved]:
    """Move orders forward to a status, unless they have reached it already or are on their way back; return those that
    were moved. `numbers` are their tracking numbers, which are also stored in `ParcelNumber`."""
    since = FORWARD[: FORWARD.index(Status(to))]
    return move(events, since=since, to=to, numbers=numbers, index_numbers=numbers is not None)


def wait_for_customer(events: Sequence[PaymentActionRequired]) -> None:
    """Orders wait for their customers, and their deadlines with them. The latest word counts."""
    move(events, since=BEFORE_PAYMENT, to=Status.INVENTORY_RESERVED)
    query(
        "orders",
        """
        WITH due AS (SELECT id FROM orders_order WHERE id = ANY(%(orders)s::bigint[]) ORDER BY id FOR UPDATE)
        UPDATE orders_order SET action_url = news.url, action_until = news.until
        FROM unnest(%(orders)s, %(urls)s::text[], %(until)s::timestamptz[]) AS news (order_id, url, until)
        WHERE id IN (SELECT id FROM due) AND order_id = id AND status = ANY(%(waiting)s::text[])
            AND (action_until IS NULL OR action_until <= news.until)
        """,
        {
            "orders": [event.order_id for event in events],
            "urls": [event.url for event in events],
            "until": [event.until for event in events],
            "waiting": [str(status) for status in BEFORE_PAYMENT],
        },
    )


def note_tracking_numbers(numbers: Mapping[int, str], *, handed_over: bool) -> None:
    """Store tracking numbers with their orders, whatever the status. A parcel may be booked more than once: the order
    shows the number that it was `handed_over` with, and `ParcelNumber` has each of them."""
    query(
        "orders",
        """
        WITH due AS (
            SELECT id FROM orders_order WHERE id = ANY(%(orders)s::bigint[]) ORDER BY id FOR UPDATE
        ), noted AS (
            UPDATE orders_order SET tracking_number = news.number
            FROM unnest(%(orders)s, %(numbers)s::text[]) AS news (order_id, number)
            WHERE id IN (SELECT id FROM due) AND order_id = id
                AND (%(handed_over)s OR tracking_number = '' OR status = %(started)s)
        )
        INSERT INTO orders_parcelnumber (number, order_id)
        SELECT number, order_id FROM unnest(%(numbers)s::text[], %(orders)s) AS news (number, order_id)
        WHERE order_id IN (SELECT id FROM due) AND number <> '' ON CONFLICT DO NOTHING
        """,
        {
            "orders": list(numbers),
            "numbers": list(numbers.values()),
            "handed_over": handed_over,
            "started": Status.DELIVERY_STARTED.value,
        },
    )


def complete(events: Sequence[DeliveryCompleted], numbers: Mapping[int, str]) -> dict[int, Moved]:
    """Complete the orders whose parcels have arrived; return those that this call has completed. `ParcelNumber` has
    their tracking numbers from the bookings, which may also be heard of later.

    An order being cancelled is completed too, without the reason: the carrier was faster. One whose money was only held
    is completed when it has been taken, and UNPAID until then.
    """
    paid, unpaid = [one for one in events if not one.unpaid], [one for one in events if one.unpaid]
    reasons = {one.order_id: "" for one in events}
    if paid and unpaid:
        lock(one.order_id for one in events)
    completed = move(paid, since=UNFINISHED, to=Status.COMPLETED, numbers=numbers, reasons=reasons) if paid else {}
    if unpaid:
        completed |= move(
            unpaid, since=UNFINISHED, to=Status.COMPLETED, captures=SETTLED, numbers=numbers, reasons=reasons
        )
        if left := [one for one in unpaid if one.order_id not in completed]:
            since = [status for status in UNFINISHED if status != Status.UNPAID]
            move(left, since=since, to=Status.UNPAID, numbers=numbers, reasons=reasons)
    return completed


def authorize(events: Sequence[PaymentAuthorized]) -> dict[int, Moved]:
    """The orders' money is held, and is to be taken at hand-over; the orders that this call has moved."""
    moved = advance(events, to=Status.PAYMENT_AUTHORIZED)
    _note_captures(events, Capture.DUE, since=[""])
    return moved


def settle_captures(events: Sequence[PaymentCaptured | PaymentCaptureFailed | PaymentWrittenOff]) -> dict[int, Moved]:
    """What was held has been taken, cannot be taken, or was given up; the orders that were delivered and only waited
    for that."""
    if len({type(event) for event in events}) > 1:
        lock(event.order_id for event in events)
    for kind, (to, since) in CAPTURES.items():
        if told := [event for event in events if isinstance(event, kind)]:
            _note_captures(told, to, since=since)
    return move(events, since=[Status.UNPAID], to=Status.COMPLETED, captures=SETTLED)


def _note_captures(events: Sequence[OrderEvent], to: str, *, since: Sequence[str]) -> None:
    """Write down how it stands with the money that is held, and the events into the orders' timelines."""
    query(
        "orders",
        """
        WITH due AS (
            SELECT id, status, event FROM unnest(%(orders)s::bigint[], %(events)s::text[]) AS news (order_id, event)
            JOIN orders_order ON id = order_id ORDER BY id FOR UPDATE OF orders_order
        ), noted AS (
            UPDATE orders_order AS old SET capture = %(to)s FROM due
            WHERE old.id = due.id AND capture = ANY(%(since)s::text[])
            RETURNING old.id, due.status, event
        )
        INSERT INTO orders_timelineentry (order_id, service, event, status, detail)
        SELECT id, 'payments', event, status, '' FROM noted
        WHERE %(noted)s AND NOT (status = 'UNPAID' AND %(settled)s) ORDER BY id
        """,
        {
            "orders": [event.order_id for event in events],
            "events": [type(event).__name__ for event in events],
            "to": str(to),
            "since": [str(one) for one in since],
            "noted": to != Capture.DUE,  # which `advance` has written down
            "settled": to in SETTLED,  # which completes the order, and is written down with that
        },
    )


def lock(order_ids: Iterable[int]) -> list[Order]:
    """These orders, locked in the order of their ids."""
    return list(Order.objects.filter(pk__in=list(order_ids)).select_for_update().order_by("pk"))
