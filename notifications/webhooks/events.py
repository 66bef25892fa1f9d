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
    OrderCancelled,
    OrderChanged,
    OrderCompleted,
    OrderCreated,
    OrderEvent,
    PaymentCaptured,
    PaymentCompleted,
    PaymentRefundCompleted,
)

VERSION = 1
PING = "ping"

# Event types, each with the permission that a subscriber needs.
TYPES: Mapping[str, str] = dict.fromkeys(
    (
        "order.created",
        "order.paid",
        "order.changed",
        "order.shipped",
        "order.delivered",
        "order.completed",
        "order.cancelled",
        "order.refunded",
    ),
    "orders.view_order",
)
_BY_EVENT: Mapping[type[OrderEvent], str] = dict(
    zip(
        (
            OrderCreated,
            PaymentCompleted,
            OrderChanged,
            DeliveryHandedOver,
            DeliveryCompleted,
            OrderCompleted,
            OrderCancelled,
            PaymentRefundCompleted,
        ),
        TYPES,
        strict=True,
    )
)
PUBLIC: Mapping[type[OrderEvent], str] = {**_BY_EVENT, PaymentCaptured: "order.paid"}  # of money that was held first

# Why an order was cancelled, by what our own reasons begin with. The words of others stay here.
WHY = {
    reasons.INSUFFICIENT_STOCK: "NOT_AVAILABLE",
    "PAY": "PAYMENT_DECLINED",
    reasons.REFUSED_BY_CARRIER: "DELIVERY_FAILED",
    reasons.REFUSED_BY_RECIPIENT: "DELIVERY_FAILED",
    reasons.FAILED_WITH_CARRIER: "DELIVERY_FAILED",
    reasons.CARRIER: "DELIVERY_FAILED",
    reasons.BY_CUSTOMER: "BY_CUSTOMER",
    reasons.BY_STAFF: "BY_STAFF",
    reasons.OVERDUE: "OVERDUE",
}
OTHER = "OTHER"

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
            items = [{"productId": line.product_id, "quantity": line.quantity} for line in checkout.lines]
            more = _paid(checkout) | {"paymentGateway": checkout.payment_gateway, "items": items}
        case PaymentCompleted(checkout=checkout):
            more = _paid(checkout)
        case OrderChanged():
            changes = [{"productId": line.product_id, "quantity": line.quantity} for line in event.lines]
            more = {"customerId": event.user_id, "amount": event.total, "currency": event.currency}
            more |= {"difference": event.amount, "itemChanges": changes}
        case DeliveryHandedOver() | DeliveryCompleted():
            more = {"customerId": event.user_id, "trackingNumber": event.tracking_number}
        case OrderCompleted():
            more = {"customerId": event.user_id}
        case OrderCancelled():
            why = next((code for start, code in WHY.items() if event.reason.startswith(start)), OTHER)
            more = {"customerId": event.user_id, "reason": why}
        case PaymentCaptured() | PaymentRefundCompleted():
            more = {"customerId": event.user_id, "amount": event.amount, "currency": event.currency}
        case _:
            raise TypeError(f"{type(event).__name__} is no public event")
    return {"orderId": event.order_id} | more


def _paid(checkout: Any) -> dict[str, Any]:
    return {"customerId": checkout.user_id, "amount": checkout.amount, "currency": checkout.currency}
