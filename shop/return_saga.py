"""THE SAGA OF A RETURN ON ONE PAGE, beside that of an order (`shop/saga.py`), on the same kernel.

forward  ReturnRequested ─► ReturnApproved ─► DeliveryReturnBooked ─► DeliveryReturnReceived ─► ReturnReceived ─────┐
                             rule, or staff           │                  carrier, or staff                         │
                                   │                  │                                                            │
                              book_return             │       ReturnCompleted ◄─ InventoryRestocked ◄─ ReturnInspected
                                                      ▼              (refund)      restock_return            staff
backward ReturnClosed ◄─ DeliveryReturnCancelled ◄─ ReturnWithdrawn, ReturnExpired
           end_return      cancel_return             customer       the parcel did not come in time

Staff may refuse a return that is not approved (ReturnRefused), and decide about a parcel that the carrier has lost
(DeliveryReturnLost).

The money goes back by the saga of the order: `orders.settle_return` asks for OrderRefundRequested, and what payments
answers ends the return (`orders.note_refund`), or leaves it to staff when the refund is refused.

What is exchanged goes into an order of its own, which costs nothing (ReturnExchanged). When it has ended, in whichever
way (ReturnExchangeEnded), `orders.settle_exchange` has the money given back of all that it has not brought.

An inspection is not taken back: what it found has happened. So restocking is a record, and has no undo.
"""

from sagas.saga import Saga, effect, record, undo
from shop.contracts.return_events import (
    BACKWARD,
    DeliveryReturnBooked,
    DeliveryReturnCancelled,
    DeliveryReturnLost,
    DeliveryReturnReceived,
    InventoryRestocked,
    ReturnApproved,
    ReturnClosed,
    ReturnCompleted,
    ReturnExchanged,
    ReturnExchangeEnded,
    ReturnExpired,
    ReturnInspected,
    ReturnReceived,
    ReturnRefused,
    ReturnRequested,
    ReturnWithdrawn,
)

RETURN = Saga(
    name="return",
    key="return_id",
    heard_by={
        # forward
        ReturnRequested: ("notifications.notify_return",),
        ReturnApproved: ("delivery.book_return", "notifications.notify_return"),
        DeliveryReturnBooked: ("orders.mark_return_booked", "notifications.notify_return"),
        DeliveryReturnReceived: ("orders.mark_return_received",),
        ReturnReceived: ("delivery.close_return", "notifications.notify_return"),
        ReturnInspected: ("inventory.restock_return",),
        InventoryRestocked: ("orders.settle_return",),
        ReturnExchanged: ("notifications.notify_return",),
        ReturnExchangeEnded: ("orders.settle_exchange",),
        ReturnCompleted: ("notifications.notify_return",),
        # where it turns
        ReturnRefused: ("notifications.notify_return",),
        DeliveryReturnLost: ("orders.mark_return_lost",),
        # backward
        ReturnWithdrawn: ("delivery.cancel_return",),
        ReturnExpired: ("delivery.cancel_return",),
        DeliveryReturnCancelled: ("orders.end_return",),
        ReturnClosed: ("notifications.notify_return",),
    },
    backward=BACKWARD,
    steps={
        "delivery.book_return": effect(undone_by="delivery.cancel_return"),
        "delivery.cancel_return": undo(),
        "delivery.close_return": record(),
        "inventory.restock_return": record(),
        "orders.mark_return_booked": record(),
        "orders.mark_return_received": record(),
        "orders.mark_return_lost": record(),
        "orders.settle_return": record(),
        "orders.settle_exchange": record(),
        "orders.end_return": record(),
        "notifications.notify_return": record(deferrable=True),
    },
    timers={"orders.look_after_returns": 5.0},
)
