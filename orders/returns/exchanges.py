"""Exchanges: another order, which costs nothing, brings pieces for those that were taken back. Money comes into it only
when that order does not bring all of them; then the first order, which was paid, gives it back."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db.models import QuerySet, prefetch_related_objects

from fastdb.bulk import insert_rows
from fastdb.clock import database_time
from orders import placing
from orders.models import Order, OrderLine, TimelineEntry
from orders.placing import InactiveProduct, UnknownProduct
from orders.returns.models import VOID, Return, ReturnLine, Status
from orders.returns.transitions import move
from orders.shipments.steps import dropped
from orders.transitions import Moved
from sagas import emit
from shop.api.problems import Problem
from shop.calls import connect
from shop.contracts.catalog import CatalogService, ProductSnapshot
from shop.contracts.events import Checkout, Line, OrderCreated, OrderEvent, origin
from shop.contracts.return_events import InventoryRestocked, ReturnExchanged, ReturnExchangeEnded
from shop.observability.tracing import trace_after


class OtherPrice(Problem):
    """A piece can be exchanged for a product only if that costs what was paid for the piece."""

    code = "R006"


class Bought(NamedTuple):
    """A product as an order has it."""

    name: str
    price: int  # that was paid for each piece, in the minor unit of the order's currency


# --- Asking for one ---------------------------------------------------------------------------------------------------
def offered(product_ids: Iterable[int]) -> Mapping[int, ProductSnapshot]:
    """Products as the catalogue has them now, by id. Outside any transaction.

    Raises `UnknownProduct`, `InactiveProduct`, and `Unavailable` when the catalogue is away.
    """
    products = connect(CatalogService).get_products(sorted(wanted := set(product_ids)))
    for product_id in wanted:
        if product_id not in products:
            raise UnknownProduct(f"There is no product {product_id}.")
        if not products[product_id].active:
            raise InactiveProduct(f"{products[product_id].name} is no longer sold.")
    return products


def bought(order_id: int) -> dict[int, Bought]:
    """What an order has brought its customer, by product, also in exchange. So each product has one price in it."""
    lines = OrderLine.objects.filter(order_id=order_id).values_list("product_id", "product_name", "unit_price")
    others = ReturnLine.objects.filter(of_return__order_id=order_id, exchange_product_id__isnull=False)
    names = "exchange_product_id", "exchange_product_name", "unit_price"
    return {product_id: Bought(*more) for product_id, *more in [*others.values_list(*names), *lines]}


def check_price(order: Order, known: Mapping[int, Bought], product_id: int, other: ProductSnapshot) -> None:
    """Raises `OtherPrice` unless a product of an order can be exchanged for the other one."""
    paid = known[product_id].price
    if (other.price, other.currency) != (paid, order.currency) or known.get(other.id, known[product_id]).price != paid:
        raise OtherPrice(f"{other.name} does not cost what was paid for {known[product_id].name}.")


def arrived(order_id: int) -> QuerySet[Order]:
    """The exchanges that were given for pieces of an order, and have come."""
    return Order.objects.filter(exchange_for__order_id=order_id, status=Order.Status.COMPLETED)


def brought(exchanges: QuerySet[Order]) -> Counter[int]:
    """How many pieces of each product have come with these orders."""
    pieces: Counter[int] = Counter()
    order_ids = list(exchanges.values_list("pk", flat=True))
    for product_id, quantity in OrderLine.objects.filter(order__in=order_ids).values_list("product_id", "quantity"):
        pieces[product_id] += quantity
    for _, line in dropped(order_ids):
        pieces[line.product_id] -= line.quantity
    return pieces


def in_time(order: Order, now: datetime) -> Counter[int]:
    """How many pieces of each product may still be returned, of an order whose own days are over: what exchanges have
    brought since, as long as it was not returned, too."""
    days: timedelta = settings.RETURN_WITHIN
    recent = arrived(order.pk).filter(progress_at__gte=now - days)
    pieces = brought(recent)
    if first := recent.order_by("progress_at").first():
        since = max(order.progress_at + days, first.progress_at)
        again = ReturnLine.objects.filter(of_return__order=order, of_return__created_at__gt=since)
        again = again.exclude(of_return__status__in=VOID)
        for product_id, quantity in again.values_list("product_id", "quantity"):
            pieces[product_id] -= quantity
    return pieces


# --- The other order --------------------------------------------------------------------------------------------------
def place(wanted: Sequence[tuple[Return, InventoryRestocked]]) -> list[ReturnExchanged]:
    """Write the orders that these locked returns are exchanged for, with what they follow from. All of them take a
    constant number of statements."""
    if not wanted:
        return []
    look_at = database_time("orders") + timedelta(seconds=settings.STALLED_AFTER)
    numbered = list(zip(placing.next_ids(len(wanted)), wanted, strict=True))
    pieces = {order_id: _pieces(return_.lines) for order_id, (return_, _) in numbered}
    orders = [
        {
            "id": order_id,
            "user_id": return_.user_id,
            "status": Order.Status.PENDING,
            "currency": return_.currency,
            "total_price": 0,
            "payment_gateway": "",
            "exchange_for_id": return_.pk,
            "look_at": look_at,
        }
        for order_id, (return_, _) in numbered
    ]
    insert_rows(Order, orders)
    names = {
        (return_.pk, line.exchange_product_id): line.exchange_product_name
        for return_, _ in wanted
        for line in return_.lines
    }
    insert_rows(
        OrderLine,
        [
            {
                "order_id": order_id,
                "product_id": product_id,
                "product_name": names[return_.pk, product_id],
                "unit_price": 0,
                "quantity": quantity,
            }
            for order_id, (return_, _) in numbered
            for product_id, quantity in sorted(pieces[order_id].items())
        ],
    )
    created = [
        OrderCreated(
            order_id=order_id,
            checkout=Checkout(
                user_id=return_.user_id,
                amount=0,
                currency=return_.currency,
                payment_gateway="",
                payment_token="",  # nosec B106
                lines=tuple(Line(*piece) for piece in sorted(pieces[order_id].items())),
                exchange_of=return_.order_id,
            ),
            caused_by=cause.event_id,
            trace=trace_after(cause),
        )
        for order_id, (return_, cause) in numbered
    ]
    insert_rows(
        TimelineEntry,
        [
            {
                "order_id": order_id,
                "service": origin(OrderCreated),
                "event": OrderCreated.__name__,
                "status": Order.Status.PENDING,
                "detail": f"return {return_.pk}",
            }
            for order_id, (return_, _) in numbered
        ],
    )
    emit(*created, service="orders")
    exchanged = [
        ReturnExchanged(
            order_id=return_.order_id, return_id=return_.pk, user_id=return_.user_id, exchange_order_id=order_id
        )
        for order_id, (return_, _) in numbered
    ]
    details = [f", order {event.exchange_order_id}" for event in exchanged]
    move(exchanged, since=[Status.SETTLING], to=Status.EXCHANGING, details=details)
    return exchanged


def _pieces(lines: Iterable[ReturnLine]) -> Counter[int]:
    """What is given in exchange, by product."""
    pieces: Counter[int] = Counter()
    for line in lines:
        if line.exchange_product_id and line.taken_back:
            pieces[line.exchange_product_id] += line.taken_back
    return pieces


# --- How it ends ------------------------------------------------------------------------------------------------------
def tell_end(
    causes: Sequence[OrderEvent], ended: Mapping[int, Moved], missing: Mapping[int, tuple[Line, ...]] | None = None
) -> None:
    """Orders have `ended` because of these events: tell the sagas of the returns that some were given in exchange for.
    Of orders that have arrived, with what is `missing`; others were cancelled."""
    concerned = {
        cause.order_id: (cause, returned)
        for cause in causes
        if cause.order_id in ended and (returned := ended[cause.order_id].exchange_for)
    }
    if not concerned:
        return
    returns = [returned for _, returned in concerned.values()]
    of_order = dict(Return.objects.filter(pk__in=returns).values_list("pk", "order_id"))
    emit(
        *(
            ReturnExchangeEnded(
                order_id=of_order[returned],
                return_id=returned,
                exchange_order_id=order_id,
                cancelled=missing is None,
                missing=(missing or {}).get(order_id, ()),
                caused_by=cause.event_id,
                trace=trace_after(cause),
            )
            for order_id, (cause, returned) in concerned.items()
        ),
        service="orders",
    )


def worth(return_: Return, event: ReturnExchangeEnded) -> int:
    """What was paid for the pieces of a return that its exchange has not brought. What are given for the same product
    have cost the same."""
    prices = {line.exchange_product_id: line.unit_price for line in return_.lines}
    missing = _pieces(return_.lines) if event.cancelled else Counter[int]()
    for line in event.missing:
        missing[line.product_id] += line.quantity
    return sum(prices[product_id] * quantity for product_id, quantity in missing.items())


def load_lines(returns: Sequence[Return]) -> None:
    """Load the returns' lines and orders, which the owner's rules are handed with them."""
    prefetch_related_objects(returns, "items", "order")
