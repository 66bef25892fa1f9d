"""How an order is cancelled: asked for, undone by the other services, ended; or refused, as the carrier was faster."""

from collections.abc import Mapping, Sequence

from django.db import transaction

from orders.models import FORWARD, UNFINISHED, Order
from orders.services import UnknownOrder, lock
from orders.transitions import Moved, move
from sagas import emit
from sagas.crash_points import crash_point
from shop import stafflog
from shop.api.problems import Problem
from shop.contracts.events import OrderCancellationRequested, OrderEvent
from shop.contracts.reasons import ASKED_FOR, BY_CUSTOMER, INSUFFICIENT_STOCK, PAYMENT_DECLINED
from shop.observability.tracing import current_trace

Status = Order.Status

CANCELLABLE = FORWARD[: FORWARD.index(Status.SHIPPED)]


class InsufficientStock(Problem):
    """There is not enough in stock."""

    code = INSUFFICIENT_STOCK


class PaymentDeclined(Problem):
    """The payment was declined."""

    code = PAYMENT_DECLINED


class AlreadyCancelled(Problem):
    """The order is cancelled, or about to be."""

    code = "O002"


class NotCancellable(Problem):
    """The order has come too far to be cancelled."""

    code = "O003"


def refusal(order: Order) -> Problem:
    """Why an order that is cancelled, or about to be, came to that: the problem to answer its customer with."""
    code, _, text = order.cancellation_reason.partition(": ")
    problem: Problem = AlreadyCancelled(f"Order {order.pk} is {order.status.lower()}: {order.cancellation_reason}.")
    for refused in (InsufficientStock, PaymentDeclined):
        if refused.code == code:
            problem = refused(f"Order {order.pk} was refused: {text}.")
    problem.members = {"orderId": order.pk}
    return problem


def can_be_cancelled(order: Order) -> bool:
    """Whether asking for it makes sense now. It may still be refused, if the carrier was faster: delivery decides."""
    return order.status in CANCELLABLE


def request_cancellation(order_id: int, *, reason: str = BY_CUSTOMER) -> Order:
    """Enter the backward chain at its head. Delivery decides: it refuses when the carrier already has the parcel.

    `reason` is one of those that `resume` knows.

    Raises `UnknownOrder`, `AlreadyCancelled`, `NotCancellable`.
    """
    with transaction.atomic(using="orders", durable=True):
        (order,) = lock([order_id]) or (None,)
        if order is None:
            raise UnknownOrder(f"There is no order {order_id}.")
        if order.status in (Status.CANCELLING, Status.CANCELLED):
            raise AlreadyCancelled(f"Order {order_id} is {order.status.lower()}.")
        if not can_be_cancelled(order):
            raise NotCancellable(f"Order {order_id} is {order.status.lower()}.")
        before = {"status": order.status}
        begin_cancellation([order], reason)
        if stafflog.acts_for(order.user_id):
            after = {"status": order.status, "reason": reason}
            stafflog.record("orders", "cancel", f"order {order_id}", before=before, after=after)
        crash_point("cancellation.written")
    crash_point("cancellation.committed")
    return order


def begin_cancellation(orders: Sequence[Order], reason: str) -> None:
    """Enter the backward chain with locked orders that are on their way forward."""
    requests = [OrderCancellationRequested(order_id=order.pk, reason=reason, trace=current_trace()) for order in orders]
    move(requests, since=CANCELLABLE, to=Status.CANCELLING, reasons={order.pk: reason for order in orders})
    for order in orders:
        order.status, order.cancellation_reason = Status.CANCELLING, reason
    emit(*requests, service="orders")


def begin_undoing(events: Sequence[OrderEvent], reasons: Mapping[int, str]) -> None:
    """Something was refused further down the chain: the orders are on their way back."""
    move(events, since=UNFINISHED, to=Status.CANCELLING, reasons=reasons)


def resume(events: Sequence[OrderEvent]) -> None:
    """Return orders to SHIPPED when delivery has refused to cancel them. Orders being undone for another reason than a
    requested cancellation stay CANCELLING."""
    move(
        events,
        since=[Status.CANCELLING],
        to=Status.SHIPPED,
        reasons={event.order_id: "" for event in events},
        cancelled_for=ASKED_FOR,
    )


def cancel(events: Sequence[OrderEvent], reasons: Mapping[int, str]) -> dict[int, Moved]:
    """Everything is undone; the orders that this call has cancelled."""
    return move(events, since=UNFINISHED, to=Status.CANCELLED, reasons=reasons)
