"""The public events: which of the saga's each of them is, and what it says.

They are a contract of their own, so that the saga may change without anybody else noticing. Version 1 of an event only
ever gets more fields in its `data`; anything else is a version 2. They have ids and amounts, and name nobody.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from fastdb.bulk import insert_rows
from notifications.webhooks.models import WebhookMessage
from sagas.db.prepared import query
from shop.contracts import reasons
from shop.contracts.events import (
    DeliveryCompleted,
    DeliveryHandedOver,
    Line,
    OrderCancelled,
    OrderChanged,
    OrderCompleted,
    OrderCreated,
    OrderEvent,
    PaymentCaptured,
    PaymentCompleted,
    PaymentRefundCompleted,
)
from shop.contracts.return_events import (
    ReturnApproved,
    ReturnClosed,
    ReturnCompleted,
    ReturnExchanged,
    ReturnReceived,
    ReturnRefused,
    ReturnRequested,
)

VERSION = 1
PING = "ping"

PUBLIC: Mapping[type[OrderEvent], str] = {
    OrderCreated: "order.created",
    PaymentCompleted: "order.paid",
    PaymentCaptured: "order.paid",  # of money that was held first
    OrderChanged: "order.changed",
    DeliveryHandedOver: "order.shipped",
    DeliveryCompleted: "order.delivered",
    OrderCompleted: "order.completed",
    OrderCancelled: "order.cancelled",
    PaymentRefundCompleted: "order.refunded",
    ReturnRequested: "return.requested",
    ReturnApproved: "return.approved",
    ReturnReceived: "return.received",
    ReturnExchanged: "return.exchanged",
    ReturnCompleted: "return.completed",
    ReturnRefused: "return.refused",
    ReturnClosed: "return.closed",
}
# Event types, each with the permission that a subscriber needs.
TYPES: Mapping[str, str] = {kind: f"orders.view_{kind.partition('.')[0]}" for kind in PUBLIC.values()}

# Why an order was cancelled, by what our own reasons begin with. The words of others stay here.
WHY = {
    reasons.INSUFFICIENT_STOCK: "NOT_AVAILABLE",
    "PAY": "PAYMENT_DECLINED",
    reasons.REFUSED_BY_CARRIER: "DELIVERY_FAILED",
    reasons.REFUSED_BY_RECIPIENT: "DELIVERY_FAILED",
    reasons.FAILED_WITH_CARRIER: "DELIVERY_FAILED",
    reasons.CARRIER: "DELIVERY_FAILED",
    reasons.NO_ADDRESS: "DELIVERY_FAILED",
    reasons.BY_CUSTOMER: "BY_CUSTOMER",
    reasons.BY_STAFF: "BY_STAFF",
    reasons.OVERDUE: "OVERDUE",
}
OTHER = "OTHER"
NOT_RETURNED = {True: "EXPIRED", False: "WITHDRAWN"}  # why a return was closed, by whether its time was over

SUBSCRIBED = "SELECT id, events FROM notifications_webhook WHERE events && %s::varchar[]"
_json = msgspec.json.Encoder()


def write_down(events: Sequence[OrderEvent]) -> None:
    """Have all who have subscribed told of these events, also those that are disabled now: they may be enabled again.

    One statement, and one more where anybody has subscribed. Runs inside a transaction on notifications.
    """
    public = [(event, PUBLIC[type(event)]) for event in events if type(event) in PUBLIC]
    if not public:
        return
    subscribed = query("notifications", SUBSCRIBED, [sorted({kind for _, kind in public})])
    rows = [
        {"webhook_id": pk, "event_id": event.event_id, "type": kind, "order_id": event.order_id, "body": body}
        for event, kind in (public if subscribed else ())
        for body in [body_of(kind, event.event_id, data_of(event))]
        for pk, wanted in subscribed
        if kind in wanted
    ]
    rows.sort(key=lambda row: (row["event_id"].int, row["webhook_id"]))  # always the same: inserts cannot deadlock
    insert_rows(WebhookMessage, rows, then="ON CONFLICT DO NOTHING")


def body_of(kind: str, event_id: UUID, data: Mapping[str, Any]) -> str:
    """The JSON that is sent. Its time is when the event was made, as its id has it."""
    at = datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC).isoformat(timespec="milliseconds")
    body = {"type": kind, "version": VERSION, "timestamp": at.replace("+00:00", "Z"), "data": data}
    return _json.encode(body).decode()


def data_of(event: OrderEvent) -> dict[str, Any]:
    """What a public event says: fields of its type only, whatever else the saga's event carries."""
    match event:
        case OrderCreated(checkout=checkout):
            more = _paid(checkout) | {"paymentGateway": checkout.payment_gateway, "items": _items(checkout.lines)}
        case PaymentCompleted(checkout=checkout):
            more = _paid(checkout)
        case OrderChanged():
            more = {"customerId": event.user_id, "amount": event.total, "currency": event.currency}
            more |= {"difference": event.amount, "itemChanges": _items(event.lines)}
            more |= {"addressChanged": event.address_changed}
        case DeliveryHandedOver() | DeliveryCompleted():
            more = {"customerId": event.user_id, "trackingNumber": event.tracking_number}
        case OrderCompleted():
            more = {"customerId": event.user_id}
        case OrderCancelled():
            why = next((code for start, code in WHY.items() if event.reason.startswith(start)), OTHER)
            more = {"customerId": event.user_id, "reason": why}
        case PaymentCaptured() | PaymentRefundCompleted():
            more = {"customerId": event.user_id, "amount": event.amount, "currency": event.currency}
        case ReturnRequested():
            more = _returned(event) | {"items": _items(event.lines)}
        case ReturnExchanged():
            more = _returned(event) | {"exchangeOrderId": event.exchange_order_id}
        case ReturnCompleted():
            more = _returned(event) | {"amount": event.amount, "currency": event.currency}
        case ReturnClosed():
            more = _returned(event) | {"reason": NOT_RETURNED[event.expired]}
        case ReturnApproved() | ReturnReceived() | ReturnRefused():
            more = _returned(event)
        case _:
            raise TypeError(f"{type(event).__name__} is no public event")
    return {"orderId": event.order_id} | more


def _paid(checkout: Any) -> dict[str, Any]:
    return {"customerId": checkout.user_id, "amount": checkout.amount, "currency": checkout.currency}


def _returned(event: Any) -> dict[str, Any]:
    return {"returnId": event.return_id, "customerId": event.user_id}


def _items(lines: Sequence[Line]) -> list[dict[str, int]]:
    return [{"productId": line.product_id, "quantity": line.quantity} for line in lines]
