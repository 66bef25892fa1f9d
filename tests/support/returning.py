"""Customers who send something back, and staff who see to it, in a simulation."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from orders.models import Order, Return
from orders.returns import decisions
from orders.returns.requests import Wanted, request_return, withdraw
from shop.contracts.events import Line
from tests.support.outsiders import Log

REQUEST, DECIDE, WITHDRAW = "return_request", "return_decision", "return_withdrawal"  # as their boundaries begin
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
        for order in Order.objects.filter(pk__in=orders, status="COMPLETED").order_by("pk"):
            line = order.items.get()
            if order.returns.count() < line.quantity:
                wanted = Wanted(lines=[Line(line.product_id, 1)])
                yield order.pk, "its customer returns a piece", partial(request_return, order.pk, wanted)
        return
    for of in Return.objects.filter(order__in=orders).order_by("pk"):
        if what == WITHDRAW and of.status in ("REQUESTED", "APPROVED"):
            yield of.order_id, "its customer withdraws a return", partial(withdraw, of.pk)
        elif what == DECIDE and of.status == "REQUESTED":
            yield of.order_id, "staff approve a return", partial(decisions.approve, of.pk)
        elif what == DECIDE and of.status in ("RECEIVED", "LOST"):
            found = {line.product_id: decisions.Found(1, 0, 0) for line in of.lines}
            yield of.order_id, "staff inspect a return", partial(decisions.inspect, of.pk, found)
        elif what == DECIDE and of.status == "REFUND_REFUSED":
            yield of.order_id, "staff settle a return", partial(decisions.refund_again, of.pk, amount=0)
