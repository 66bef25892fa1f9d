"""What the tests of delivery are written in: the events that come, and how to see what followed."""

from collections.abc import Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.utils import timezone
from rest_framework.test import APIClient

from delivery.models import Delivery, Outbox
from delivery.tasks import advance_deliveries, start_delivery
from sagas.conf import choreography
from sagas.events import decode
from sagas.execution import handle
from sagas.registry import AnyStep
from shop.contracts.events import (
    Checkout,
    Line,
    OrderCancellationRequested,
    OrderEvent,
    PaymentAuthorized,
    PaymentCaptureFailed,
    PaymentCompleted,
)
from shop.contracts.reasons import NOT_CAPTURED
from shop.seal import What, seal

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ADDRESS = "서울특별시 중구 세종대로 110"
STARTED, HANDED_OVER, COMPLETED = [(f"Delivery{what}", 1, None) for what in ("Started", "HandedOver", "Completed")]


def paid(order_id: int = 1, address: str = ADDRESS, user_id: int = 7, exchange_of: int = 0) -> PaymentCompleted:
    checkout = Checkout(
        user_id=user_id,
        amount=33_000,
        currency="KRW",
        payment_gateway="TOSS_PAYMENTS",
        payment_token="tok_ok",
        lines=(Line(product_id=7, quantity=1),),
        address=seal(address, What.ADDRESS, order_id=order_id) if address else "",
        exchange_of=exchange_of,
    )
    return PaymentCompleted(order_id=order_id, checkout=checkout, trace=TRACE)


def authorized(order_id: int = 1) -> PaymentAuthorized:
    return PaymentAuthorized(order_id=order_id, checkout=paid(order_id).checkout, trace=TRACE)


def not_captured(order_id: int = 1) -> PaymentCaptureFailed:
    return PaymentCaptureFailed(order_id=order_id, reason=NOT_CAPTURED, trace=TRACE)


def cancelling(order_id: int = 1, reason: str = "cancelled by the customer") -> OrderCancellationRequested:
    return OrderCancellationRequested(order_id=order_id, reason=reason, trace=TRACE)


def run(step: AnyStep, *events: OrderEvent) -> list[Any]:
    """A message with these events is delivered to the step; what is published for it."""
    return handle(step, events)


def told(events: Sequence[OrderEvent]) -> list[tuple]:
    """Events by name, order and reason."""
    return [(type(event).__name__, event.order_id, getattr(event, "reason", None)) for event in events]


def outbox() -> list[Any]:
    """What the timer and the carriers' messages have led to so far."""
    return [
        decode(payload, choreography().events)
        for payload in Outbox.objects.order_by("pk").values_list("payload", flat=True)
    ]


def advance() -> int:
    """Let the time to the next move pass, and the timer run once."""
    Delivery.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    return advance_deliveries()


def status(order_id: int = 1) -> str:
    return Delivery.objects.get(order_id=order_id).status


def book() -> None:
    """Have the parcel of order 1 booked with a carrier that has to be asked."""
    run(start_delivery, paid())
    advance()
    assert status() == "PREPARING"


def key() -> str:
    """What the booking is called at the carrier."""
    return Delivery.objects.get().key


def code(answer: Any) -> tuple[int, str]:
    """The status and the code of a problem document."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def as_user(user_id: int, *, staff: bool = False) -> APIClient:
    client = APIClient()
    client.force_authenticate(get_user_model()(pk=user_id, is_staff=staff, is_superuser=staff))
    return client
