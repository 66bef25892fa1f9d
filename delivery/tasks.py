"""Delivery's part in the saga."""

from delivery import services
from sagas import Outcome, purge_messages, step, sweep
from shop.contracts.events import (
    DeliveryCancellationRefused,
    DeliveryCancelled,
    DeliveryStarted,
    OrderCancellationRequested,
    PaymentCompleted,
)


@step
def start_delivery(paid: list[PaymentCompleted]) -> Outcome[DeliveryStarted]:
    """Prepare the parcels of paid orders for their carriers."""
    return services.start(paid)


@step
def cancel_delivery(
    requests: list[OrderCancellationRequested],
) -> Outcome[DeliveryCancelled | DeliveryCancellationRefused]:
    """Keep a parcel from leaving, unless the carrier has it; leave a tombstone if there is none yet."""
    return services.cancel(requests)


@sweep
def advance_deliveries() -> int:
    """Hand parcels to their carriers, and let them arrive, when their time has come."""
    return services.advance_due()


@sweep
def purge() -> int:
    """Delete inbox and outbox rows, and carriers' messages, past their retention."""
    return purge_messages("delivery") + services.purge()
