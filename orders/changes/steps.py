"""What the saga does with a change: it is sent on when its order is paid, made, or refused. People ask for one in
`requests.py`."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from fastdb.bulk import update_rows
from fastdb.clock import database_time
from orders.changes.models import OrderChange, OrderChangeLine
from orders.changes.requests import in_short, told
from orders.models import Order
from orders.services import lock
from orders.transitions import Moved, note
from sagas.db.prepared import query
from shop.contracts.events import (
    DeliveryHoldRefused,
    Line,
    OrderChanged,
    OrderChangeRefused,
    OrderChangeRequested,
    PaymentAuthorized,
    PaymentChanged,
    PaymentChangeRefused,
    PaymentCompleted,
)
from shop.contracts.reasons import NOT_TO_LEAVE

Status = OrderChange.Status

APPLY = """
    WITH news AS (
        SELECT * FROM unnest(%(orders)s::bigint[], %(products)s::bigint[], %(quantities)s::int[])
            AS news (order_id, product_id, more)
    ), gone AS (
        DELETE FROM orders_orderline AS old USING news
        WHERE old.order_id = news.order_id AND old.product_id = news.product_id AND quantity + more = 0
    )
    UPDATE orders_orderline AS old SET quantity = quantity + more FROM news
    WHERE old.order_id = news.order_id AND old.product_id = news.product_id AND quantity + more > 0
"""


def request_waiting(
    paid: Sequence[PaymentCompleted | PaymentAuthorized], moved: Mapping[int, Moved]
) -> list[OrderChangeRequested]:
    """The changes that have waited for these orders to be paid. What the orders have `moved` to by that does not
    matter: delivery decides whether it is too late."""
    order_ids = [one.order_id for one in paid if one.order_id not in moved or moved[one.order_id].changing]
    return [
        OrderChangeRequested(order_id=change.order_id, change=told(change))
        for change in _waiting(order_ids, becoming=Status.REQUESTED)
    ]


def refuse_waiting(cancelled: Mapping[int, Moved]) -> None:
    """These orders are cancelled. What waited for them to be paid ends with them."""
    order_ids = [order_id for order_id, order in cancelled.items() if order.changing]
    if changes := _waiting(order_ids, becoming=Status.REFUSED):
        Order.objects.filter(pk__in=[change.order_id for change in changes]).update(change_id=None)


def _waiting(order_ids: Sequence[int], *, becoming: str) -> list[OrderChange]:
    if not order_ids:
        return []
    # Under the orders' locks, which `move` has taken, and whoever asks for a change holds, too.
    changes = list(OrderChange.objects.filter(order__in=order_ids, status=Status.WAITING).order_by("order_id"))
    now = database_time("orders")
    for change in changes:
        change.status, change.updated_at = becoming, now
        if becoming == Status.REFUSED:
            change.refusal, change.address = NOT_TO_LEAVE, ""
    update_rows(changes, "status", "refusal", "address", "updated_at")
    return changes


def apply(events: Sequence[PaymentChanged]) -> list[OrderChanged]:
    """Change the lines and totals of orders whose difference is settled, whatever has become of them since."""
    changes = _end(events)
    pieces: dict[UUID, list[OrderChangeLine]] = {change.pk: [] for change in changes}
    for line in OrderChangeLine.objects.filter(change__in=pieces).order_by("pk"):
        pieces[line.change_id].append(line)
    rows = [(change.order_id, line) for change in changes for line in pieces[change.pk]]
    query(
        "orders",
        APPLY,
        {
            "orders": [order_id for order_id, _ in rows],
            "products": [line.product_id for _, line in rows],
            "quantities": [line.quantity for _, line in rows],
        },
    )
    return [
        OrderChanged(
            order_id=change.order_id,
            user_id=change.order.user_id,
            change_id=change.pk,
            lines=tuple(Line(line.product_id, line.quantity) for line in pieces[change.pk]),
            amount=change.amount,
            total=change.order.total_price,
            currency=change.order.currency,
            address_changed=change.of_address,
        )
        for change in changes
    ]


def refuse(events: Sequence[DeliveryHoldRefused | PaymentChangeRefused]) -> list[OrderChangeRefused]:
    """These orders stay as they are."""
    changes = _end(events)
    return [
        OrderChangeRefused(
            order_id=change.order_id, user_id=change.order.user_id, change_id=change.pk, reason=change.refusal
        )
        for change in changes
    ]


def _end(events: Sequence[PaymentChanged | DeliveryHoldRefused | PaymentChangeRefused]) -> list[OrderChange]:
    """End changes that are under way, in the order of their orders, which are locked; those are returned."""
    orders = {order.pk: order for order in lock(event.order_id for event in events)}
    by_id = {event.change_id: event for event in events}
    changes = list(OrderChange.objects.filter(pk__in=by_id, status=Status.REQUESTED).order_by("order_id"))
    now = database_time("orders")
    details = []
    for change in changes:
        event, change.order = by_id[change.pk], orders[change.order_id]
        if isinstance(event, PaymentChanged):
            change.status = Status.MADE
            change.order.total_price += change.amount
            details.append(in_short(change, change.order))
        else:
            change.status, change.refusal, change.address = Status.REFUSED, event.reason[:200], ""
            details.append(change.refusal)
        change.updated_at = change.order.updated_at = now
        change.order.change_id = None
    update_rows(changes, "status", "refusal", "address", "updated_at")
    update_rows([change.order for change in changes], "change_id", "total_price", "updated_at")
    note([by_id[change.pk] for change in changes], details)
    return changes
