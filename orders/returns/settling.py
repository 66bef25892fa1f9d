"""What a return gives for the pieces that were taken back: money, which is asked for in the saga of its order, whose
answer ends the return or leaves it to staff; or other pieces, and money for those of them that do not arrive."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import msgspec
from django.conf import settings

from fastdb.bulk import insert_rows, update_rows
from fastdb.clock import database_time
from orders.models import Refund
from orders.returns import exchanges, rules
from orders.returns.models import Return, Status
from orders.returns.transitions import move
from orders.transitions import note
from sagas import emit
from sagas.db.prepared import query
from shop.contracts.events import OrderRefundRequested, PaymentRefundCompleted, PaymentRefundRefused
from shop.contracts.return_events import (
    InventoryRestocked,
    ReturnCompleted,
    ReturnEvent,
    ReturnExchanged,
    ReturnExchangeEnded,
)
from shop.money import money
from shop.observability.tracing import current_trace, trace_after

E = TypeVar("E", bound=ReturnEvent)

LOCK = """
    WITH of_orders AS (SELECT id FROM orders_order WHERE id = ANY(%(orders)s::bigint[]) ORDER BY id FOR UPDATE)
    SELECT orders_return.* FROM orders_return JOIN of_orders ON of_orders.id = order_id
    WHERE orders_return.id = ANY(%(returns)s::bigint[]) AND status = %(status)s
    ORDER BY orders_return.id FOR UPDATE OF orders_return
"""
WATCH = "UPDATE orders_order SET look_at = %(look_at)s, looks = 0 WHERE id = ANY(%(orders)s::bigint[])"
REFUNDED = """
    UPDATE orders_return SET refunded = amount
    FROM unnest(%(returns)s::bigint[], %(amounts)s::bigint[]) AS news (return_id, amount)
    WHERE id = return_id AND status = 'SETTLING'
"""


def settle(restocked: Sequence[InventoryRestocked]) -> list[ReturnExchanged | ReturnCompleted]:
    """The pieces are where they belong: have their money refunded, or others sent. A return that gives nothing for them
    ends here."""
    pairs = _locked(restocked, Status.SETTLING)
    exchanges.load_lines(exchanging := [return_ for return_, _ in pairs if return_.kind == Return.Kind.EXCHANGE])
    exchanged = {return_.pk for return_ in exchanging if any(line.taken_back for line in return_.lines)}
    placed = exchanges.place([(return_, event) for return_, event in pairs if return_.pk in exchanged])
    ask_for_refunds([(return_, return_.refund_due, event) for return_, event in pairs if return_.refund_due])
    free = [_completed(return_, 0) for return_, _ in pairs if not return_.refund_due and return_.pk not in exchanged]
    if free:
        move(free, since=[Status.SETTLING], to=Status.COMPLETED)
    return [*placed, *free]


def settle_exchanges(ended: Sequence[ReturnExchangeEnded]) -> list[ReturnCompleted]:
    """The orders that returns were exchanged for have ended: have the money of all that they did not bring refunded,
    less what the owner's rule keeps. Where they brought everything, the return ends here."""
    pairs = _locked(ended, Status.EXCHANGING)
    exchanges.load_lines([return_ for return_, _ in pairs])
    worth = {return_.pk: exchanges.worth(return_, event) for return_, event in pairs}
    for return_, _ in pairs:
        return_.kept = rules.keeps(return_, worth[return_.pk]) if worth[return_.pk] else 0
        return_.refund_due = worth[return_.pk] - return_.kept
    update_rows([return_ for return_, _ in pairs], "kept", "refund_due")
    due = [(return_, return_.refund_due, event) for return_, event in pairs if return_.refund_due]
    if due:
        move([event for _, _, event in due], since=[Status.EXCHANGING], to=Status.SETTLING)
        ask_for_refunds(due)
    free = [_completed(return_, 0, exchanged=not worth[return_.pk]) for return_, _ in pairs if not return_.refund_due]
    if free:
        move(free, since=[Status.EXCHANGING], to=Status.COMPLETED)
    return free


def _locked(events: Sequence[E], status: str) -> list[tuple[Return, E]]:
    """The returns of these events that have a status, locked with their orders, each with its event."""
    parameters = {
        "orders": sorted({event.order_id for event in events}),
        "returns": [event.return_id for event in events],
        "status": str(status),
    }
    returns = {return_.pk: return_ for return_ in Return.objects.raw(LOCK, parameters)}
    return [(returns[event.return_id], event) for event in events if event.return_id in returns]


def ask_for_refunds(wanted: Sequence[tuple[Return, int, ReturnEvent | None]]) -> None:
    """Have amounts refunded for these locked returns, whose orders are locked, too, in the sagas of their orders. The
    event is what it follows from; None if staff have asked."""
    if not wanted:
        return
    asked = [
        OrderRefundRequested(
            order_id=return_.order_id,
            amount=amount,
            reason=f"return {return_.pk}",
            for_return=True,
            caused_by=cause.event_id if cause else None,
            trace=trace_after(cause) if cause else current_trace(),
        )
        for return_, amount, cause in wanted
    ]
    rows = [
        {
            "id": event.event_id,
            "order_id": event.order_id,
            "for_return_id": return_.pk,
            "key": str(event.event_id),
            "amount": event.amount,
            "reason": event.reason,
        }
        for event, (return_, _, _) in zip(asked, wanted, strict=True)
    ]
    insert_rows(Refund, rows)
    note(asked, [money(amount, return_.currency) for return_, amount, _ in wanted])
    # An order that is closed is looked after again, until payments has heard of it.
    look_at = database_time("orders") + timedelta(seconds=settings.STALLED_AFTER)
    query("orders", WATCH, {"look_at": look_at, "orders": [event.order_id for event in asked]})
    emit(*asked, service="orders")


def take_answers(
    answers: Sequence[PaymentRefundCompleted | PaymentRefundRefused], return_of: Mapping[UUID, int]
) -> None:
    """Payments has answered; `return_of` names the returns that refunds were for. Their sagas go on from here."""
    concerned = [event for event in answers if event.refund_id in return_of]
    if not concerned:
        return
    returns = Return.objects.in_bulk([return_of[event.refund_id] for event in concerned])
    completed = [
        msgspec.structs.replace(
            _completed(returns[return_of[event.refund_id]], event.amount),
            caused_by=event.event_id,
            trace=trace_after(event),
        )
        for event in concerned
        if isinstance(event, PaymentRefundCompleted)
    ]
    refused = [return_of[event.refund_id] for event in concerned if isinstance(event, PaymentRefundRefused)]
    if completed:
        amounts = {
            "returns": [event.return_id for event in completed],
            "amounts": [event.amount for event in completed],
        }
        query("orders", REFUNDED, amounts)
        move(completed, since=[Status.SETTLING], to=Status.COMPLETED)
        emit(*completed, service="orders")
    if refused:
        now = database_time("orders")
        Return.objects.filter(pk__in=refused, status=Status.SETTLING).update(
            status=Status.REFUND_REFUSED, progress_at=now, updated_at=now, look_at=None
        )


def _completed(return_: Return, amount: int, *, exchanged: bool = False) -> ReturnCompleted:
    return ReturnCompleted(
        order_id=return_.order_id,
        return_id=return_.pk,
        user_id=return_.user_id,
        amount=amount,
        currency=return_.currency,
        exchanged=exchanged,
    )
