"""Refunds of a part, asked for here by staff, or by returns: payments decides and carries them out."""

from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction

from fastdb.bulk import insert_rows
from fastdb.clock import database_time
from orders.idempotency import KeyReused
from orders.models import Order, Refund
from orders.returns import settling
from orders.services import UnknownOrder
from orders.transitions import note
from sagas import emit
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from shop import stafflog
from shop.api.problems import Problem
from shop.contracts.events import OrderRefundRequested, PaymentRefundCompleted, PaymentRefundRefused
from shop.money import money
from shop.observability.tracing import current_trace

SETTLE = """
    WITH looked_at AS (
        SELECT id FROM orders_order WHERE id = ANY(%(orders)s::bigint[]) AND looks > 0 ORDER BY id FOR NO KEY UPDATE
    ), moved AS (
        UPDATE orders_order SET looks = 0, look_at = %(look_at)s FROM looked_at WHERE orders_order.id = looked_at.id
    )
    UPDATE orders_refund AS old SET status = news.status, refusal = news.refusal
    FROM unnest(%(refunds)s::uuid[], %(statuses)s::text[], %(refusals)s::text[]) AS news (refund_id, status, refusal)
    WHERE id = refund_id RETURNING id, for_return_id
"""


class NothingPaid(Problem):
    """The order was given in exchange, and has cost nothing. Refund the order that was paid."""

    code = "O007"


def request_refund(order_id: int, *, key: str, amount: int, reason: str) -> Refund:
    """Have so much of an order's money given back. With the same key only once.

    Raises `UnknownOrder`, `NothingPaid`, and `KeyReused` for another refund with this key.
    """
    with transaction.atomic(using="orders", durable=True):
        order = Order.objects.filter(pk=order_id).select_for_update().first()
        if order is None:
            raise UnknownOrder(f"There is no order {order_id}.")
        if order.exchange_for_id:
            raise NothingPaid(f"Order {order_id} was given in exchange: there is nothing to refund.")
        known = Refund.objects.filter(order=order, key=key).first()
        if known is not None:
            if (known.amount, known.reason) != (amount, reason):
                raise KeyReused
            return known
        asked = OrderRefundRequested(order_id=order_id, amount=amount, reason=reason, trace=current_trace())
        row = {"id": asked.event_id, "order_id": order_id, "key": key, "amount": amount, "reason": reason}
        insert_rows(Refund, [row])
        note([asked], [money(amount, order.currency)])
        # Also an order that is closed is looked after again, until payments has answered.
        order.look_at, order.looks = database_time("orders") + timedelta(seconds=settings.STALLED_AFTER), 0
        order.save(update_fields=["look_at", "looks"])
        stafflog.record(
            "orders", "refund", f"order {order_id}", after={"refund": str(asked.event_id), "amount": amount}
        )
        emit(asked, service="orders")
        crash_point("refund_request.written")
    crash_point("refund_request.committed")
    return Refund.objects.get(pk=asked.event_id)


def settle(answers: Sequence[PaymentRefundCompleted | PaymentRefundRefused]) -> None:
    """Payments has given money back, or refused to. A return that it was for goes on; its order is soon looked at."""
    currencies = dict(Order.objects.filter(pk__in=[event.order_id for event in answers]).values_list("pk", "currency"))
    known = [event for event in answers if event.order_id in currencies]
    note(known, [money(event.amount, currencies[event.order_id]) for event in known])
    outcomes = [
        (Refund.Status.REFUSED, event.reason[:200])
        if isinstance(event, PaymentRefundRefused)
        else (Refund.Status.COMPLETED, "")
        for event in answers
    ]
    settled = query(
        "orders",
        SETTLE,
        {
            "orders": sorted(currencies),
            "look_at": database_time("orders") + timedelta(seconds=settings.STALLED_AFTER),
            "refunds": [str(event.refund_id) for event in answers],
            "statuses": [str(status) for status, _ in outcomes],
            "refusals": [refusal for _, refusal in outcomes],
        },
    )
    settling.take_answers(answers, {refund_id: return_id for refund_id, return_id in settled if return_id})
