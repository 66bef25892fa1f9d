"""The rules of an order, and the only code that writes one.

Status changes are compare-and-set (`orders/transitions.py`), and progress is monotonic: what comes late, twice or
after the end changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction

from fastdb.bulk import Row
from fastdb.clock import database_time
from orders import placing
from orders.idempotency import Claim
from orders.models import FINAL, FORWARD, WAITING, Order
from orders.transitions import Moved, move
from sagas import emit
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from shop import stafflog
from shop.api.problems import Problem
from shop.calls import connect
from shop.contracts.accounts import AccountsService, UnknownUser
from shop.contracts.catalog import CatalogService
from shop.contracts.events import (
    Checkout,
    DeliveryCompleted,
    Line,
    OrderCancellationRequested,
    OrderCreated,
    OrderEvent,
    PaymentActionRequired,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentWrittenOff,
)
from shop.contracts.reasons import BY_CUSTOMER, BY_STAFF, INSUFFICIENT_STOCK, OVERDUE, PAYMENT_DECLINED, UNKNOWN_GATEWAY
from shop.money import LARGEST
from shop.observability.tracing import current_trace
from shop.seal import What, seal

Status, Capture = Order.Status, Order.Capture

UNFINISHED = tuple(status for status in Status if status not in FINAL)
SETTLED = (Capture.CAPTURED, Capture.WRITTEN_OFF)
NOT_SETTLED = ("", Capture.DUE, Capture.FAILED)
CAPTURES: Mapping[type[OrderEvent], tuple[str, Sequence[str]]] = {  # what each event leads to, and from where
    PaymentCaptured: (Capture.CAPTURED, (*NOT_SETTLED, Capture.WRITTEN_OFF)),
    PaymentCaptureFailed: (Capture.FAILED, ("", Capture.DUE)),
    PaymentWrittenOff: (Capture.WRITTEN_OFF, NOT_SETTLED),
}
CANCELLABLE = FORWARD[: FORWARD.index(Status.SHIPPED)]


class UnknownProduct(Problem):
    """The catalogue has no such product."""

    code = "P001"


class InactiveProduct(Problem):
    """The product is no longer sold."""

    code = "P002"


class InvalidOrder(Problem):
    """The lines cannot make an order: mixed currencies, or a total beyond what can be charged."""

    code = "C002"


class UnknownGateway(Problem):
    """There is no payment gateway of this name."""

    code = UNKNOWN_GATEWAY


class TotalChanged(Problem):
    """The total is not the `expectedTotal`: show the customer `totalPrice`, which it is now, and ask again."""

    code = "O004"

    def __init__(self, total: int = 66000) -> None:
        super().__init__()
        self.members = {"totalPrice": total}


class UnknownOrder(Problem):
    """There is no such order, or it is somebody else's."""

    code = "O001"


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


def place_order(
    *,
    user_id: int,
    lines: Sequence[Line],
    address: str,
    payment_token: str = "",
    payment_gateway: str = settings.DEFAULT_PAYMENT_GATEWAY,
    expected_total: int | None = None,
    claim: Claim | None = None,
    by_staff: bool = False,
) -> Order:
    """Take an order at today's catalogue prices; its saga begins when the relay finds the event.

    With a claim, only once: the same request again returns the order it has placed, with its `idempotency_key`.
    `by_staff`: somebody else orders for the user, so accounts is asked whether that is a customer.

    Raises `UnknownUser` for nobody and for somebody who is locked out, `UnknownProduct`, `InactiveProduct`,
    `InvalidOrder`, `UnknownGateway`, `TotalChanged` unless the total is the `expected_total`, for a claim `KeyReused`,
    `InFlight`, and `Unavailable` when accounts or the catalogue is away, for without it there is no price.
    """
    if claim and (placed := claim.order()):  # before the catalogue is asked, which may have changed, or be away
        return placed
    if by_staff:
        _check_customer(user_id)
    if payment_gateway not in settings.PAYMENT_GATEWAYS:
        known = ", ".join(settings.PAYMENT_GATEWAYS)
        raise UnknownGateway(f"There is no payment gateway {payment_gateway!r}; there are {known}.")
    items = _priced(lines)
    total = sum(item["unit_price"] * item["quantity"] for item, _ in items)
    currencies = {currency for _, currency in items}
    if len(currencies) > 1:
        raise InvalidOrder(f"One order has one currency; these products are priced in {', '.join(sorted(currencies))}.")
    if total > LARGEST:
        raise InvalidOrder("The total is more than can be charged.")
    (currency,) = currencies
    if expected_total not in (None, total):
        raise TotalChanged(total)
    row = {"user_id": user_id, "currency": currency, "total_price": total, "payment_gateway": payment_gateway}
    row["look_at"] = database_time("orders") + timedelta(seconds=settings.STALLED_AFTER)
    order_id = placing.next_id()  # before it is written: what is sealed is sealed for this order
    checkout = Checkout(
        user_id=user_id,
        amount=total,
        currency=currency,
        payment_gateway=payment_gateway,
        payment_token=payment_token and seal(payment_token, What.PAYMENT_TOKEN, order_id=order_id),
        lines=tuple(lines),
        address=seal(address, What.ADDRESS, order_id=order_id),
    )
    created = OrderCreated(order_id=order_id, checkout=checkout, trace=current_trace())
    lines_of_it = [item for item, _ in items]
    if claim is None and not stafflog.acts_for(user_id):
        order = placing.write(row, lines_of_it, created)
    else:
        with transaction.atomic(using="orders", durable=True):
            if claim and (placed := claim.take()):
                return placed
            order = placing.write(row, lines_of_it, created)
            if stafflog.acts_for(user_id):
                stafflog.record("orders", "order for", f"order {order.pk}", after={"user_id": user_id})
            if claim:
                claim.keep(order)
            crash_point("order.written")
    crash_point("order.committed")
    return order


def _check_customer(user_id: int) -> None:
    """Raises `UnknownUser`, and `Unavailable` when accounts is away."""
    if not connect(AccountsService).get_user(user_id).active:
        raise UnknownUser(f"User {user_id} is locked out.")


def _priced(lines: Sequence[Line]) -> list[tuple[Row, str]]:
    """Rows of order lines with the catalogue's names and prices, each with its currency."""
    products = connect(CatalogService).get_products([line.product_id for line in lines])
    items: list[tuple[Row, str]] = []
    for line in lines:
        product = products.get(line.product_id)
        if product is None:
            raise UnknownProduct(f"There is no product {line.product_id}.")
        if not product.active:
            raise InactiveProduct(f"{product.name} is no longer sold.")
        item = {
            "product_id": product.id,
            "product_name": product.name,
            "unit_price": product.price,
            "quantity": line.quantity,
        }
        items.append((item, product.currency))
    return items


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


def can_be_resumed(order: Order) -> bool:
    """Whether emitting its events again may bring it on: it has not ended."""
    return order.look_at is not None and order.status not in FINAL


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


def advance(events: Sequence[OrderEvent], *, to: str, numbers: Mapping[int, str] | None = None) -> dict[int, Moved]:
    """Move orders forward to a status, those that are not there yet or beyond, nor on their way back; those that this
    call has moved. `numbers` are the tracking numbers that are known since."""
    return move(events, since=FORWARD[: FORWARD.index(Status(to))], to=to, numbers=numbers)


def wait_for_customer(events: Sequence[PaymentActionRequired]) -> None:
    """Orders wait for their customers, and their deadlines with them. The latest word counts."""
    move(events, since=WAITING, to=Status.INVENTORY_RESERVED)
    query(
        "orders",
        """
        WITH due AS (SELECT id FROM orders_order WHERE id = ANY(%(orders)s::bigint[]) ORDER BY id FOR UPDATE)
        UPDATE orders_order SET action_url = news.url, action_until = news.until
        FROM unnest(%(orders)s, %(urls)s::text[], %(until)s::timestamptz[]) AS news (order_id, url, until)
        WHERE id IN (SELECT id FROM due) AND order_id = id AND status = ANY(%(waiting)s::text[])
            AND (action_until IS NULL OR action_until <= news.until)
        """,
        {
            "orders": [event.order_id for event in events],
            "urls": [event.url for event in events],
            "until": [event.until for event in events],
            "waiting": [str(status) for status in WAITING],
        },
    )


def note_tracking_numbers(numbers: Mapping[int, str], *, handed_over: bool) -> None:
    """Keep the carrier's numbers with their orders, whatever the status. A parcel may be booked more than once: the
    number that it is `handed_over` with counts."""
    query(
        "orders",
        """
        WITH due AS (
            SELECT id FROM orders_order WHERE id = ANY(%(orders)s::bigint[]) ORDER BY id FOR UPDATE
        ), noted AS (
            UPDATE orders_order SET tracking_number = news.number
            FROM unnest(%(orders)s, %(numbers)s::text[]) AS news (order_id, number)
            WHERE id IN (SELECT id FROM due) AND order_id = id
                AND (%(handed_over)s OR tracking_number = '' OR status = %(started)s)
            RETURNING news.number, id
        )
        INSERT INTO orders_parcelnumber (number, order_id) SELECT * FROM noted ON CONFLICT DO NOTHING
        """,
        {
            "orders": list(numbers),
            "numbers": list(numbers.values()),
            "handed_over": handed_over,
            "started": Status.DELIVERY_STARTED.value,
        },
    )


def complete(events: Sequence[DeliveryCompleted], numbers: Mapping[int, str]) -> dict[int, Moved]:
    """The parcels with these tracking numbers have arrived; the orders that this call has completed.

    An order being cancelled is completed too: the carrier was faster. One whose money was only held is completed when
    it has been taken, and UNPAID until then.
    """
    paid, unpaid = [one for one in events if not one.unpaid], [one for one in events if one.unpaid]
    if paid and unpaid:
        lock(one.order_id for one in events)
    completed = move(paid, since=UNFINISHED, to=Status.COMPLETED, numbers=numbers) if paid else {}
    if unpaid:
        completed |= move(unpaid, since=UNFINISHED, to=Status.COMPLETED, numbers=numbers, captures=SETTLED)
        if left := [one for one in unpaid if one.order_id not in completed]:
            since = [status for status in UNFINISHED if status != Status.UNPAID]
            move(left, since=since, to=Status.UNPAID, numbers=numbers)
    return completed


def authorize(events: Sequence[PaymentAuthorized]) -> dict[int, Moved]:
    """The orders' money is held, and is to be taken at hand-over; the orders that this call has moved."""
    moved = advance(events, to=Status.PAYMENT_AUTHORIZED)
    _note_captures(events, Capture.DUE, since=[""])
    return moved


def settle_captures(events: Sequence[PaymentCaptured | PaymentCaptureFailed | PaymentWrittenOff]) -> dict[int, Moved]:
    """What was held has been taken, cannot be taken, or was given up; the orders that were delivered and only waited
    for that."""
    if len({type(event) for event in events}) > 1:
        lock(event.order_id for event in events)
    for kind, (to, since) in CAPTURES.items():
        if told := [event for event in events if isinstance(event, kind)]:
            _note_captures(told, to, since=since)
    return move(events, since=[Status.UNPAID], to=Status.COMPLETED, captures=SETTLED)


def _note_captures(events: Sequence[OrderEvent], to: str, *, since: Sequence[str]) -> None:
    """Write down how it stands with the money that is held, and the events into the orders' timelines."""
    query(
        "orders",
        """
        WITH due AS (
            SELECT id, status, event FROM unnest(%(orders)s::bigint[], %(events)s::text[]) AS news (order_id, event)
            JOIN orders_order ON id = order_id ORDER BY id FOR UPDATE OF orders_order
        ), noted AS (
            UPDATE orders_order AS old SET capture = %(to)s FROM due
            WHERE old.id = due.id AND capture = ANY(%(since)s::text[])
            RETURNING old.id, due.status, event
        )
        INSERT INTO orders_timelineentry (order_id, service, event, status, detail)
        SELECT id, 'payments', event, status, '' FROM noted
        WHERE %(noted)s AND NOT (status = 'UNPAID' AND %(settled)s) ORDER BY id
        """,
        {
            "orders": [event.order_id for event in events],
            "events": [type(event).__name__ for event in events],
            "to": str(to),
            "since": [str(one) for one in since],
            "noted": to != Capture.DUE,  # which `advance` has written down
            "settled": to in SETTLED,  # which completes the order, and is written down with that
        },
    )


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
        cancelled_for=[BY_CUSTOMER, BY_STAFF, OVERDUE],
    )


def cancel(events: Sequence[OrderEvent], reasons: Mapping[int, str]) -> dict[int, Moved]:
    """Everything is undone; the orders that this call has cancelled."""
    return move(events, since=UNFINISHED, to=Status.CANCELLED, reasons=reasons)


def lock(order_ids: Iterable[int]) -> list[Order]:
    """These orders, locked in the order of their ids."""
    return list(Order.objects.filter(pk__in=list(order_ids)).select_for_update().order_by("pk"))
