"""Those with whom a shop has to do and who do as they like: customers on a payment page, staff, payment providers.

All take part in a simulation: what they do follows from a number.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.utils import timezone

from orders.changes.requests import request_change
from orders.models import OrderLine
from orders.refunds import NothingPaid, request_refund
from payments.captures import capture_again, write_off
from payments.gateways import Notification, Unknown, gateway, pages
from payments.models import Payment, SandboxPage
from payments.settling import come_back, take_notification
from shop.api.problems import Problem

Log = Callable[[int, str], None]  # of which order, and what
DAY = timedelta(days=1)
PAY, CLOSE, GIVE_UP, STAY_AWAY, COME_BACK, TELL = range(6)
DEEDS = (
    "its customer pays and comes back",
    "its customer pays and closes the window",
    "its customer gives up",
    "its customer stays away too long",
    "its customer comes back",
    "its provider reports on it",
)
OPERATIONS = ("authorize", "confirm", "capture", "void", "refund", "find")
REQUEST_LOST, ANSWER_LOST = "request lost", "answer lost"
LOSSES = [f"{what} of {operation}" for operation in OPERATIONS for what in (REQUEST_LOST, ANSWER_LOST)]


class LossyGateway:
    """A gateway that is out of reach now and then. `is_lost(loss)` is asked twice for each of its operations."""

    def __init__(self, name: str, is_lost: Callable[[str], bool]) -> None:
        self._gateway, self._is_lost = gateway(name), is_lost

    def __getattr__(self, name: str) -> Any:
        reached = getattr(self._gateway, name)
        if name not in OPERATIONS:
            return reached

        def ask(batch: Sequence[Any]) -> Sequence[Any]:
            nothing = [Unknown("lost")] * len(batch)
            if self._is_lost(f"{REQUEST_LOST} of {name}"):
                return nothing
            answers = reached(batch)
            return nothing if self._is_lost(f"{ANSWER_LOST} of {name}") else answers

        return ask


def act_on_page(orders: Collection[int], number: int, log: Log) -> bool:
    """Have one of the customers who are, or were, on a payment page do something, or their provider report on them;
    False if there is none."""
    names = payments(orders)
    found = SandboxPage.objects.filter(payment__in=names).order_by("pk")
    if not found:
        return False
    page = found[number // len(DEEDS) % len(found)]
    deed, is_open = number % len(DEEDS), page.decision == SandboxPage.Decision.OPEN
    if deed < COME_BACK and not is_open:
        deed = COME_BACK  # with the back button, or once more
    log(names[page.payment], DEEDS[deed])
    if deed in (PAY, CLOSE, GIVE_UP):
        pages.decide(page.gateway, page.payment, paid=deed != GIVE_UP)
    if deed in (PAY, GIVE_UP, COME_BACK):
        come_back(names[page.payment], {"outcome": "whatever"})
    elif deed == TELL:
        take_notification(page.gateway, Notification(f"{page.payment} {number}", page.payment))
    else:
        time_passes(page.payment, too_much=deed == STAY_AWAY)
    return True


def leave_pages(orders: Collection[int], log: Log) -> bool:
    """Have all customers leave the payment pages, one way or another, and time pass; False if nobody was there."""
    names = payments(orders)
    found = SandboxPage.objects.filter(payment__in=names, decision=SandboxPage.Decision.OPEN).order_by("pk")
    for number, page in enumerate(found):
        deed = (CLOSE, GIVE_UP, STAY_AWAY)[number % 3]
        log(names[page.payment], DEEDS[deed])
        if deed == STAY_AWAY:
            time_passes(page.payment, too_much=True)
        else:
            pages.decide(page.gateway, page.payment, paid=deed == CLOSE)
    Payment.objects.filter(order_id__in=orders, status="WAITING").update(due_at=timezone.now())
    return bool(found)


def payments(orders: Collection[int]) -> dict[str, int]:
    """The payments of orders, by the name that their gateways know."""
    return dict(Payment.objects.filter(order_id__in=orders).values_list("idempotency_key", "order_id"))


def time_passes(payment: str, *, too_much: bool) -> None:
    """So much that the timer looks after a payment that waits, or that there is no more to wait for."""
    waiting = Payment.objects.filter(idempotency_key=payment, status="WAITING")
    waiting.update(due_at=timezone.now())
    if too_much:
        waiting.update(created_at=timezone.now() - DAY)


def refund_part(orders: Collection[int], number: int, log: Log) -> None:
    """Staff have a part given back, or ask for that again; several parts may be more than there is."""
    order_id, amount = sorted(orders)[number % len(orders)], 1_000 * number
    log(order_id, f"staff have {amount} given back")
    with suppress(NothingPaid):
        request_refund(order_id, key=str(number), amount=amount, reason="")


def settle_unpaid(orders: Collection[int], *, again: bool, log: Log) -> bool:
    """Staff have captured again what could not be captured, or write it off; False if there is nothing."""
    unpaid = dict(Payment.objects.filter(order_id__in=orders, status="UNPAID").values_list("pk", "order_id"))
    for order_id in unpaid.values():
        log(order_id, "staff have it captured again" if again else "staff write it off")
    return bool(capture_again(unpaid) if again else write_off(unpaid, "for peace"))


def change(orders: Collection[int], number: int, log: Log) -> None:
    """A customer cancels a piece, or all but one, or has moved, or asks for the same again; in vain where that is not
    possible."""
    order_id = sorted(orders)[number % len(orders)]
    line = OrderLine.objects.get(order=order_id)
    left = max(1, line.quantity - 1 - number // 30)
    wanted: dict[str, Any] = (
        {"quantities": {line.product_id: left}} if number % 2 else {"address": f"{number} Elsewhere"}
    )
    log(order_id, f"its customer wants {wanted}")
    with suppress(Problem):
        request_change(order_id, key=str(number), **wanted)
