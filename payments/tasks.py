"""Payments' part in the saga."""

from collections.abc import Sequence

from payments import captures, privacy, services, settling
from payments.gateway_calls import Answers, Operated
from sagas import purge_messages, step, timer
from shop.contracts.events import (
    CustomerErased,
    DeliveryCancelled,
    DeliveryFailed,
    DeliveryHeld,
    DeliveryPaymentDue,
    InventoryReserved,
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
)


@step(outside=services.ask_for_charges)
def charge_payment(
    reserved: list[InventoryReserved], answers: Answers
) -> list[PaymentCompleted | PaymentAuthorized | PaymentFailed | PaymentActionRequired]:
    """Record the gateways' answers. Some customers are sent to a page, and their orders wait.

    While an outcome is unknown nothing is emitted: `settle_payments` asks again.
    """
    return services.keep_charges(reserved, answers)


def ask_for_captures(due: Sequence[DeliveryPaymentDue]) -> Operated:
    """Have the gateways take what they hold of these orders."""
    return captures.ask_for_captures([event.order_id for event in due])


@step(outside=ask_for_captures)
def capture_payment(
    due: list[DeliveryPaymentDue], answers: Operated
) -> list[PaymentCaptured | PaymentCaptureFailed | PaymentRefundRefused]:
    """Record the gateways' answers. While an outcome is unknown nothing is emitted: `settle_payments` asks again."""
    return captures.keep_captures(due, answers)


def ask_for_refunds(undone: Sequence[DeliveryFailed | DeliveryCancelled]) -> Operated:
    """Have the gateways that charged these orders refund them."""
    return services.ask_for_refunds([event.order_id for event in undone])


@step(outside=ask_for_refunds)
def refund_payment(
    undone: list[DeliveryFailed | DeliveryCancelled], answers: Operated
) -> list[PaymentRefunded | PaymentRefundCompleted | PaymentRefundRefused | PaymentChanged | PaymentChangeRefused]:
    """Give back an order's money; leave a tombstone if it was not charged yet."""
    return services.undo(undone, answers)


@step
def enter_refund(requests: list[OrderRefundRequested]) -> list[PaymentRefundCompleted | PaymentRefundRefused]:
    """Enter the refunds that staff request, unless they are more than is left; `settle_payments` carries them out."""
    return services.enter_refunds(requests)


@step
def change_payment(held: list[DeliveryHeld]) -> list[PaymentChanged | PaymentChangeRefused]:
    """Enter the difference that a change makes, unless it is more than is left; `settle_payments` refunds it."""
    return services.change(held)


@step
def erase_customer(erased: list[CustomerErased]) -> None:
    """Forget what names customers who have left."""
    privacy.erase(erased)


@timer
def settle_payments() -> int:
    """Ask the gateways again about payments whose outcome is unknown."""
    return settling.settle_due()


@timer
def purge() -> int:
    """Delete inbox and outbox rows, and providers' notifications, past their retention."""
    return purge_messages("payments") + settling.purge()
