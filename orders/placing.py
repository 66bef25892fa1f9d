"""How an order is written: with its lines, the beginning of its timeline and its event, in one statement.

One round trip instead of six, and one commit: the statement is a transaction by itself where there is none around it.
"""

from collections.abc import Sequence

import msgspec

from fastdb.bulk import Row
from orders.models import Order, OrderLine
from sagas.db.prepared import query
from sagas.outbox import emission, wake_relay
from shop.contracts.events import OrderCreated, origin

NEXT_IDS = "SELECT nextval(pg_get_serial_sequence('orders_order', 'id')) FROM generate_series(1, %s)"
# Columns that are not named get their defaults from the database.
EVENT = "SELECT %(event_id)s::uuid, %(event_type)s, id, NULL::uuid, %(event)s::json FROM placed"
PLACE = """
    WITH placed AS (
        INSERT INTO orders_order (
            id, user_id, status, cancellation_reason, currency, total_price, payment_gateway, tracking_number,
            updated_at, look_at, looks
        )
        VALUES (
            %(id)s, %(user_id)s, %(status)s, '', %(currency)s, %(total_price)s, %(payment_gateway)s, '', now(),
            %(look_at)s, 0
        )
        RETURNING id, created_at, updated_at
    ), listed AS (
        INSERT INTO orders_orderline (order_id, product_id, product_name, unit_price, quantity)
        SELECT placed.id, line.* FROM placed, unnest(
            %(product_ids)s::bigint[], %(product_names)s::text[], %(unit_prices)s::bigint[], %(quantities)s::integer[]
        ) AS line
    ), told AS (
        INSERT INTO orders_timelineentry (order_id, service, event, status, detail)
        SELECT id, %(service)s, %(event_type)s, %(status)s, '' FROM placed
    ), {emission}
    SELECT id, created_at, updated_at FROM placed
""".format(emission=emission("orders", EVENT))  # noqa: S608 (contains no values)


def next_id() -> int:
    """The id of an order that is going to be written. One that is not written after all leaves a gap."""
    (order_id,) = next_ids(1)
    return order_id


def next_ids(count: int) -> list[int]:
    """Likewise of several orders."""
    return [int(order_id) for (order_id,) in query("orders", NEXT_IDS, [count])]


def write(row: Row, lines: Sequence[Row], created: OrderCreated) -> Order:
    """The order of these values, with its lines and the id that `created` names, which is emitted."""
    ((order_id, created_at, updated_at),) = query(
        "orders",
        PLACE,
        {
            **row,
            "id": created.order_id,
            "status": Order.Status.PENDING.value,
            "product_ids": [line["product_id"] for line in lines],
            "product_names": [line["product_name"] for line in lines],
            "unit_prices": [line["unit_price"] for line in lines],
            "quantities": [line["quantity"] for line in lines],
            "service": origin(type(created)),
            "event_id": str(created.event_id),
            "event_type": type(created).__name__,
            "event": msgspec.json.encode(created).decode(),
        },
    )
    wake_relay("orders")
    order = Order(id=order_id, created_at=created_at, updated_at=updated_at, **row)
    order.lines = [OrderLine(order=order, **line) for line in lines]
    return order
