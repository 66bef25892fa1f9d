"""What orders keeps that names a customer: which orders are theirs, all of it for themselves, and its end.

Lines, amounts and dates stay when a customer is erased: books and contracts have to be kept (docs/privacy.md).
"""

from collections.abc import Collection, Sequence

import msgspec

from orders.addresses import wanted_of
from orders.models import (
    FINAL,
    IdempotencyKey,
    Order,
    OrderChange,
    OrderChangeLine,
    OrderLine,
    OrderNote,
    OrderShipment,
    Refund,
    Return,
    ReturnLine,
    TimelineEntry,
)
from orders.returns.models import OPEN
from orders.services import lock
from shop.calls.personal import listed
from shop.contracts.events import CustomerErased, orders_of
from shop.contracts.orders import OrdersOf
from shop.contracts.personal import Rows
from shop.contracts.reasons import CARRIER, ERASED
from shop.redaction import redact_messages


class LocalOrders:
    """`shop.contracts.orders.OrdersService` on this service's own table."""

    def get_orders_of(self, user_id: int) -> OrdersOf:
        found = list(Order.objects.filter(user_id=user_id).order_by("pk").values_list("pk", "status"))
        returning = set(Return.objects.filter(user_id=user_id, status__in=OPEN).values_list("order_id", flat=True))
        ended = {pk for pk, status in found if status in FINAL and pk not in returning}
        return OrdersOf(running=[pk for pk, _ in found if pk not in ended], ended=sorted(ended))


def of_user(user_id: int) -> Rows:
    """What is kept of a user."""
    return {"idempotency_keys": listed(IdempotencyKey.objects.filter(user_id=user_id).order_by("created_at"))}


def of_orders(order_ids: Collection[int]) -> Rows:
    """What is kept of these orders."""
    return {
        "orders": listed(Order.objects.filter(pk__in=order_ids).order_by("pk")),
        "order_lines": listed(OrderLine.objects.filter(order_id__in=order_ids).order_by("pk")),
        "changes": listed(OrderChange.objects.filter(order_id__in=order_ids).order_by("pk"), "address"),
        "change_lines": listed(OrderChangeLine.objects.filter(change__order_id__in=order_ids).order_by("pk")),
        "returns": listed(Return.objects.filter(order_id__in=order_ids).order_by("pk")),
        "return_lines": listed(ReturnLine.objects.filter(of_return__order_id__in=order_ids).order_by("pk")),
        "notes": listed(OrderNote.objects.filter(order_id__in=order_ids).order_by("pk")),
        "shipments": listed(OrderShipment.objects.filter(order_id__in=order_ids).order_by("pk")),
        "refunds": listed(Refund.objects.filter(order_id__in=order_ids).order_by("pk")),
        "timelines": listed(TimelineEntry.objects.filter(order_id__in=order_ids).order_by("pk")),
        "addresses": [msgspec.to_builtins(one._asdict()) for one in wanted_of(order_ids)],
    }


def erase(erased: Sequence[CustomerErased]) -> None:
    """Erase these customers' personal data from orders. Must be called inside a transaction on orders' database."""
    order_ids = orders_of(erased)
    lock(order_ids)
    Order.objects.filter(pk__in=order_ids).update(action_url="")
    Refund.objects.filter(order_id__in=order_ids).update(reason="", refusal="")  # staff's and the gateway's words
    OrderChange.objects.filter(order_id__in=order_ids).update(reason="", address="", request_hash="")
    OrderNote.objects.filter(order_id__in=order_ids).delete()
    Return.objects.filter(order_id__in=order_ids).update(reason="", refusal="", key="")  # the customer's and staff's
    for_others_words = Order.objects.filter(pk__in=order_ids, cancellation_reason__startswith=CARRIER)
    for_others_words.update(cancellation_reason=ERASED)
    TimelineEntry.objects.filter(order_id__in=order_ids, detail__startswith=CARRIER).update(detail=ERASED)
    IdempotencyKey.objects.filter(user_id__in=[event.user_id for event in erased]).delete()
    redact_messages("orders", order_ids)
