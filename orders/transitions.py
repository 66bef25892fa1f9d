"""How orders get from one status to another: compare and set, a whole batch in one statement."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from django.conf import settings
from django.db import transaction

from fastdb.clock import database_time
from sagas.db.prepared import query
from shop.contracts.events import OrderEvent, origin
from shop.observability import metrics

# All rows are locked, in the order of their ids; those in another status are left as they are.
MOVE = """
    WITH locked AS (
        SELECT id, status, cancellation_reason AS reason, capture, tracking_number AS known, event, service, detail,
            number
        FROM unnest(
            %(orders)s::bigint[], %(events)s::text[], %(services)s::text[], %(details)s::text[], %(numbers)s::text[]
        ) AS news (order_id, event, service, detail, number)
        JOIN orders_order ON id = order_id ORDER BY id FOR UPDATE OF orders_order
    ), moved AS (
        UPDATE orders_order AS old SET
            status = %(to)s, progress_at = %(now)s, updated_at = %(now)s, looks = 0,
            look_at = CASE WHEN looks > 0 THEN %(look_at)s ELSE look_at END,
            cancellation_reason = CASE WHEN %(reasoned)s THEN detail ELSE cancellation_reason END,
            tracking_number = CASE WHEN number <> '' THEN number ELSE tracking_number END
        FROM locked
        WHERE old.id = locked.id AND locked.status = ANY(%(since)s::text[])
            AND (%(reasons)s::text[] IS NULL OR locked.reason = ANY(%(reasons)s))
            AND (%(captures)s::text[] IS NULL OR locked.capture = ANY(%(captures)s))
        RETURNING old.id, user_id, created_at, change_id IS NOT NULL AS changing, exchange_for_id, event, service,
            detail, known, number
    ), numbered AS (
        INSERT INTO orders_parcelnumber (number, order_id)
        SELECT number, id FROM moved WHERE %(index_numbers)s AND number <> '' AND number <> known ON CONFLICT DO NOTHING
    ), noted AS (
        INSERT INTO orders_timelineentry (order_id, service, event, status, detail)
        SELECT id, service, event, %(to)s, detail FROM moved ORDER BY id
    )
    SELECT id, EXTRACT(EPOCH FROM %(now)s - created_at), user_id, changing, exchange_for_id FROM moved
"""
NOTE = """
    WITH noted AS (
        SELECT id, status, event, service, detail
        FROM unnest(%(orders)s::bigint[], %(events)s::text[], %(services)s::text[], %(details)s::text[])
            AS news (order_id, event, service, detail)
        JOIN orders_order ON id = order_id ORDER BY id FOR UPDATE OF orders_order
    )
    INSERT INTO orders_timelineentry (order_id, service, event, status, detail)
    SELECT id, service, event, status, detail FROM noted
"""


class Moved(NamedTuple):
    """An order that has a new status: its customer, whether it is being changed, and the return that it is given in
    exchange for."""

    user_id: int
    changing: bool
    exchange_for: int | None


def move(
    events: Sequence[OrderEvent],
    *,
    since: Iterable[str],
    to: str,
    reasons: Mapping[int, str] | None = None,
    cancelled_for: Sequence[str] | None = None,
    captures: Sequence[str] | None = None,
    numbers: Mapping[int, str] | None = None,
    index_numbers: bool = False,
) -> dict[int, Moved]:
    """Give those of the events' orders that are in one of the statuses `since` the status `to`, and write it into
    their timelines; those that were moved.

    `reasons` are what is kept as each order's cancellation reason (default: what is there); with `cancelled_for`, only
    orders with one of these reasons move; likewise with `captures`. `numbers` are the orders' tracking numbers, where
    one is known; with `index_numbers` they are also stored in `ParcelNumber`.
    """
    now = database_time("orders")
    details = reasons or {event.order_id: getattr(event, "reason", "") for event in events}
    moved = query(
        "orders",
        MOVE,
        {
            "orders": [event.order_id for event in events],
            "events": [type(event).__name__ for event in events],
            "services": [origin(type(event)) for event in events],
            "details": [details[event.order_id][:200] for event in events],
            "numbers": [(numbers or {}).get(event.order_id, "") for event in events],
            "index_numbers": index_numbers,
            "since": [str(status) for status in since],
            "to": str(to),
            "reasons": cancelled_for and list(cancelled_for),
            "captures": captures and [str(capture) for capture in captures],
            "reasoned": reasons is not None,
            "now": now,
            "look_at": now + timedelta(seconds=settings.STALLED_AFTER),
        },
    )
    ages = [float(row[1]) for row in moved]
    transaction.on_commit(partial(metrics.moved, str(to), ages), using="orders")
    return {row[0]: Moved._make(row[2:]) for row in moved}


def note(events: Sequence[OrderEvent], details: Sequence[str]) -> None:
    """Write events into their orders' timelines, each with its detail; no order gets another status by that."""
    query(
        "orders",
        NOTE,
        {
            "orders": [event.order_id for event in events],
            "events": [type(event).__name__ for event in events],
            "services": [origin(type(event)) for event in events],
            "details": [detail[:200] for detail in details],
        },
    )
