"""THE SAGA ON ONE PAGE: which event is heard by which step, forward and back.

forward  OrderCreated ─► InventoryReserved ─► PaymentCompleted ─► DeliveryStarted ─► DeliveryCompleted ─► OrderCompleted
              │                 │                    │                  │                   │
         reserve_stock    charge_payment       start_delivery      ship_stock        complete_order
              │                 │
       …ReservationFailed PaymentFailed       DeliveryFailed (the carrier's)
              ▼                 ▼                    ▼
backward OrderCancelled ◄─ InventoryReleased ◄─ PaymentRefunded ◄─ DeliveryCancelled ◄─ OrderCancellationRequested
          cancel_order       release_stock       refund_payment     cancel_delivery       customer, or deadline

The publisher routes by `SAGA`, the timers run by `TIMERS`, and `manage.py check` holds both, and `UNDONE_BY`, against
the steps that exist. `manage.py saga` prints this page; `docs/saga.md` is made from it.
"""

from collections.abc import Mapping

from shop.contracts.events import (
    DeliveryCancellationRefused,
    DeliveryCancelled,
    DeliveryCompleted,
    DeliveryFailed,
    DeliveryStarted,
    Event,
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    OrderCancellationRequested,
    OrderCancelled,
    OrderCompleted,
    OrderCreated,
    PaymentCompleted,
    PaymentFailed,
    PaymentRefunded,
)

# Each event, and the steps that hear it. A step is "service.function"; the service is also its queue and its database.
SAGA: Mapping[type[Event], tuple[str, ...]] = {
    # forward
    OrderCreated: ("inventory.reserve_stock", "notifications.notify"),
    InventoryReserved: ("payments.charge_payment", "orders.mark_reserved"),
    PaymentCompleted: ("delivery.start_delivery", "orders.mark_paid"),
    DeliveryStarted: ("inventory.ship_stock", "orders.mark_shipped", "notifications.notify"),
    DeliveryCompleted: ("orders.complete_order", "notifications.notify"),
    OrderCompleted: ("notifications.notify",),
    # where it turns
    InventoryReservationFailed: ("orders.cancel_order",),
    PaymentFailed: ("inventory.release_stock", "orders.mark_cancelling"),
    DeliveryFailed: ("payments.refund_payment", "orders.mark_cancelling", "notifications.notify"),
    OrderCancellationRequested: ("delivery.cancel_delivery",),
    DeliveryCancellationRefused: ("orders.resume_order",),
    # backward
    DeliveryCancelled: ("payments.refund_payment",),
    PaymentRefunded: ("inventory.release_stock",),
    InventoryReleased: ("orders.cancel_order",),
    OrderCancelled: ("notifications.notify",),
}

# Each step with an effect outside its own records, and the step that takes the effect back.
UNDONE_BY: Mapping[str, str] = {
    "inventory.reserve_stock": "inventory.release_stock",
    "payments.charge_payment": "payments.refund_payment",
    "delivery.start_delivery": "delivery.cancel_delivery",
    "inventory.ship_stock": "inventory.release_stock",
}

# Steps that write down what happened, or tell it: there is nothing to take back.
RECORDS: tuple[str, ...] = (
    "orders.mark_reserved",
    "orders.mark_paid",
    "orders.mark_shipped",
    "orders.complete_order",
    "orders.mark_cancelling",
    "orders.resume_order",
    "orders.cancel_order",
    "notifications.notify",
)

# Steps that nobody waits for: a customer waits until the order is paid. Of what goes by in ones and twos they are told
# a moment later, in one message for many: what a message costs is paid once, and the other steps find the workers free.
PATIENT: tuple[str, ...] = (
    "delivery.start_delivery",
    "orders.mark_shipped",
    "inventory.ship_stock",
    "notifications.notify",
)

# What happens by itself: the task, and every how many seconds beat sends it. What is due is a column in the database.
TIMERS: Mapping[str, float] = {
    "delivery.advance_deliveries": 0.5,
    "payments.settle_payments": 1.0,
    "notifications.send_pending": 1.0,
    "orders.look_after": 5.0,
    "orders.cancel_overdue": 15.0,
    "orders.purge": 3600.0,
    "inventory.purge": 3600.0,
    "payments.purge": 3600.0,
    "delivery.purge": 3600.0,
    "notifications.purge": 3600.0,
}


def steps_hearing(event_type: type[Event]) -> tuple[str, ...]:
    """The steps that hear an event."""
    return SAGA[event_type]


def prompt_steps(event_type: type[Event]) -> tuple[str, ...]:
    """Those of the steps that hear an event which are to hear it at once."""
    return tuple(step for step in SAGA[event_type] if step not in PATIENT)


def patient_steps(event_type: type[Event]) -> tuple[str, ...]:
    """Those of the steps that hear an event which can wait a moment."""
    return tuple(step for step in SAGA[event_type] if step in PATIENT)


def service_of(task: str) -> str:
    """The service that a step or timer belongs to."""
    return task.partition(".")[0]
