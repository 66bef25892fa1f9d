"""The public events as OpenAPI has them: the section `webhooks`, seen from the subscriber's side.

The examples are made by the code that makes the messages.
"""

import json
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiWebhook

from notifications.webhooks.events import NOT_RETURNED, OTHER, PING, PUBLIC, TYPES, VERSION, WHY, body_of, data_of
from shop.contracts.events import Checkout, Line, OrderChanged, OrderCreated, OrderEvent, PaymentCompleted

EVENT_ID = UUID("019ac1b0-5d2e-7c61-8d0f-3b9a51c0c7ab")
_CHECKOUT = Checkout(
    user_id=7,
    amount=66000,
    currency="KRW",
    payment_gateway="TOSS_PAYMENTS",
    payment_token="",  # nosec B106
    lines=(Line(product_id=7, quantity=2),),
)
_TEXT: dict[str, Any] = {"type": "string"}
_ID = {"type": "integer", "format": "int64", "minimum": 1}
_FIELDS: dict[str, dict[str, Any]] = {
    "orderId": _ID,
    "returnId": _ID,
    "exchangeOrderId": _ID,
    "customerId": _ID,
    "webhookId": _ID,
    "amount": {"type": "integer", "format": "int64", "description": "In the currency's minor unit."},
    "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    "paymentGateway": _TEXT,
    "trackingNumber": _TEXT,
    "reason": {"type": "string", "enum": [*dict.fromkeys(WHY.values()), OTHER, *NOT_RETURNED.values()]},
    "items": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["productId", "quantity"],
            "properties": {"productId": _ID, "quantity": {"type": "integer", "minimum": 1}},
        },
    },
}
_FIELDS |= {
    "difference": _FIELDS["amount"] | {"description": "To the amount before; less than nothing was given back."},
    "addressChanged": {"type": "boolean", "description": "Whether it goes elsewhere; nobody is told where."},
    "itemChanges": {
        "type": "array",
        "description": "So many pieces more, or fewer.",
        "items": {
            "type": "object",
            "required": ["productId", "quantity"],
            "properties": {"productId": _ID, "quantity": {"type": "integer"}},
        },
    },
}
_SUMMARIES = {
    "order.created": "An order was placed",
    "order.paid": "An order was paid",
    "order.changed": "An order was changed",
    "order.shipped": "A carrier has the parcel",
    "order.delivered": "A parcel has arrived",
    "order.completed": "An order is complete",
    "order.cancelled": "An order was cancelled",
    "order.refunded": "A part of an order's money was given back",
    "return.requested": "A customer wants to return something",
    "return.approved": "A return was approved",
    "return.received": "What was returned is here",
    "return.exchanged": "Another order brings what is exchanged",
    "return.completed": "A return is complete",
    "return.refused": "A return was refused",
    "return.closed": "Nothing is returned after all",
    PING: "A test message",
}
_HEADERS = {
    "webhook-id": "The event's id: the same whenever it is sent again.",
    "webhook-timestamp": "When this attempt was made, in Unix time.",
    "webhook-signature": "One signature, or two with a space between while a secret is being replaced.",
}


def _example(event_type: type[OrderEvent]) -> OrderEvent:
    facts: dict[str, Any] = {"event_id": EVENT_ID, "order_id": 42}
    if event_type in (OrderCreated, PaymentCompleted):
        return event_type(**facts | {"checkout": _CHECKOUT})
    if event_type is OrderChanged:
        facts |= {"change_id": EVENT_ID, "lines": (Line(product_id=7, quantity=-1),)}
        return OrderChanged(**facts, user_id=7, amount=-33000, total=33000, currency="KRW")
    known: dict[str, Any] = {
        "user_id": 7,
        "tracking_number": "CJ0000000042",
        "reason": "cancelled by the customer",
        "return_id": 43,
        "exchange_order_id": 44,
        "refund_id": EVENT_ID,
        "lines": (Line(product_id=7, quantity=1),),
        "amount": 10000,
        "currency": "KRW",
        "expired": True,
    }
    return event_type(**facts | {name: known[name] for name in event_type.__struct_fields__ if name in known})


def _described(kind: str, data: dict[str, Any]) -> OpenApiWebhook:
    """A POST that a subscriber has to expect."""
    schema = {
        "type": "object",
        "required": ["type", "version", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "const": kind},
            "version": {"type": "integer", "const": VERSION},
            "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
            "data": {"type": "object", "required": list(data), "properties": {name: _FIELDS[name] for name in data}},
        },
    }
    operation = {
        "operationId": kind.replace(".", "_"),
        "summary": _SUMMARIES[kind],
        "description": "Answer 2xx within ten seconds. It may come twice, and in another order than it happened.",
        "tags": ["webhooks"],
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": _TEXT, "description": text}
            for name, text in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": json.loads(body_of(kind, EVENT_ID, data))}},
        },
        "responses": {"2XX": {"description": "Taken."}, "410": {"description": "Disables the subscription."}},
    }
    return OpenApiWebhook(kind, {"post": operation})


_FIRST = {kind: event_type for event_type, kind in reversed(list(PUBLIC.items()))}  # of a type that several events have
_ALL = [_described(kind, data_of(_example(_FIRST[kind]))) for kind in TYPES]
ORDER_CREATED, ORDER_PAID, ORDER_CHANGED, ORDER_SHIPPED, ORDER_DELIVERED, *_REST = _ALL
ORDER_COMPLETED, ORDER_CANCELLED, ORDER_REFUNDED, *_REST = _REST
RETURN_REQUESTED, RETURN_APPROVED, RETURN_RECEIVED, RETURN_EXCHANGED, *_REST = _REST
RETURN_COMPLETED, RETURN_REFUSED, RETURN_CLOSED = _REST
PINGED = _described(PING, {"webhookId": 3})
