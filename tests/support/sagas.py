"""The shop's saga, for tests: its timers, an event to begin with, and what a bus has carried."""

from collections.abc import Callable
from typing import Any

from django.db import transaction

from sagas import Event, emit
from sagas.testing import Bus, Crash
from shop.contracts.events import Checkout, Line, OrderCreated

SAGA_TIMERS = ("delivery.advance_deliveries", "payments.settle_payments")  # those that move it


def created(order_id: int, quantity: int = 1, **fields: Any) -> OrderCreated:
    checkout = Checkout(
        user_id=7,
        amount=1000,
        currency="KRW",
        payment_gateway="TOSS_PAYMENTS",
        payment_token="tok_ok",
        lines=(Line(1, quantity),),
    )
    return OrderCreated(order_id=order_id, checkout=checkout, **fields)


def go_on(bus: Bus, messages: int) -> None:
    """Deliver so many messages, one by one, as far as there are any."""
    for _ in range(messages):
        if not bus.messages:
            bus.relay()
            bus.tick("delivery.advance_deliveries")
        if bus.messages:
            bus.deliver()


def sent(bus: Bus) -> list[tuple[str, str, int]]:
    """(step, event type, order) for everything on the bus."""
    return [(step, raw["type"], raw["order_id"]) for step, payload in bus.messages for raw in payload]


def crash_at(point: str) -> Callable[[str], None]:
    """For `sagas.crash_points.calling`: the process dies there."""

    def on_pass(name: str) -> None:
        if name == point:
            raise Crash(name)

    return on_pass


def emit_in_transaction(*events: Event, service: str = "inventory") -> None:
    """Events of a service's own accord."""
    with transaction.atomic(using=service):
        emit(*events, service=service)
