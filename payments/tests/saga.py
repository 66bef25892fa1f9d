"""What the tests of payments are written in: the events that come, and how to see what followed."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Sum
from django.utils import timezone

from payments.models import GatewayLedger, Outbox, Payment, PaymentOperation
from payments.tasks import settle_payments
from sagas.conf import choreography
from sagas.events import decode
from sagas.execution import handle
from sagas.registry import AnyStep
from shop.contracts.events import Checkout, DeliveryCancelled, DeliveryFailed, InventoryReserved, Line, OrderEvent

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def checkout(token: str = "tok_ok", gateway: str = "TOSS_PAYMENTS", amount: int = 3_500_000) -> Checkout:
    return Checkout(
        user_id=7,
        amount=amount,
        currency="KRW",
        payment_gateway=gateway,
        payment_token=token,
        lines=(Line(product_id=1, quantity=1),),
        address="sealed",
    )


def reserved(order_id: int = 1, token: str = "tok_ok", **options) -> InventoryReserved:
    return InventoryReserved(order_id=order_id, checkout=checkout(token, **options), trace=TRACE)


def cancelled(order_id: int = 1, reason: str = "cancelled by the customer") -> DeliveryCancelled:
    return DeliveryCancelled(order_id=order_id, reason=reason, trace=TRACE)


def undeliverable(order_id: int = 1) -> DeliveryFailed:
    return DeliveryFailed(order_id=order_id, user_id=7, reason="refused by the carrier", trace=TRACE)


def run(step: AnyStep, *events: OrderEvent) -> list[Any]:
    """A message with these events is delivered to the step; what is published for it."""
    return handle(step, events)


def told(events: Sequence[OrderEvent]) -> list[tuple]:
    """Events by name, order and reason."""
    return [(type(event).__name__, event.order_id, getattr(event, "reason", None)) for event in events]


def outbox() -> list[Any]:
    """What the timer has emitted so far."""
    return [
        decode(payload, choreography().events)
        for payload in Outbox.objects.order_by("pk").values_list("payload", flat=True)
    ]


def settle() -> int:
    """Let all pauses pass, and the timer run once."""
    Payment.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    return settle_payments()


def settle_all() -> None:
    """Let the timer run until nothing is left to ask."""
    for _ in range(50):
        if not settle():
            return
    raise AssertionError("the timer never ends")


def state(order_id: int = 1) -> tuple[str, bool]:
    """A payment's status, and whether something is left to ask about it."""
    payment = Payment.objects.get(order_id=order_id)
    return payment.status, payment.due_at is not None


def name(order_id: int = 1) -> str:
    """What an order's payment is called at its gateway; "" if there is none."""
    return "".join(Payment.objects.filter(order_id=order_id).values_list("idempotency_key", flat=True))


def held(order_id: int = 1) -> int:
    """The customer's money at the gateways."""
    sums = GatewayLedger.objects.filter(payment=name(order_id)).values("kind").annotate(total=Sum("amount"))
    totals = {row["kind"]: row["total"] for row in sums}
    return totals.get("CHARGE", 0) - totals.get("REFUND", 0)


def asked(order_id: int = 1) -> list[tuple[str, str]]:
    """What was asked about a payment and answered."""
    payment = Payment.objects.get(order_id=order_id)
    return [(attempt.operation, attempt.outcome) for attempt in payment.asked.all()]


def entries(order_id: int = 1) -> list[tuple[str, int, str]]:
    """The operations on a payment: kind, amount, outcome."""
    operations = PaymentOperation.objects.filter(payment__order_id=order_id)
    return list(operations.order_by("pk").values_list("kind", "amount", "outcome"))


def sums(order_id: int = 1) -> tuple[int, int, int]:
    """What of a payment is authorized, captured and refunded."""
    payment = Payment.objects.get(order_id=order_id)
    return payment.authorized, payment.captured, payment.refunded
