"""What customers do about a return: they request it, and may withdraw it until the parcel is here."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.db import transaction

from fastdb.bulk import insert_rows
from fastdb.clock import database_time
from orders import placing
from orders.idempotency import KeyReused
from orders.models import Order, OrderLine
from orders.returns import rules
from orders.returns.exchanges import Bought, arrived, bought, brought, check_price, in_time, offered
from orders.returns.models import VOID, Return, ReturnLine, Status
from orders.returns.transitions import move
from orders.services import UnknownOrder
from orders.shipments.steps import dropped
from orders.transitions import note
from sagas import emit
from sagas.crash_points import crash_point
from shop import stafflog
from shop.api.problems import Problem
from shop.contracts.events import Line
from shop.contracts.return_events import ReturnApproved, ReturnRequested, ReturnWithdrawn
from shop.observability.tracing import current_trace

Kind = Return.Kind
TO_BE_WITHDRAWN = (Status.REQUESTED, Status.APPROVED, Status.LOST)


class NotDelivered(Problem):
    """Only what was delivered and is paid can be returned. Cancel the order while it is on its way."""

    code = "R002"


class TooLate(Problem):
    """The days in which the order could be returned are over."""

    code = "R003"


class NotSoMany(Problem):
    """More pieces than were delivered and are not in another return."""

    code = "R004"


class GivenInExchange(Problem):
    """The order was given in exchange. Its pieces are returned as those of the order that was paid."""

    code = "R007"


class UnknownReturn(Problem):
    """There is no such return, or it is somebody else's."""

    code = "R001"


class NotNow(Problem):
    """The return's status does not allow that (any more)."""

    code = "R005"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a customer wants to return. `exchanges` are the products that others are exchanged for, by those; of a
    product that is not among them, an exchange brings the same again.

    With a key, the same request makes one return, however often it comes.
    """

    lines: Sequence[Line]
    reason: str = ""
    kind: str = Kind.REFUND
    exchanges: Mapping[int, int] = field(default_factory=dict)
    key: str = ""
    request_hash: str = ""


def request_return(order_id: int, wanted: Wanted) -> Return:
    """Write down what is to come back; where the owner's rule approves it, a carrier is asked for the parcel at once.

    Staff who act for a customer may do so after RETURN_WITHIN, too.

    Raises `UnknownOrder`, `NotDelivered`, `GivenInExchange`, `TooLate`, `NotSoMany`, and `KeyReused` for another return
    with this key. Of an exchange for another product also `UnknownProduct`, `InactiveProduct`, `OtherPrice`, and
    `Unavailable` when the catalogue is away.
    """
    others = {} if not wanted.exchanges or _known(order_id, wanted) else offered(wanted.exchanges.values())
    with transaction.atomic(using="orders", durable=True):
        order = Order.objects.select_for_update().filter(pk=order_id).first()
        if order is None:
            raise UnknownOrder(f"There is no order {order_id}.")
        if known := _known(order_id, wanted):
            return known
        _check(order, wanted.lines)
        products = bought(order_id)
        for product_id, other in wanted.exchanges.items():
            check_price(order, products, product_id, others[other])
        names = {product_id: product.name for product_id, product in products.items()}
        names |= {product_id: product.name for product_id, product in others.items()}
        requested = _write(order, wanted, products, names)
        events: list[ReturnRequested | ReturnApproved] = [
            ReturnRequested(
                order_id=order_id,
                return_id=requested.pk,
                user_id=order.user_id,
                lines=tuple(wanted.lines),
                trace=current_trace(),
            )
        ]
        note(events, [f"return {requested.pk}"])
        if rules.approves(requested):
            events.append(
                ReturnApproved(order_id=order_id, return_id=requested.pk, user_id=order.user_id, trace=current_trace())
            )
            move(events[1:], since=[Status.REQUESTED], to=Status.APPROVED)
        if stafflog.acts_for(order.user_id):
            stafflog.record("orders", "return for", f"order {order_id}", after={"return": requested.pk})
        emit(*events, service="orders")
        crash_point("return_request.written")
    crash_point("return_request.committed")
    requested.refresh_from_db()
    return requested


def _known(order_id: int, wanted: Wanted) -> Return | None:
    """The return that this request has made before. Raises `KeyReused`."""
    known = Return.objects.filter(order=order_id, key=wanted.key).first() if wanted.key else None
    if known and known.request_hash != wanted.request_hash:
        raise KeyReused
    return known


def _check(order: Order, lines: Sequence[Line]) -> None:
    if order.exchange_for_id:
        paid = Return.objects.get(pk=order.exchange_for_id).order_id
        raise GivenInExchange(f"Order {order.pk} was given in exchange: return its pieces as those of order {paid}.")
    if order.status == Order.Status.UNPAID:
        raise NotDelivered(f"Order {order.pk} is not paid yet: it can be returned once the shop has settled that.")
    if order.status != Order.Status.COMPLETED:
        raise NotDelivered(f"Order {order.pk} is {order.status.lower()}, not delivered.")
    days, now = settings.RETURN_WITHIN, database_time("orders")
    if order.progress_at + days < now and not stafflog.acts_for(order.user_id):
        left = in_time(order, now)
        if any(line.quantity > left[line.product_id] for line in lines):
            raise TooLate(f"Order {order.pk} could be returned within {days.days} days of its delivery.")
    check_pieces(order.pk, {line.product_id: line.quantity for line in lines})


def check_pieces(order_id: int, wanted: Mapping[int, int]) -> None:
    """Of a locked order, that so many pieces were delivered, and are in no return. Raises `NotSoMany`."""
    left = returnable(order_id)
    for product_id, quantity in wanted.items():
        if quantity > left.get(product_id, 0):
            raise NotSoMany(
                f"Of product {product_id}, {left.get(product_id, 0)} pieces of order {order_id} can be returned."
            )


def returnable(order_id: int) -> dict[int, int]:
    """Return {product: pieces} of an order that have arrived, also in exchange, and are in no return."""
    left = Counter(dict(OrderLine.objects.filter(order_id=order_id).values_list("product_id", "quantity")))
    for _, line in dropped([order_id]):
        left[line.product_id] -= line.quantity
    others = ReturnLine.objects.filter(of_return__order_id=order_id).exclude(of_return__status__in=VOID)
    for product_id, quantity in others.values_list("product_id", "quantity"):
        left[product_id] -= quantity
    left.update(brought(arrived(order_id)))
    return dict(left)


def _write(order: Order, wanted: Wanted, products: Mapping[int, Bought], names: Mapping[int, str]) -> Return:
    now, exchanged = database_time("orders"), wanted.kind == Kind.EXCHANGE
    requested = Return.objects.create(
        id=placing.next_id(),
        order=order,
        user_id=order.user_id,
        kind=wanted.kind,
        reason=wanted.reason,
        currency=order.currency,
        key=wanted.key,
        request_hash=wanted.request_hash,
        look_at=now + timedelta(seconds=settings.STALLED_AFTER),
        refunded=0,
        kept=0,
    )
    insert_rows(
        ReturnLine,
        [
            {
                "of_return_id": requested.pk,
                "product_id": line.product_id,
                "quantity": line.quantity,
                "unit_price": products[line.product_id].price,
                "exchange_product_id": other,
                "exchange_product_name": names[other] if other else "",
            }
            for line in wanted.lines
            for other in [wanted.exchanges.get(line.product_id, line.product_id) if exchanged else None]
        ],
    )
    return requested


def withdraw(return_id: int) -> Return:
    """Send nothing back after all. Delivery decides: a parcel that has come all the same goes on.

    Raises `UnknownReturn`, and `NotNow` once the parcel is here.
    """
    with transaction.atomic(using="orders", durable=True):
        return_ = locked(return_id)
        allow(return_, TO_BE_WITHDRAWN)
        withdrawn = ReturnWithdrawn(order_id=return_.order_id, return_id=return_.pk, trace=current_trace())
        move([withdrawn], since=[return_.status], to=Status.WITHDRAWING)
        if stafflog.acts_for(return_.user_id):
            stafflog.record("orders", "withdraw", f"return {return_id}", before={"status": return_.status})
        emit(withdrawn, service="orders")
        crash_point("return_withdrawal.written")
    crash_point("return_withdrawal.committed")
    return Return.objects.get(pk=return_id)


def locked(return_id: int) -> Return:
    """A return, locked with its order, the order first. Raises `UnknownReturn`."""
    order_id = Return.objects.filter(pk=return_id).values_list("order_id", flat=True).first()
    if order_id is None:
        raise UnknownReturn(f"There is no return {return_id}.")
    Order.objects.select_for_update().get(pk=order_id)
    return Return.objects.select_for_update(of=["self"]).select_related("order").get(pk=return_id)


def allow(return_: Return, statuses: Iterable[str]) -> None:
    """Raises `NotNow` unless a return is in one of these statuses."""
    if return_.status not in statuses:
        raise NotNow(f"Return {return_.pk} is {return_.status.lower().replace('_', ' ')}.")
