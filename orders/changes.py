"""Changes of an order before its parcel is handed over: fewer pieces, another address, or both.

One is asked for here at a time, and applied to the order's lines and total once delivery holds the parcel and payments
has settled the difference.

What is being paid has one amount. So a change of an order that is not paid yet waits until it is, and ends with the
order if it never is.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db import transaction

from fastdb.bulk import insert_rows, update_rows
from fastdb.clock import database_time
from orders.addresses import current
from orders.cancellation import begin_cancellation, can_be_cancelled
from orders.idempotency import KeyReused, hash_of
from orders.models import WAITING, Order, OrderChange, OrderChangeLine
from orders.placing import TotalChanged
from orders.services import UnknownOrder, lock
from orders.transitions import Moved, note
from sagas import emit
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from sagas.events import uuid7
from shop import stafflog
from shop.api.problems import Problem
from shop.contracts.events import (
    Change,
    DeliveryHoldRefused,
    Line,
    OrderChanged,
    OrderChangeRefused,
    OrderChangeRequested,
    PaymentAuthorized,
    PaymentChanged,
    PaymentChangeRefused,
    PaymentCompleted,
)
from shop.contracts.reasons import BY_CUSTOMER, BY_STAFF, NOT_TO_LEAVE
from shop.money import money
from shop.observability.tracing import current_trace
from shop.seal import What, seal

Status = OrderChange.Status

ANOTHER_ADDRESS = "another address"
APPLY = """
    WITH news AS (
        SELECT * FROM unnest(%(orders)s::bigint[], %(products)s::bigint[], %(quantities)s::int[])
            AS news (order_id, product_id, more)
    ), gone AS (
        DELETE FROM orders_orderline AS old USING news
        WHERE old.order_id = news.order_id AND old.product_id = news.product_id AND quantity + more = 0
    )
    UPDATE orders_orderline AS old SET quantity = quantity + more FROM news
    WHERE old.order_id = news.order_id AND old.product_id = news.product_id AND quantity + more > 0
"""


class NotChangeable(Problem):
    """The order cannot be changed like this: it has come too far, or has no such pieces, or has them already."""

    code = "O005"


class ChangeUnderWay(Problem):
    """Another change of this order is being made. Ask again when it has ended."""

    code = "O006"


def can_be_changed(order: Order) -> bool:
    """Whether asking for it makes sense now. It may still be refused, if the carrier was faster: delivery decides."""
    return can_be_cancelled(order) and order.change_id is None and order.exchange_for_id is None


# --- Asking for one ---------------------------------------------------------------------------------------------------
def request_change(
    order_id: int,
    *,
    key: str,
    quantities: Mapping[int, int] | None = None,
    address: str = "",
    reason: str = "",
    expected_total: int | None = None,
) -> OrderChange:
    """Have an order's lines changed to these quantities, by product, and its parcel sent to this address. What is not
    named stays. With the same key only once. Where nothing would be left, the order is cancelled.

    Raises `UnknownOrder`, `KeyReused` for another change with this key, `NotChangeable`, `ChangeUnderWay`, and
    `TotalChanged` unless the order would cost the `expected_total`.
    """
    quantities = quantities or {}
    wanted = {"quantities": sorted(quantities.items()), "reason": reason, "expected_total": expected_total}
    request_hash = hash_of(wanted | ({"address": address} if address else {}))
    with transaction.atomic(using="orders", durable=True):
        order = Order.objects.filter(pk=order_id).select_for_update().first()
        if order is None:
            raise UnknownOrder(f"There is no order {order_id}.")
        known = OrderChange.objects.filter(order=order, key=key).first()
        if known is not None:
            if known.request_hash != request_hash:
                raise KeyReused
            return known
        if not can_be_cancelled(order):
            raise NotChangeable(f"Order {order_id} is {order.status.lower()}.")
        if order.exchange_for_id:
            raise NotChangeable(f"Order {order_id} is an exchange: cancel it, and what was paid is refunded.")
        if order.change_id is not None:
            raise ChangeUnderWay
        elsewhere = bool(address) and address != current(order_id)
        lines = _differences(order, quantities)
        if not lines and not elsewhere:
            raise NotChangeable("The order is like this already.")
        amount = sum(line.line_total for line in lines)
        if expected_total not in (None, order.total_price + amount):
            raise TotalChanged(order.total_price + amount)
        change = OrderChange(
            id=uuid7(),
            order=order,
            key=key,
            request_hash=request_hash,
            amount=amount,
            of_address=False,
            address="",
            reason=reason,
            status=Status.WAITING if order.status in WAITING else Status.REQUESTED,
        )
        if order.total_price + amount == 0:
            change.status = Status.CANCELLED_ORDER
            begin_cancellation([order], BY_STAFF if stafflog.acts_for(order.user_id) else BY_CUSTOMER)
        else:
            if elsewhere:
                change.of_address, change.address = True, seal(address, What.ADDRESS, order_id=order_id)
            _begin(order, change)
        names = ("id", "order_id", "key", "request_hash", "amount", "of_address", "address", "reason", "status")
        insert_rows(OrderChange, [{name: getattr(change, name) for name in names}])
        columns = ("product_id", "product_name", "unit_price", "quantity")
        rows = ({"change_id": change.pk, **{name: getattr(line, name) for name in columns}} for line in lines)
        insert_rows(OrderChangeLine, rows)
        if stafflog.acts_for(order.user_id):
            pieces = {str(line.product_id): line.quantity for line in lines}
            after = {"change": change.pk, "pieces": pieces, "of address": change.of_address, "reason": reason}
            stafflog.record("orders", "change", f"order {order_id}", after=after)
        crash_point("change.written")
    crash_point("change.committed")
    return OrderChange.objects.get(pk=change.pk)


def _differences(order: Order, quantities: Mapping[int, int]) -> list[OrderChangeLine]:
    """What there is more, or fewer, of each product. Raises `NotChangeable`."""
    lines = {line.product_id: line for line in order.lines}
    differences = []
    for product_id, quantity in quantities.items():
        line = lines.get(product_id)
        if line is None:
            raise NotChangeable(f"There is no product {product_id} in this order.")
        if quantity > line.quantity:
            raise NotChangeable(
                f"The order has {line.quantity} pieces of product {product_id}, and a change cannot add any. "
                "Place another order for those that you want besides."
            )
        if quantity < line.quantity:
            differences.append(
                OrderChangeLine(
                    product_id=product_id,
                    product_name=line.product_name,
                    unit_price=line.unit_price,
                    quantity=quantity - line.quantity,
                )
            )
    return differences


def _begin(order: Order, change: OrderChange) -> None:
    """Ask delivery to hold the parcel, or wait until the order is paid."""
    changed = OrderChange.objects.filter(order=order, status=Status.MADE).exclude(address="").order_by("-pk")
    told = _told(change, changed.values_list("address", flat=True).first() or "")
    requested = OrderChangeRequested(order_id=order.pk, change=told, trace=current_trace())
    note([requested], [_in_short(change, order)])
    order.change_id = change.pk
    order.save(update_fields=["change_id"])
    if change.status == Status.REQUESTED:
        emit(requested, service="orders")


def _told(change: OrderChange, present_address: str = "") -> Change:
    return Change(change_id=change.pk, amount=change.amount, address=change.address, present_address=present_address)


def _in_short(change: OrderChange, order: Order) -> str:
    """What the timeline says of a change."""
    return ANOTHER_ADDRESS if change.of_address and not change.amount else money(change.amount, order.currency)


# --- How it goes on ---------------------------------------------------------------------------------------------------
def request_waiting(
    paid: Sequence[PaymentCompleted | PaymentAuthorized], moved: Mapping[int, Moved]
) -> list[OrderChangeRequested]:
    """The changes that have waited for these orders to be paid. What the orders have `moved` to by that does not
    matter: delivery decides whether it is too late."""
    order_ids = [one.order_id for one in paid if one.order_id not in moved or moved[one.order_id].change_id]
    return [
        OrderChangeRequested(order_id=change.order_id, change=_told(change))
        for change in _waiting(order_ids, becoming=Status.REQUESTED)
    ]


def refuse_waiting(cancelled: Mapping[int, Moved]) -> None:
    """These orders are cancelled. What waited for them to be paid ends with them."""
    order_ids = [order_id for order_id, order in cancelled.items() if order.change_id]
    if changes := _waiting(order_ids, becoming=Status.REFUSED):
        Order.objects.filter(pk__in=[change.order_id for change in changes]).update(change_id=None)


def _waiting(order_ids: Sequence[int], *, becoming: str) -> list[OrderChange]:
    if not order_ids:
        return []
    # Under the orders' locks, which `move` has taken, and whoever asks for a change holds, too.
    changes = list(OrderChange.objects.filter(order__in=order_ids, status=Status.WAITING).order_by("order_id"))
    now = database_time("orders")
    for change in changes:
        change.status, change.updated_at = becoming, now
        if becoming == Status.REFUSED:
            change.refusal, change.address = NOT_TO_LEAVE, ""
    update_rows(changes, "status", "refusal", "address", "updated_at")
    return changes


def apply(events: Sequence[PaymentChanged]) -> list[OrderChanged]:
    """Change the lines and totals of orders whose difference is settled, whatever has become of them since."""
    changes = _end(events, {event.change_id: "" for event in events})
    pieces: dict[UUID, list[OrderChangeLine]] = {change.pk: [] for change in changes}
    for line in OrderChangeLine.objects.filter(change__in=pieces).order_by("pk"):
        pieces[line.change_id].append(line)
    rows = [(change.order_id, line) for change in changes for line in pieces[change.pk]]
    query(
        "orders",
        APPLY,
        {
            "orders": [order_id for order_id, _ in rows],
            "products": [line.product_id for _, line in rows],
            "quantities": [line.quantity for _, line in rows],
        },
    )
    return [
        OrderChanged(
            order_id=change.order_id,
            user_id=change.order.user_id,
            change_id=change.pk,
            lines=tuple(Line(line.product_id, line.quantity) for line in pieces[change.pk]),
            amount=change.amount,
            total=change.order.total_price,
            currency=change.order.currency,
            address_changed=change.of_address,
        )
        for change in changes
    ]


def refuse(events: Sequence[DeliveryHoldRefused | PaymentChangeRefused]) -> list[OrderChangeRefused]:
    """These orders stay as they are."""
    changes = _end(events, {event.change_id: event.reason[:200] for event in events})
    return [
        OrderChangeRefused(
            order_id=change.order_id, user_id=change.order.user_id, change_id=change.pk, reason=change.refusal
        )
        for change in changes
    ]


def _end(
    events: Sequence[PaymentChanged | DeliveryHoldRefused | PaymentChangeRefused], refusals: Mapping[UUID, str]
) -> list[OrderChange]:
    """End changes that are under way, in the order of their orders, which are locked; those are returned."""
    orders = {order.pk: order for order in lock(event.order_id for event in events)}
    changes = list(OrderChange.objects.filter(pk__in=refusals, status=Status.REQUESTED).order_by("order_id"))
    now = database_time("orders")
    for change in changes:
        change.order = orders[change.order_id]
        change.refusal = refusals[change.pk]
        change.address = "" if change.refusal else change.address
        change.status, change.updated_at = (Status.REFUSED if change.refusal else Status.MADE), now
        change.order.change_id, change.order.updated_at = None, now
        change.order.total_price += 0 if change.refusal else change.amount
    update_rows(changes, "status", "refusal", "address", "updated_at")
    update_rows([change.order for change in changes], "change_id", "total_price", "updated_at")
    by_id = {event.change_id: event for event in events}
    note(
        [by_id[change.pk] for change in changes],
        [change.refusal or _in_short(change, change.order) for change in changes],
    )
    return changes
