"""How returns get from one status to another: compare and set, a whole batch in one statement.

Orders are locked before their returns, everywhere.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.conf import settings

from fastdb.clock import database_time
from sagas.db.prepared import query
from shop.contracts.events import origin
from shop.contracts.return_events import ReturnEvent

MOVE = """
    WITH of_orders AS (
        SELECT id, status FROM orders_order WHERE id = ANY(%(orders)s::bigint[]) ORDER BY id FOR UPDATE
    ), locked AS (
        SELECT orders_return.id, orders_return.status, of_orders.status AS status_of_order, event, service, number, more
        FROM unnest(
            %(returns)s::bigint[], %(events)s::text[], %(services)s::text[], %(numbers)s::text[], %(details)s::text[]
        ) AS news (return_id, event, service, number, more)
        JOIN orders_return ON orders_return.id = return_id JOIN of_orders ON of_orders.id = order_id
        ORDER BY orders_return.id FOR UPDATE OF orders_return
    ), moved AS (
        UPDATE orders_return AS old SET
            status = %(to)s::text, updated_at = %(now)s, progress_at = %(now)s, look_at = %(look_at)s, looks = 0,
            approved_at = CASE WHEN %(to)s::text = 'APPROVED' THEN coalesce(approved_at, %(now)s) ELSE approved_at END,
            tracking_number = CASE WHEN number <> '' THEN number ELSE tracking_number END
        FROM locked WHERE old.id = locked.id AND locked.status = ANY(%(since)s::text[])
        RETURNING old.id, old.order_id, old.user_id, status_of_order, event, service, more
    ), noted AS (
        INSERT INTO orders_timelineentry (order_id, service, event, status, detail)
        SELECT order_id, service, event, status_of_order, 'return ' || id || more FROM moved ORDER BY id
    )
    SELECT id, user_id FROM moved
"""


def move(
    events: Sequence[ReturnEvent],
    *,
    since: Iterable[str],
    to: str,
    numbers: Sequence[str] = (),
    details: Sequence[str] = (),
) -> dict[int, int]:
    """Give those of the events' returns that are in one of the statuses `since` the status `to`, and write it into
    their orders' timelines; {return: user} of those that were moved. `numbers` are the parcels', event by event, and
    `details` what a timeline says besides the return's number."""
    now = database_time("orders")
    moved = query(
        "orders",
        MOVE,
        {
            "orders": sorted({event.order_id for event in events}),
            "returns": [event.return_id for event in events],
            "events": [type(event).__name__ for event in events],
            "services": [origin(type(event)) for event in events],
            "numbers": list(numbers) or [""] * len(events),
            "details": list(details) or [""] * len(events),
            "since": [str(status) for status in since],
            "to": str(to),
            "now": now,
            "look_at": now + timedelta(seconds=settings.STALLED_AFTER),
        },
    )
    return dict(moved)
