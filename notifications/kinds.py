"""Which event each kind of notification is about. What it says is in `texts.py`."""

from collections.abc import Mapping

from notifications.models import Notification
from shop.contracts.events import (
    DeliveryCompleted,
    DeliveryFailed,
    DeliveryHandedOver,
    DeliveryShipmentFailed,
    OrderCancelled,
    OrderChanged,
    OrderChangeRefused,
    OrderCompleted,
    OrderCreated,
    OrderEvent,
    PaymentActionRequired,
    PaymentRefundCompleted,
)
from shop.contracts.return_events import (
    DeliveryReturnBooked,
    ReturnClosed,
    ReturnCompleted,
    ReturnExchanged,
    ReturnReceived,
    ReturnRefused,
)

Type = Notification.Type

OrderNews = (
    OrderCreated
    | PaymentActionRequired
    | OrderChanged
    | OrderChangeRefused
    | DeliveryHandedOver
    | DeliveryCompleted
    | OrderCompleted
    | DeliveryFailed
    | DeliveryShipmentFailed
    | OrderCancelled
    | PaymentRefundCompleted
)
ReturnNews = DeliveryReturnBooked | ReturnReceived | ReturnExchanged | ReturnCompleted | ReturnRefused | ReturnClosed
News = OrderNews | ReturnNews

# In the order of the sagas.
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
    DeliveryShipmentFailed: Type.SHIPMENT_FAILED,
    PaymentRefundCompleted: Type.REFUNDED,
    DeliveryReturnBooked: Type.RETURN_APPROVED,
    ReturnReceived: Type.RETURN_RECEIVED,
    ReturnExchanged: Type.RETURN_EXCHANGED,
    ReturnCompleted: Type.RETURN_REFUNDED,
    ReturnRefused: Type.RETURN_REFUSED,
    ReturnClosed: Type.RETURN_CLOSED,
}


def kind_of(event: News) -> Notification.Type:
    """Which kind of notification an event leads to."""
    if isinstance(event, OrderChanged) and event.address_changed:
        return Type.ADDRESS_CHANGED
    return TYPES[type(event)]


def customer_of(event: News) -> int:
    """The user that an event concerns."""
    return event.checkout.user_id if isinstance(event, OrderCreated) else event.user_id
