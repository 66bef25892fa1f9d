"""Customers who send something back, and staff who see to it, in a simulation."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from delivery.models import Delivery
from orders.cancellation import can_be_cancelled, request_cancellation
from orders.models import Order, Return
from orders.returns import decisions
from orders.returns.requests import Wanted, request_return, returnable, withdraw
from shop.contracts.events import Line
from tests.support.outsiders import Log

REQUEST, DECIDE, WITHDRAW = "return_request", "return_decision", "return_withdrawal"  # as their boundaries begin
KINDS = (Return.Kind.REFUND, Return.Kind.EXCHANGE)
ACTS = (REQUEST, DECIDE, WITHDRAW)


def act(what: str, orders: Collection[int], log: Log) -> int:
    """All who may do so now request a return, decide about one, or withdraw one; how many that were."""
    acts = list(_possible(what, orders))
    for order_id, told, do in acts:
        log(order_id, told)
        do()
    return len(acts)


def _possible(what: str, orders: Collection[int]) -> Iterator[tuple[int, str, Callable[[], Any]]]:
    if what == REQUEST:
        for order in Order.objects.filter(pk__in=orders, status="COMPLETED", exchange_for=None).order_by("pk"):
            line, returns = order.items.get(), order.returns.count()
            if returns < line.quantity and returnable(order.pk)[line.product_id] > 0:  # not all may have arrived
                kind = KINDS[(order.pk + returns) % len(KINDS)]
                wanted = Wanted(lines=[Line(line.product_id, 1)], kind=kind)
                yield (
                    order.pk,
                    f"its customer returns a piece: {kind.lower()}",
                    partial(request_return, order.pk, wanted),
                )
        return
    for of in Return.objects.filter(order__in=orders).order_by("pk"):
        if what == WITHDRAW and of.status in ("REQUESTED", "APPROVED"):
            yield of.order_id, "its customer withdraws a return", partial(withdraw, of.pk)
        elif what == WITHDRAW and of.status == "EXCHANGING":
            exchange = of.exchanges.get()
            if can_be_cancelled(exchange):
                yield of.order_id, "its customer cancels an exchange", partial(request_cancellation, exchange.pk)
        elif what == DECIDE and of.status == "REQUESTED":
            yield of.order_id, "staff approve a return", partial(decisions.approve, of.pk)
        elif what == DECIDE and of.status in ("RECEIVED", "LOST"):
            yield of.order_id, "staff inspect a return", partial(_inspect, of)
        elif what == DECIDE and of.status == "REFUND_REFUSED":
            yield of.order_id, "staff settle a return", partial(decisions.refund_again, of.pk, amount=0)


def _inspect(of: Return) -> None:
    """Accept all of it. Every third exchange will be refused at the door."""
    if of.kind == Return.Kind.EXCHANGE and of.pk % 3 == 0:
        Delivery.objects.filter(order_id=of.order_id).update(address="addr_refused_by_recipient")
    decisions.inspect(of.pk, {line.product_id: decisions.Found(1, 0, 0) for line in of.lines})
