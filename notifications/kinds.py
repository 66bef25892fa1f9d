"""Which event each kind of notification is about. What it says is in `texts.py`."""

from collections.abc import Mapping

from notifications.models import Notification
from shop.contracts.events import (
    DeliveryCompleted,
    DeliveryFailed,
    DeliveryHandedOver,
    OrderCancelled,
    OrderChanged,
    OrderChangeRefused,
    OrderCompleted,
    OrderCreated,
    OrderEvent,
    PaymentActionRequired,
    PaymentRefundCompleted,
)

Type = Notification.Type

News = (
    OrderCreated
    | PaymentActionRequired
    | OrderChanged
    | OrderChangeRefused
    | DeliveryHandedOver
    | DeliveryCompleted
    | OrderCompleted
    | DeliveryFailed
    | OrderCancelled
    | PaymentRefundCompleted
)

# In the order of the saga.
TYPES: Mapping[type[OrderEvent], Notification.Type] = {
    OrderCreated: Type.ORDER_RECEIVED,
    PaymentActionRequired: Type.PAYMENT_DUE,
    OrderChanged: Type.ORDER_CHANGED,
    OrderChangeRefused: Type.CHANGE_REFUSED,
    DeliveryHandedOver: Type.SHIPPED,
    DeliveryCompleted: Type.DELIVERED,
    OrderCompleted: Type.COMPLETED,
    OrderCancelled: Type.CANCELLED,
    DeliveryFailed: Type.DELIVERY_FAILED,
    PaymentRefundCompleted: Type.REFUNDED,
}


def customer_of(event: News) -> int:
    """The user that an event concerns."""
    return event.checkout.user_id if isinstance(event, OrderCreated) else event.user_id
