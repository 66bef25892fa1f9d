"""THE SAGA ON ONE PAGE: which event is heard by which step, forward and back.

forward  OrderCreated ─► InventoryReserved ─► PaymentCompleted ─► DeliveryStarted ─► DeliveryHandedOver ──────┐
              │                 │                    │                                       │                │
         reserve_stock    charge_payment       start_delivery                           ship_stock            │
              │                 │                                 OrderCompleted ◄─ DeliveryCompleted ◄───────┘
              │                 │                                                            │
       …ReservationFailed PaymentFailed       DeliveryFailed (the carrier's)          complete_order
              ▼                 ▼                    ▼
backward OrderCancelled ◄─ InventoryReleased ◄─ PaymentRefunded ◄─ DeliveryCancelled ◄─ OrderCancellationRequested
          cancel_order       release_stock       refund_payment     cancel_delivery       customer, or deadline

A customer who has to pay on a page of the gateway, or by a transfer, is waited for between InventoryReserved and
PaymentCompleted: PaymentActionRequired says where and until when; orders notes it, and the customer is told.

With PAYMENT_CAPTURE=at_hand_over money is only held at first: PaymentAuthorized takes the place of PaymentCompleted.
When the carrier has the parcel, DeliveryPaymentDue has it taken by capture_payment. PaymentCaptured and
DeliveryCompleted, in either order, complete the order. PaymentCaptureFailed calls the parcel back if that is still
possible; otherwise the order is UNPAID until staff have it captured after all, or write it off (PaymentWrittenOff).

Until the carrier has the parcel an order can be changed: its pieces, or where it goes. Its parcel is held, by delivery,
which decides the race with the carrier; the money comes next, as it can be refused; stock follows, and lets the parcel
go:

OrderChangeRequested ─► DeliveryHeld ─► PaymentChanged ─► OrderChanged ──┬─► InventoryChanged
      │                      │               │             │         │          │
 hold_parcel          change_payment    apply_change  change_stock   │       let_go
      ▼                      ▼                                       │
DeliveryHoldRefused, PaymentChangeRefused ─► OrderChangeRefused ─────┘

An order that comes from several locations is sent in several shipments, each with its own DeliveryStarted and
DeliveryHandedOver. One that arrives is a DeliveryShipmentCompleted. One that does not is a DeliveryShipmentFailed: its
pieces are taken back and refunded, and the others go on. When the last has ended, the order has: DeliveryCompleted if
any has arrived, else DeliveryFailed.

Staff may have a part of the money given back at any time: OrderRefundRequested, which payments answers with
PaymentRefundCompleted or PaymentRefundRefused.

`ORDER` is all of it: the kernel routes by it, the timers run by it, and `manage.py check` holds it against the
steps that exist. `manage.py saga` prints this page; `docs/saga.md` is made from it.

What comes after, an order's return, is a saga of its own: `shop/return_saga.py`. `CUSTOMER` is a third one with a
single event, which tells every service that stores a customer's data to erase it.
"""

from sagas.saga import Saga, effect, record, undo
from shop.contracts.events import (
    BACKWARD,
    CustomerErased,
    DeliveryCancellationRefused,
    DeliveryCancelled,
    DeliveryCompleted,
    DeliveryFailed,
    DeliveryHandedOver,
    DeliveryHeld,
    DeliveryHoldRefused,
    DeliveryPaymentDue,
    DeliveryShipmentCompleted,
    DeliveryShipmentFailed,
    DeliveryStarted,
    InventoryChanged,
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    OrderCancellationRequested,
    OrderCancelled,
    OrderChanged,
    OrderChangeRefused,
    OrderChangeRequested,
    OrderCompleted,
    OrderCreated,
    OrderRefundRequested,
    PaymentActionRequired,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentChanged,
    PaymentChangeRefused,
    PaymentCompleted,
    PaymentFailed,
    PaymentRefundCompleted,
    PaymentRefunded,
    PaymentRefundRefused,
    PaymentWrittenOff,
)
from shop.return_saga import RETURN

ORDER = Saga(
    name="order",
    key="order_id",
    # Each event, and the steps that hear it. A step is "service.function"; the service is also its queue and database.
    heard_by={
        # forward
        OrderCreated: ("inventory.reserve_stock", "notifications.notify"),
        InventoryReserved: ("payments.charge_payment", "orders.mark_reserved"),
        PaymentActionRequired: ("orders.mark_waiting", "notifications.notify"),
        PaymentAuthorized: ("delivery.start_delivery", "orders.mark_authorized", "notifications.notify"),
        PaymentCompleted: ("delivery.start_delivery", "orders.mark_paid", "notifications.notify"),
        DeliveryStarted: ("orders.mark_started",),
        DeliveryHandedOver: ("inventory.ship_stock", "orders.mark_shipped", "notifications.notify"),
        DeliveryPaymentDue: ("payments.capture_payment",),
        PaymentCaptured: ("orders.note_capture", "notifications.notify"),
        DeliveryShipmentCompleted: ("orders.note_shipment",),
        DeliveryCompleted: ("orders.complete_order", "notifications.notify"),
        OrderCompleted: ("notifications.notify",),
        # where it turns
        InventoryReservationFailed: ("orders.cancel_order",),
        PaymentFailed: ("inventory.release_stock", "orders.mark_cancelling"),
        PaymentCaptureFailed: ("delivery.cancel_delivery", "orders.note_capture"),
        DeliveryFailed: ("payments.refund_payment", "orders.mark_cancelling", "notifications.notify"),
        DeliveryShipmentFailed: (
            "inventory.take_back_shipment",
            "orders.drop_shipment",
            "notifications.notify",
        ),
        OrderCancellationRequested: ("delivery.cancel_delivery",),
        DeliveryCancellationRefused: ("orders.resume_order",),
        # changed before the hand-over
        OrderChangeRequested: ("delivery.hold_parcel",),
        DeliveryHeld: ("payments.change_payment",),
        DeliveryHoldRefused: ("orders.refuse_change",),
        PaymentChanged: ("orders.apply_change",),
        PaymentChangeRefused: ("orders.refuse_change",),
        OrderChanged: ("inventory.change_stock", "notifications.notify"),
        OrderChangeRefused: ("inventory.change_stock", "notifications.notify"),
        InventoryChanged: ("delivery.let_go", "orders.resize_shipments"),
        # aside
        PaymentWrittenOff: ("orders.note_capture",),
        OrderRefundRequested: ("payments.enter_refund",),
        PaymentRefundCompleted: ("orders.note_refund", "notifications.notify"),
        PaymentRefundRefused: ("orders.note_refund",),
        # backward
        DeliveryCancelled: ("payments.refund_payment",),
        PaymentRefunded: ("inventory.release_stock",),
        InventoryReleased: ("orders.cancel_order",),
        OrderCancelled: ("notifications.notify",),
    },
    backward=BACKWARD,
    # Each step: an effect with the step that takes it back, an undo, or a record with nothing to take back. A customer
    # waits until the order is paid; nobody waits for a deferrable step.
    steps={
        "inventory.reserve_stock": effect(undone_by="inventory.release_stock"),
        "payments.charge_payment": effect(undone_by="payments.refund_payment"),
        "payments.capture_payment": effect(undone_by="payments.refund_payment"),
        "delivery.start_delivery": effect(undone_by="delivery.cancel_delivery", deferrable=True),
        "inventory.ship_stock": effect(undone_by="inventory.release_stock", deferrable=True),
        "delivery.hold_parcel": effect(undone_by="delivery.let_go"),
        "payments.change_payment": effect(undone_by="payments.refund_payment"),
        "delivery.let_go": undo(),
        "delivery.cancel_delivery": undo(),
        "payments.refund_payment": undo(),
        "inventory.release_stock": undo(),
        "orders.mark_reserved": record(),
        "orders.mark_waiting": record(),
        "orders.mark_authorized": record(),
        "orders.mark_paid": record(),
        "orders.mark_started": record(deferrable=True),
        "orders.mark_shipped": record(deferrable=True),
        "orders.complete_order": record(),
        "orders.mark_cancelling": record(),
        "orders.resume_order": record(),
        "orders.apply_change": record(),
        "orders.refuse_change": record(),
        "inventory.change_stock": record(),
        "inventory.take_back_shipment": record(),
        "orders.note_shipment": record(),
        "orders.resize_shipments": record(),
        "orders.drop_shipment": record(),
        "orders.note_refund": record(),
        "orders.note_capture": record(),
        "payments.enter_refund": record(),
        "orders.cancel_order": record(),
        "notifications.notify": record(deferrable=True),
    },
    # Periodic tasks, and the seconds between their ticks. What is due is a column in the database.
    timers={
        "delivery.advance_deliveries": 0.5,
        "payments.settle_payments": 1.0,
        "notifications.send_pending": 1.0,
        "notifications.send_letters": 2.0,
        "notifications.send_webhooks": 1.0,
        "notifications.review_webhooks": 60.0,
        "orders.look_after": 5.0,
        "orders.cancel_overdue": 15.0,
        "orders.purge": 3600.0,
        "inventory.purge": 3600.0,
        "payments.purge": 3600.0,
        "delivery.purge": 3600.0,
        "notifications.purge": 3600.0,
    },
)

ERASURE = ("orders", "inventory", "payments", "delivery", "notifications")  # catalog keeps nothing of customers

CUSTOMER = Saga(
    name="customer",
    key="user_id",
    heard_by={CustomerErased: tuple(f"{service}.erase_customer" for service in ERASURE)},
    steps={f"{service}.erase_customer": record() for service in ERASURE},
    timers={"accounts.erase_closed": 60.0, "accounts.purge": 3600.0},
)

SAGAS = (ORDER, RETURN, CUSTOMER)

# As messages and rows name them. Orders and returns are numbered in one sequence, the instances of other sagas not.
RETURNS_EVENTS = [event.__name__ for event in RETURN.heard_by]
OTHERS_EVENTS = [event.__name__ for saga in SAGAS if saga not in (ORDER, RETURN) for event in saga.heard_by]
