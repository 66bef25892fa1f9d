"""How a change is asked for, by a customer or by staff. How it goes on is in `steps.py`."""

from collections.abc import Mapping

from django.db import transaction

from fastdb.bulk import insert_rows
from orders.addresses import current
from orders.cancellation import begin_cancellation, can_be_cancelled
from orders.changes.models import OrderChange, OrderChangeLine
from orders.idempotency import KeyReused, hash_of
from orders.models import BEFORE_PAYMENT, Order
from orders.placing import TotalChanged
from orders.services import UnknownOrder
from orders.transitions import note
from sagas import emit
from sagas.crash_points import crash_point
from sagas.events import uuid7
from shop import stafflog
from shop.api.problems import Problem
from shop.contracts.events import Change, OrderChangeRequested
from shop.contracts.reasons import BY_CUSTOMER, BY_STAFF
from shop.money import money
from shop.observability.tracing import current_trace
from shop.seal import What, seal

Status = OrderChange.Status

ANOTHER_ADDRESS = "another address"


class NotChangeable(Problem):
    """The order cannot be changed like this: it has come too far, or has no such pieces, or has them already."""

    code = "O005"


class ChangeUnderWay(Problem):
    """Another change of this order is being made. Ask again when it has ended."""

    code = "O006"


def can_be_changed(order: Order) -> bool:
    """Whether asking for it makes sense now. It may still be refused, if the carrier was faster: delivery decides."""
    return can_be_cancelled(order) and order.change_id is None and order.exchange_for_id is None


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
            status=Status.WAITING if order.status in BEFORE_PAYMENT else Status.REQUESTED,
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
    asked = told(change, changed.values_list("address", flat=True).first() or "")
    requested = OrderChangeRequested(order_id=order.pk, change=asked, trace=current_trace())
    note([requested], [in_short(change, order)])
    order.change_id = change.pk
    order.save(update_fields=["change_id"])
    if change.status == Status.REQUESTED:
        emit(requested, service="orders")


def told(change: OrderChange, present_address: str = "") -> Change:
    """What the others have to know of a change."""
    return Change(change_id=change.pk, amount=change.amount, address=change.address, present_address=present_address)


def in_short(change: OrderChange, order: Order) -> str:
    """What the timeline says of a change."""
    return ANOTHER_ADDRESS if change.of_address and not change.amount else money(change.amount, order.currency)
